"""The stored noise as rows: what scatters by how much, over which points, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from append_prefill.analysis.components import components_of, pairs_of, whole
from append_prefill.analysis.design import strata_of
from append_prefill.records.noise import NoiseRecord, PairComponents
from append_prefill.records.run import Run
from append_prefill.report import format as fmt
from append_prefill.workload.policy import Plane

Over = Literal["all", "floor", "compute"]

_COMPONENTS: Sequence[tuple[str, str, str]] = (
    ("request", "one sample", "request_sd"),
    ("block", "what a block's points have in common; cores are drawn anew with it", "block_sd"),
    ("point in a launch", "a launch's own at one point, beyond its samples", "launch_point_sd"),
    ("launch", "what a launch's blocks have in common, half of what its pair shows", "launch_sd"),
    ("round", "the ratio of one block of both sides", "round_sd"),
    ("pair", "a pair's ratio beyond its rounds: only more launches shrink it", "pair_sd"),
)


@dataclass(frozen=True, slots=True)
class NoiseRow:
    """One component: relative sd on the log scale over all points and over each stratum.

    `values` has the keys of `noise_columns`; None where it is not known.
    """

    name: str
    meaning: str
    values: Mapping[Over, float | None]


def noise_columns(noise: NoiseRecord) -> list[Over]:
    """All points, and the strata that the record tells apart."""
    return ["all", *noise.strata]


def noise_rows(noise: NoiseRecord) -> list[NoiseRow]:
    """The components, from a request up to a session, as `append-prefill noise` prints them.

    A record of suites before 0.2 has rows for launches, pairs and sessions alone.
    """
    groups = {
        over: noise.components if over == "all" else noise.strata[over]
        for over in noise_columns(noise)
    }
    rows = []
    if noise.components is not None:
        rows = _pair_rows(groups)
    else:
        rows.append(_level_row("request", "one sample", noise.within_sd, groups))
        rows.append(_level_row("pair", "a pair's ratio, rounds and all", noise.pair_sd, groups))
    rows.append(
        _level_row(
            "launch's level", "one side alone, as a stored run has it", noise.start_sd, groups
        )
    )
    assumed = ", as the profile assumes" if noise.night_assumed else ""
    rows.append(
        _level_row("session", f"a session's level{assumed}", noise.night_sd, groups),
    )
    if noise.ratio_night_sd is not None:
        rows.append(
            _level_row(
                "session by ratio",
                "a session's mean ratio, beyond its pairs",
                noise.ratio_night_sd,
                groups,
            )
        )
    return rows


def own_rows(run: Run, plane: Plane) -> list[NoiseRow]:
    """The components of this run's own pairs, whose sides may differ; none with fewer than two."""
    pairs = pairs_of([[*run.beside("candidate"), *run.beside("reference")]])
    measured = {s.point for pair in pairs for start in pair for s in start.series}
    kept, points = whole(pairs, sorted(measured))
    if len(kept) < 2:
        return []
    groups: dict[Over, PairComponents | None] = {
        "all": components_of(kept, points, np.ones(len(points), dtype=np.bool_), alike=False)
    }
    groups |= {
        over: components_of(kept, points, group, alike=False)
        for over, group in strata_of(points, plane).items()
    }
    return _pair_rows(groups)


def _pair_rows(groups: Mapping[Over, PairComponents | None]) -> list[NoiseRow]:
    return [
        NoiseRow(
            name, meaning, {over: getattr(known, field, None) for over, known in groups.items()}
        )
        for name, meaning, field in _COMPONENTS
    ]


def _level_row(
    name: str, meaning: str, value: float | None, groups: Mapping[Over, PairComponents | None]
) -> NoiseRow:
    """A row that is of all points alone."""
    return NoiseRow(name, meaning, dict.fromkeys(groups) | {"all": value})


def rests_on(noise: NoiseRecord) -> str:
    """What the record was made from."""
    words = f"{fmt.plural(noise.starts, 'launch')} in {fmt.plural(noise.nights, 'session')}"
    if noise.pairs:
        of = "" if noise.rounds is None else f" of {fmt.number(noise.rounds, 2)} rounds"
        words += f", {fmt.plural(noise.pairs, 'pair')}{of}"
    return words


def pair_words(noise: NoiseRecord, samples: Sequence[int] = (5, 15, 45)) -> str | None:
    """What a pair's ratio scatters by at so many samples per launch; None where it is not known."""
    known = noise.components
    if known is None or known.pair_sd is None or known.round_sd is None:
        return None
    pair_sd, round_sd = known.pair_sd, known.round_sd
    at = [f"{fmt.share(math.hypot(pair_sd, round_sd / math.sqrt(n)))} at {n}" for n in samples]
    return (
        "A pair's ratio over all points scatters by "
        f"{', '.join(at[:-1])} and {at[-1]} samples per launch, "
        f"by {fmt.share(pair_sd)} however many."
    )
