"""The points drawn from the seed: measured like the rest, proven like the rest."""

import pytest

pytestmark = pytest.mark.append_prefill


def test_every_drawn_point_was_measured(measured):
    if not measured.plan.drawn:
        pytest.skip("the profile draws no extra points")
    samples = {(p.context_tokens, p.append_tokens): p.samples for p in measured.points}
    missing = [point for point in measured.plan.drawn if not samples.get(point)]
    assert not missing
