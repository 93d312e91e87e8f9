"""The rule as it is simulated, many sessions at once, is the one that `compare` applies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from append_prefill.analysis.prior import prior_of
from append_prefill.analysis.rounds import launch_figures, pair_figures
from append_prefill.analysis.summary import faster_half
from append_prefill.analysis.verdict.comparison import compare
from append_prefill.records.noise import NoiseRecord
from append_prefill.workload.points import Point
from benchmarks.verdicts.rounds import blocks_error, without_each
from benchmarks.verdicts.settings import quiet
from benchmarks.verdicts.simulate import draw
from benchmarks.verdicts.suite import suite
from tests.analysis.factory import start

RECORD = NoiseRecord(
    starts=20, nights=4, start_sd=0.01, within_sd=0.02, night_sd=0.01, pair_sd=0.01, pairs=20,
    points=[],
)  # fmt: skip


def launches(log_ms, points, side):
    """Launches from log samples, shape (launches, points, samples); a pair each."""
    return [
        start(n, dict(zip(points, np.exp(table).tolist(), strict=True)), side=side).model_copy(
            update={"pair": n, "interleaved": True}
        )
        for n, table in enumerate(log_ms)
    ]


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("paired", [False, True])
def test_the_batch_judges_as_compare_does(paired, across) -> None:
    rng = np.random.default_rng(0)
    setting = replace(quiet(), pair_sd=0.01 if paired else None)
    drawn = draw(rng, setting, 12, 5, across=across)
    candidate = drawn.candidate + (0.06 if across else 0.016)
    batch = suite(candidate, drawn.reference, prior_of(RECORD), setting, across=across)
    points = list(setting.points)
    one_by_one = []
    for x, y in zip(candidate, drawn.reference, strict=True):
        sides = [launches(x, points, "candidate"), launches(y, points, "reference")]
        if not paired:
            for launch in (*sides[0], *sides[1]):
                launch.interleaved = False
        found = compare(
            *sides,
            policy=setting.profile.policy,
            noise=RECORD,
            plane=setting.profile.plane,
            kind="baseline" if across else "side-by-side",
            reference_label="x",
            provenance="suite",
        )
        one_by_one.append(found.verdict == "regression")
    assert batch.tolist() == one_by_one
    assert 0 < sum(one_by_one) < 12


@pytest.mark.parametrize("samples", [3, 4, 7, 10])
def test_leaving_out_each_sample_is_what_it_says(samples) -> None:
    log = np.random.default_rng(1).normal(size=(2, 3, samples))
    for left in range(samples):
        expected = faster_half(np.delete(log, left, axis=-1))
        np.testing.assert_allclose(without_each(log)[..., left], expected)


def test_blocks_leave_open_what_a_jackknife_of_one_launch_says() -> None:
    log = 3 + 0.1 * np.random.default_rng(2).normal(size=(2, 1, 4, 3, 6))
    points = [Point(64, m) for m in (32, 64, 128)]
    a, b = (launches(side[0], points, name) for side, name in zip(log, SIDES, strict=True))
    pairs = [pair_figures(*pair, points).covariance for pair in zip(a, b, strict=True)]
    np.testing.assert_allclose(blocks_error(*log)[0], sum(pairs) / 16)
    alone = [launch_figures(launch, points).covariance for launch in a]
    np.testing.assert_allclose(blocks_error(log[0])[0], sum(alone) / 16)
    assert blocks_error(log[0][..., :2]) is None


SIDES = ("candidate", "reference")
