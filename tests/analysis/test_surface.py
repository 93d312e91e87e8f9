import numpy as np
import pytest

from append_prefill.analysis.surface import Fit, fit_start, fit_starts, fit_surface, predict
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


@pytest.mark.parametrize(("form", "truth", "new"), [("sum", SUM, 4.0), ("max", MAX, 30.0)])
def test_exact_launches_give_their_coefficients_in_their_units(form, truth, new) -> None:
    other = starts_of(np.log(truth)[None] + 1, side="reference", first=2)
    own = starts_of(np.log(truth) + np.log([[1.0], [1.1]]))
    surface = fit_surface([*own, *other])
    assert surface is not None
    assert (surface.form, surface.starts) == (form, 2)
    assert surface.floor_ms.value == pytest.approx(19.0 * 1.05, rel=1e-6)
    assert surface.new_token_us.value == pytest.approx(new * 1.05, rel=1e-6)
    assert surface.cached_token_us.value == pytest.approx(2.0 * 1.05, rel=1e-6)
    half = 12.7062 * 0.05 * 2.0
    assert surface.cached_token_us.high == pytest.approx(2.1 + half, rel=1e-4)
    assert surface.cached_token_us.low == pytest.approx(2.1 - half, rel=1e-4)
    assert surface.crossover_tokens.value == pytest.approx(19e3 / new, rel=1e-6)
    assert surface.residual == pytest.approx(0.0, abs=1e-6)
    of_reference = fit_surface([*own, *other], "reference")
    assert of_reference is not None
    assert of_reference.floor_ms.value == pytest.approx(19.0 * np.e, rel=1e-6)


def test_a_residual_is_relative_and_of_one_point() -> None:
    table = np.log(SUM) + np.array([[0.0] * len(POINTS), [0.01, -0.01] * (len(POINTS) // 2)])
    surface = fit_surface(starts_of(table))
    assert surface is not None
    fits = [fit_start(surface.form, POINTS, np.exp(row)) for row in table]
    errors = [
        predict(surface.form, fit, POINTS) / np.exp(row) - 1
        for fit, row in zip(fits, table, strict=True)
    ]
    assert surface.residual == pytest.approx(np.sqrt(np.mean(np.square(errors))))


THREE = [Point(64, 32), Point(64, 128), Point(256, 32)]


def test_three_points_tell_three_coefficients() -> None:
    found = fit_starts(THREE, np.log([[20.0, 22.0, 21.0]]))
    assert found is not None
    form, (fit,) = found
    assert (form, fit.squares) == ("sum", pytest.approx(0.0, abs=1e-20))
    assert fit_starts(THREE, np.zeros((0, 3))) is None
    assert fit_starts(THREE[:2], np.zeros((1, 2))) is None


# Twice the log likelihood's gain has to exceed 3.84, the 95 % point of chi-squared with one degree.
@pytest.mark.parametrize(
    ("of_sum", "of_max", "form"),
    [
        (np.exp(3.85 / 6), 1.0, "max"),
        (np.exp(3.83 / 6), 1.0, "sum"),
        (1.0, 1.0, "sum"),
        (1.0, 2.0, "sum"),
        # A residual of a millionth is as good as none.
        (1e-12, 0.0, "sum"),
        (1e-10, 0.0, "max"),
    ],
)
def test_which_form_fits_better(monkeypatch, of_sum, of_max, form) -> None:
    """Two launches at three points; the squares are shared by both."""

    def fit(of, points, ttft_ms):
        assert list(points) == THREE
        return Fit(ttft_ms[0], 0.0, 0.0, {"sum": of_sum, "max": of_max}[of] / 2)

    monkeypatch.setattr("append_prefill.analysis.surface.fit_start", fit)
    found = fit_starts(THREE, np.log([[20.0] * 3, [30.0] * 3]))
    assert found is not None
    assert found[0] == form
    assert [fit.floor for fit in found[1]] == pytest.approx([20.0, 30.0])
