"""What is known of the noise before a run: a profile's assumption, or stored A/A runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from append_prefill.analysis.moderation import PRIOR_DF_MAX
from append_prefill.records.grounds import NoiseSource
from append_prefill.records.noise import NoiseRecord
from append_prefill.workload.policy import Noise, Stratum

ASSUMED_DF = 1.0
"""Degrees of freedom of a profile's assumed scatter of launches and pairs: a guess counts like two
launches. Simulated at one alarm in 100: with the assumption a third of the truth 0.9, 1.5 and 1.0
false alarms in 100 at 2, 3 and 5 pairs; with four degrees 4.9, 2.8 and 1.5. What it costs where the
assumption is right: +3 % at a pair's sd of 0.8 % is found by three pairs 80 times in 100 and not
95; by five always (the table of `benchmarks.assumption`)."""

ASSUMED_NIGHT_DF = 4.0
"""Degrees of freedom of an assumed scatter of sessions: an educated guess counts like five. Nothing
that a run measures can correct it, so where it is a third of the truth, 9 runs in 100 suspect
falsely (a t quantile of 4.0 over three). A stored run alone only suspects, and a control needs no
such guess (`Prior.through_control`)."""


RATIO_NIGHT_SHARE = 0.3
"""How much a session's ratio to a control differs from another's, beyond its pairs and as a part of
what pairs differ by, where no stored noise says it. Over twenty sessions of three pairs on a CPU it
was 0.06 (0.15 % beside 2.7 %, where the sessions' levels differed by 5.3 %; `python -m
benchmarks.across_sessions`); five times that leaves room for a machine that treats versions less
alike."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What is known of the noise beforehand, relative standard deviations; None: nothing.

    `pair_sd` is what a pair's ratio scatters by beyond what its rounds explain; `strata` the same
    over the points of one stratum, on as many degrees of freedom. `of_rounds_too`: what the rounds
    leave open is in `pair_sd` already.

    `night_error` is the variance that the launches of a stored session give to that session's mean.
    It was taken off to get `night_sd`^2, so the latter is as uncertain as the two together.
    `ratio_night_*` say the same of a session's ratio to a control; `of_ratios`: such ratios are
    compared.
    """

    start_sd: float | None
    start_df: float
    night_sd: float | None
    night_df: float
    source: NoiseSource
    night_error: float = 0.0
    pair_sd: float | None = None
    pair_df: float = 0.0
    strata: Mapping[Stratum, float] = field(default_factory=dict)
    ratio_night_sd: float | None = None
    ratio_night_df: float = 0.0
    ratio_night_error: float = 0.0
    of_ratios: bool = False
    of_rounds_too: bool = False

    def through_control(self) -> Prior:
        """What is known where both sides are ratios to a control, each in its own session.

        A pair is the launch then.
        """
        night_sd, night_df = self.ratio_night_sd, self.ratio_night_df
        night_error = self.ratio_night_error
        if night_sd is None and self.pair_sd is not None:
            # Assumed, and not what is left of a difference.
            night_sd, night_df = RATIO_NIGHT_SHARE * self.pair_sd, ASSUMED_NIGHT_DF
            night_error = 0.0
        return replace(
            self,
            start_sd=self.pair_sd,
            start_df=self.pair_df,
            night_sd=night_sd,
            night_df=night_df,
            night_error=night_error,
            of_ratios=True,
        )

    def of_stratum(self, name: Stratum, *, paired: bool) -> tuple[float | None, float]:
        """Sd of a pair's log ratio over the points of a stratum, and its degrees of freedom.

        That of the level where the stratum's own is not known, or launches are not paired.
        """
        sd = self.strata.get(name) if paired or self.of_ratios else None
        if sd is None:
            return self.level_sd(paired=paired), self.level_df(paired=paired)
        return sd, self.pair_df

    def level_sd(self, *, paired: bool) -> float | None:
        """Sd of a launch's level, or of a pair's log ratio."""
        return self.pair_sd if paired else self.start_sd

    def level_df(self, *, paired: bool) -> float:
        """Degrees of freedom `level_sd` is worth; 0 where it is not known."""
        if self.level_sd(paired=paired) is None:
            return 0.0
        return self.pair_df if paired else self.start_df


def prior_of(noise: Noise | NoiseRecord | Prior) -> Prior:
    """A profile's assumption or a stored A/A record, with the degrees of freedom it is worth."""
    if isinstance(noise, Prior):
        return noise
    if isinstance(noise, Noise):
        return Prior(
            noise.start_sd,
            ASSUMED_DF,
            noise.night_sd,
            ASSUMED_NIGHT_DF,
            NoiseSource(kind="profile"),
            pair_sd=noise.pair_sd,
            pair_df=ASSUMED_DF,
            strata={name: known.pair_sd for name, known in noise.strata.items()},
        )
    df = float(noise.starts - noise.nights)
    if noise.night_assumed:
        night_df, error = ASSUMED_NIGHT_DF, 0.0
    else:
        night_df = float(noise.nights - 1)
        error = (noise.start_sd or 0.0) ** 2 * noise.nights / max(noise.starts, 1)
    prior = Prior(
        noise.start_sd if df >= 1 else None,
        min(df, PRIOR_DF_MAX),
        noise.night_sd if night_df >= 1 else None,
        night_df,
        NoiseSource(
            kind="stored",
            starts=noise.starts,
            nights=noise.nights,
            night_assumed=noise.night_assumed,
        ),
        error,
        pair_sd=noise.pair_sd,
        pair_df=min(float(noise.pairs), PRIOR_DF_MAX),
        strata={
            name: known.pair_sd for name, known in noise.strata.items() if known.pair_sd is not None
        },
    )
    if noise.ratio_night_sd is None:
        return prior
    return replace(
        prior,
        ratio_night_sd=noise.ratio_night_sd,
        ratio_night_df=max(float(noise.nights - 1), 1.0),
        ratio_night_error=(noise.pair_sd or 0.0) ** 2 * noise.nights / max(noise.pairs, 1),
    )


def with_nights(record: NoiseRecord, assumed: Noise) -> NoiseRecord:
    """`record` with the profile's assumption of how sessions differ, if it does not know itself.

    A record of one day does not. The assumption has the few degrees of freedom it is worth.
    """
    if record.night_sd is not None:
        return record
    return record.model_copy(update={"night_sd": assumed.night_sd, "night_assumed": True})
