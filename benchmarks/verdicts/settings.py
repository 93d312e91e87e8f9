"""The noise that sessions are simulated with: assumed, or read off runs of real SGLang."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from append_prefill.analysis.design import Design, design_of
from append_prefill.analysis.noise import level_error, noise_of
from append_prefill.analysis.power import power_of
from append_prefill.analysis.summary import FIGURE_VARIANCE, log_matrix, usable
from append_prefill.probe.planning import make_plan, plan_of
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.store import read_run
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile
from benchmarks import nights as real_nights

Array = NDArray[np.float64]

H200_RUN = Path(__file__).parents[2] / "reports" / "sample-h200-versions"
RECORD_SESSIONS = 4  # A/A sessions that a stored noise record rests on


@dataclass(frozen=True)
class Setting:
    """The truth that sessions are drawn from; relative standard deviations on the log scale.

    `cell_sd` and `within_sd` have shape (points,): a launch's own deviation at a point, and its
    samples' scatter. `pair_sd`: of the ratio between two launches that are up together, None where
    one follows the other. `promise`: the effect that `append-prefill plan` promises to catch.
    """

    name: str
    profile: Profile
    start_sd: float
    cell_sd: Array
    within_sd: Array
    lag1: Array
    outlier_rate: float
    outlier_factor: float
    drift_per_hour: float
    night_sd: float
    pair_sd: float | None
    promise: float

    @property
    def paired(self) -> bool:
        return self.pair_sd is not None

    @property
    def launches(self) -> int:
        """Server launches per side."""
        return self.profile.plan.starts

    @property
    def samples(self) -> int:
        """Samples per point and launch."""
        return self.profile.plan.samples

    @property
    def points(self) -> tuple[Point, ...]:
        return self.profile.points

    @cached_property
    def design(self) -> Design:
        return design_of(self.points, self.profile.plane)

    @cached_property
    def across_design(self) -> Design:
        """Of a comparison across sessions, which has no strata."""
        return design_of(self.points)

    def tokens(self, axis: str) -> Array:
        """m or L of each point."""
        attribute = {"m": "append_tokens", "L": "context_tokens"}[axis]
        return np.array([getattr(p, attribute) for p in self.points], dtype=float)


def pair_sd_of(ratios: Array) -> float:
    """Sd of a pair's log ratio beyond what its points' own scatter gives to the mean over them.

    `ratios` are of one version on both sides, shape (pairs, points), so their mean is known to be 0
    and costs no freedom. What a block's points have in common is in it: simulated samples have
    nothing in common but their launch.
    """
    variance = float((ratios.mean(axis=1) ** 2).mean())
    return math.sqrt(max(0.0, variance - level_error([ratios])))


def promised(profile: Profile, noise: NoiseRecord) -> float:
    """What `append-prefill plan` promises for that noise, side by side. Exits if it cannot tell.

    Without drawn points, since the simulated sessions have none.
    """
    undrawn = profile.plan.model_copy(update={"drawn_points": 0})
    profile = profile.model_copy(update={"plan": undrawn})
    plan = make_plan(profile, seed=0, sides=("candidate", "reference"))
    effect = power_of(profile, noise, plan.all_points, starts=plan.starts, samples=plan.samples)[
        "mde_side_by_side"
    ]
    if effect is None:
        sys.exit("the noise record lacks what a promise rests on; measure more launches")
    return effect


def quiet() -> Setting:
    """An exclusive data-centre GPU, one launch after the other."""
    profile = load_profile("llama-3.1-8b")
    profile = profile.model_copy(
        update={"plan": profile.plan.model_copy(update={"interleave": False})}
    )
    noise = NoiseRecord(
        starts=RECORD_SESSIONS * profile.plan.starts,
        nights=RECORD_SESSIONS,
        start_sd=0.01,
        within_sd=0.02,
        night_sd=0.01,
        points=[],
    )
    flat = np.ones(len(profile.points))
    return Setting(
        name="quiet",
        profile=profile,
        start_sd=0.01,
        cell_sd=0 * flat,
        within_sd=0.02 * flat,
        lag1=0 * flat,
        outlier_rate=0.01,
        outlier_factor=3.0,
        drift_per_hour=0.01,
        night_sd=0.01,
        pair_sd=None,
        promise=promised(profile, noise),
    )


def cpu() -> Setting:
    """What A/A sessions of real SGLang say of the CPU's profile."""
    profile = real_nights.profile()
    sessions = real_nights.every(real_nights.load(profile.plan.samples))
    record = real_nights.noise_record(sessions, profile.points)
    return setting_of("cpu", record, profile, real_nights.NIGHTS)


def h200() -> Setting:
    """The noise of the interleaved pairs in a sample run, for want of A/A sessions on that device.

    The sides differ by version, so each point's mean ratio is taken out. What is left of five pairs
    has four degrees of freedom: a rough reading.
    """
    run = read_run(H200_RUN, option="--setting h200")
    shipped = load_profile(run.profile)
    profile = plan_of(run, shipped).narrowed(shipped)
    sides = [usable(run.starts, side) for side in ("candidate", "reference")]
    a, b = (log_matrix(side, profile.points) for side in sides)
    ratios = (a - b) - (a - b).mean(axis=0)
    pairs = len(ratios)
    record = noise_of(sides).model_copy(
        update={
            "night_sd": None,
            "pair_sd": pair_sd_of(ratios * math.sqrt(pairs / (pairs - 1))),
            # What the simulated sites have, and so what the promise may rest on.
            "pairs": RECORD_SESSIONS * profile.plan.starts,
        }
    )
    return setting_of("h200", record, profile, H200_RUN)


def setting_of(name: str, record: NoiseRecord, profile: Profile, path: Path) -> Setting:
    """A record's noise as the truth for alternating pairs; exits if it lacks something.

    The record's scatter of a launch's statistic at a point, less the common level and the
    statistic's own error, is the launch's own deviation there.
    """
    rows = {row.point: row for row in record.points}
    missing = [p.label for p in profile.points if p not in rows]
    if record.start_sd is None or record.pair_sd is None or record.within_sd is None or missing:
        sys.exit(f"{path}: lacks start_sd, pair_sd, within_sd or points ({', '.join(missing)})")
    known = [rows[point] for point in profile.points]
    within = np.array([row.within_sd or record.within_sd for row in known])
    lag = np.array([max(0.0, row.lag1 or 0.0) for row in known])
    total = np.array([row.start_sd or record.start_sd for row in known])
    error = FIGURE_VARIANCE * within**2 / profile.plan.samples * (1 + lag) / (1 - lag)
    cell = np.sqrt(np.maximum(0.0, total**2 - record.start_sd**2 - error))
    # What rounds scatter by is in a pair's level, but for what the points' own scatter makes again.
    pair_variance = record.pair_sd**2
    if record.components is not None and record.components.round_sd and record.rounds:
        again = 2 * float((error + cell**2).mean()) / len(known)
        pair_variance += max(0.0, record.components.round_sd**2 / record.rounds - again)
    return Setting(
        name=name,
        profile=profile,
        start_sd=record.start_sd,
        cell_sd=cell,
        within_sd=within,
        lag1=lag,
        # The record's within_sd is robust, so its outliers are the quiet setting's; drift is in
        # start_sd.
        outlier_rate=0.01,
        outlier_factor=3.0,
        drift_per_hour=0.0,
        # Sessions of one day leave it to the profile.
        night_sd=profile.noise.night_sd if record.night_sd is None else record.night_sd,
        pair_sd=math.sqrt(pair_variance),
        promise=promised(profile, record),
    )
