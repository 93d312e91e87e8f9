"""What a plan can see: the minimum detectable effects of its launches and samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

from append_prefill.analysis.design import Design, design_of
from append_prefill.analysis.detection import mde, starts_needed
from append_prefill.analysis.prior import Prior, prior_of
from append_prefill.analysis.summary import FIGURE_VARIANCE
from append_prefill.records.noise import NoiseRecord
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Noise, Policy, Stratum
from append_prefill.workload.profile import Profile

LAG_MAX = 0.9
"""An autocorrelation above it is taken for it: the estimate of a few samples may touch 1."""


def power_of(
    profile: Profile,
    noise: Noise | NoiseRecord,
    points: Sequence[Point],
    *,
    starts: int,
    samples: int,
) -> dict[str, float | None]:
    """The minimum detectable effects of a plan; None where the noise is not known well enough.

    `mde_side_by_side`, `mde_baseline` and `mde_control` (against a stored run, both by their ratio
    to one control) are of an effect everywhere, which the mean over all points shows or that over a
    stratum, whichever does first; `mde_floor` and `mde_compute` of one in that stratum alone, side
    by side. Each has its part of the false-alarm rate. Without points, where other traffic is all
    that is measured, all are None.
    """
    prior, policy = prior_of(noise), profile.policy
    figures: dict[str, float | None] = side_by_side(
        profile, noise, points, starts=starts, samples=samples
    )
    figures |= dict.fromkeys(("mde_baseline", "mde_control", "starts_needed_side_by_side"))
    error = points_error(noise, points, samples) if points else None
    if prior.start_sd is None or error is None:
        return figures
    design = design_of(points, profile.plane)
    paired, least = profile.plan.interleave, policy.min_effect
    means = _launch_sds(prior, noise, design, error, samples, paired=paired)

    def enough(name: str, sd: float, df: float) -> int | None:
        alpha = policy.false_alarm_rate * design.shares[name]
        return starts_needed(
            policy.must_catch,
            lambda n: mde(sd, n, n, alpha, paired=paired, prior_df=df, min_effect=least),
        )

    needed = [enough(*mean) for mean in means]
    figures["starts_needed_side_by_side"] = min((n for n in needed if n is not None), default=None)
    if paired and prior.pair_sd is not None:
        figures["mde_control"] = _by_control(prior.through_control(), means, design, policy, starts)
    if prior.night_sd is not None:
        figures["mde_baseline"] = mde(
            math.sqrt(prior.start_sd**2 + error),
            starts,
            starts,
            policy.false_alarm_rate * design_of(points).shares["level"],
            night_sd=prior.night_sd,
            night_df=prior.night_df,
            night_error=prior.night_error,
            prior_df=prior.start_df,
            min_effect=least,
        )
    return figures


def side_by_side(
    profile: Profile,
    noise: Noise | NoiseRecord,
    points: Sequence[Point],
    *,
    starts: int,
    samples: int,
) -> dict[str, float | None]:
    """The part of `power_of` that a comparison side by side has."""
    prior, policy, paired = prior_of(noise), profile.policy, profile.plan.interleave
    error = points_error(noise, points, samples) if points else None
    found: dict[str, float | None] = {}
    if prior.start_sd is not None and error is not None:
        design = design_of(points, profile.plane)
        found = {
            name: mde(
                sd,
                starts,
                starts,
                policy.false_alarm_rate * design.shares[name],
                paired=paired,
                prior_df=df,
                min_effect=policy.min_effect,
            )
            for name, sd, df in _launch_sds(prior, noise, design, error, samples, paired=paired)
        }
    return {
        "mde_side_by_side": min((v for v in found.values() if v is not None), default=None),
        "mde_floor": found.get("floor"),
        "mde_compute": found.get("compute"),
    }


def _launch_sds(
    prior: Prior,
    noise: Noise | NoiseRecord,
    design: Design,
    error: float,
    samples: int,
    *,
    paired: bool,
) -> list[tuple[str, float, float]]:
    """Of each mean the joint test has, side by side: its name, the sd of a launch's (or a pair's)
    statistic, and the degrees of freedom that is known by. Without those whose noise is not known.
    """
    if not paired:
        assert prior.start_sd is not None  # side_by_side has returned
        return [("level", math.sqrt(prior.start_sd**2 + error), prior.start_df)]
    recorded = noise.rounds if isinstance(noise, NoiseRecord) else None
    sds = []

    def add(name: str, pair_sd: float, of_rounds: float) -> None:
        variance, df = pair_sd**2 + of_rounds, prior.pair_df
        if recorded is not None and variance > 0:
            # What pairs scatter by beyond their rounds was told as a difference, so it is as
            # uncertain as the whole of it: a record of few rounds vouches little for many.
            seen = pair_sd**2 + of_rounds * samples / recorded
            df *= min(1.0, variance / seen) ** 2
        sds.append((name, math.sqrt(variance), df))

    if prior.pair_sd is not None:
        rounds = rounds_variance(noise, None, samples)
        # A ratio has the points' scatter of both sides in it.
        add("level", prior.pair_sd, 2 * error if rounds is None else rounds)
    for name in design.strata:
        sd, rounds = prior.strata.get(name), rounds_variance(noise, name, samples)
        if sd is not None and rounds is not None:
            add(name, sd, rounds)
    return sds


def _by_control(
    prior: Prior,
    means: Sequence[tuple[str, float, float]],
    design: Design,
    policy: Policy,
    starts: int,
) -> float | None:
    """The least effect everywhere that ratios to a control, each in its own session, find."""
    assert prior.night_sd is not None  # a pair's scatter is known, so this is
    found = (
        mde(
            sd,
            starts,
            starts,
            policy.false_alarm_rate * design.shares[name],
            prior_df=df,
            night_sd=prior.night_sd,
            night_df=prior.night_df,
            night_error=prior.night_error,
            min_effect=policy.min_effect,
        )
        for name, sd, df in means
    )
    return min((effect for effect in found if effect is not None), default=None)


def rounds_variance(
    noise: Noise | NoiseRecord, stratum: Stratum | None, samples: int
) -> float | None:
    """Variance that `samples` rounds leave in a pair's ratio over a stratum (None: all points).

    None where what a round scatters by is not known.
    """
    if stratum is not None:
        known = noise.strata.get(stratum)
        round_sd = None if known is None else known.round_sd
    elif isinstance(noise, NoiseRecord):
        round_sd = None if noise.components is None else noise.components.round_sd
    else:
        round_sd = noise.round_sd
    return None if round_sd is None else round_sd**2 / samples


def points_error(noise: Noise | NoiseRecord, points: Sequence[Point], samples: int) -> float | None:
    """Variance that the points' own scatter leaves in a launch's level, its mean over `points`.

    A point's statistic (`summary.faster_half`) has `FIGURE_VARIANCE` times the variance of a mean
    of `samples`, the more so as samples follow each other alike (AR(1): (1 + r) / (1 - r); an
    unknown r is taken for none, as in a profile's assumption). A stored noise also knows how far a
    launch's statistic at a point strays beyond its common level; the larger of the two counts. None
    where the scatter of samples is not known.
    """
    if noise.within_sd is None:
        return None
    rows = {row.point: row for row in noise.points} if isinstance(noise, NoiseRecord) else {}
    total = 0.0
    for point in points:
        row = rows.get(point)
        within = noise.within_sd if row is None or row.within_sd is None else row.within_sd
        lag = min(max(0.0, 0.0 if row is None else row.lag1 or 0.0), LAG_MAX)
        of_figure = FIGURE_VARIANCE * within**2 / samples * (1 + lag) / (1 - lag)
        strays = 0.0
        if row is not None and row.start_sd is not None and noise.start_sd is not None:
            strays = row.start_sd**2 - noise.start_sd**2
        total += max(of_figure, strays)
    return total / len(points) ** 2
