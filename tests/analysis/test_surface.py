import numpy as np
import pytest

from append_prefill.analysis.surface import Fit, fit_start, fit_surface, predict
from append_prefill.workload.points import Point
from tests.analysis.factory import POINTS, starts_of

M = np.array([p.append_tokens for p in POINTS], dtype=float)
CONTEXT = np.array([p.context_tokens for p in POINTS], dtype=float)
SUM = 19.0 + 0.004 * M + 0.002 * CONTEXT
MAX = np.maximum(19.0, 0.03 * M) + 0.002 * CONTEXT


@pytest.mark.parametrize(("form", "truth"), [("sum", SUM), ("max", MAX)])
def test_a_planted_surface_comes_back(form, truth) -> None:
    rng = np.random.default_rng(1)
    noise = 0.003 * rng.normal(size=(5, 1)) + 0.003 * rng.normal(size=(5, len(POINTS)))
    surface = fit_surface(starts_of(np.log(truth) + noise))
    assert surface is not None
    assert surface.form == form
    assert surface.starts == 5
    new = {"sum": 4.0, "max": 30.0}[form]
    for estimate, value in (
        (surface.floor_ms, 19.0),
        (surface.new_token_us, new),
        (surface.cached_token_us, 2.0),
        (surface.crossover_tokens, 19e3 / new),
    ):
        assert estimate.value == pytest.approx(value, rel=0.1)
        assert estimate.low < value < estimate.high
    assert surface.residual < 0.01


def test_exact_data_fits_exactly() -> None:
    fit = fit_start("max", POINTS, MAX)
    assert (fit.floor, fit.new, fit.cached) == pytest.approx((19.0, 0.03, 0.002))
    np.testing.assert_allclose(predict("max", fit, POINTS), MAX)


def test_no_cost_per_token_means_no_crossover() -> None:
    surface = fit_surface(starts_of(np.full((2, len(POINTS)), np.log(20.0))))
    assert surface is not None
    assert surface.floor_ms.value == pytest.approx(20.0)
    assert surface.crossover_tokens.value is None
    assert Fit(1.0, 0.0, 0.0, 0.0).crossover is None


def test_coefficients_are_never_negative() -> None:
    falling = np.log(30.0 - 0.01 * M)
    surface = fit_surface(starts_of(np.stack([falling, falling + 0.01])))
    assert surface is not None
    assert surface.new_token_us.value == pytest.approx(0.0)
    assert surface.new_token_us.low == 0.0


def test_one_start_has_values_and_no_interval() -> None:
    surface = fit_surface(starts_of(np.log(SUM)[None]))
    assert surface is not None
    assert surface.floor_ms.value == pytest.approx(19.0)
    assert (surface.floor_ms.low, surface.crossover_tokens.high) == (None, None)


def test_too_little_gives_no_surface() -> None:
    assert fit_surface([]) is None
    two = [Point(1, 1), Point(2, 2)]
    assert fit_surface(starts_of(np.zeros((3, 2)), two)) is None
    line = [Point(i, i) for i in (1, 2, 3, 4)]
    assert fit_surface(starts_of(np.zeros((3, 4)), line)) is None
    assert fit_surface(starts_of(np.zeros((3, 4)), line, side="reference")) is None


def test_a_point_that_some_start_lacks_is_left_out() -> None:
    table = np.log(np.stack([SUM, SUM, SUM]))
    table[1, 4] = np.nan
    surface = fit_surface(starts_of(table))
    assert surface is not None
    assert surface.starts == 3
    assert surface.floor_ms.value == pytest.approx(19.0)
