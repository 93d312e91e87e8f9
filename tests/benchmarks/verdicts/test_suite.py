"""The rule as it is simulated, many sessions at once, is the one that `compare` applies."""

from __future__ import annotations

import numpy as np

from append_prefill.analysis.prior import prior_of
from append_prefill.analysis.summary import faster_half
from append_prefill.analysis.verdict.comparison import compare
from append_prefill.records.run import NoiseRecord
from benchmarks.verdicts.settings import quiet
from benchmarks.verdicts.simulate import draw
from benchmarks.verdicts.suite import suite
from tests.analysis.factory import starts_of


def test_the_batch_judges_as_compare_does() -> None:
    rng = np.random.default_rng(0)
    setting = quiet()
    drawn = draw(rng, setting, 12, 5, across=False)
    a = faster_half(drawn.candidate) + 0.025
    b = faster_half(drawn.reference)
    record = NoiseRecord(
        starts=20, nights=4, start_sd=0.01, within_sd=0.02, night_sd=0.01, points=[]
    )
    batch = suite(a, b, prior_of(record), setting, across=False)
    points = list(setting.points)
    one_by_one = [
        compare(
            starts_of(x, points),
            starts_of(y, points),
            policy=setting.profile.policy,
            noise=record,
            kind="side-by-side",
            reference_label="x",
            provenance="suite",
        ).verdict
        == "regression"
        for x, y in zip(a, b, strict=True)
    ]
    assert batch.tolist() == one_by_one
    assert 0 < sum(one_by_one) < 12
