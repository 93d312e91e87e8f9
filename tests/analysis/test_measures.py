import math

import numpy as np
import pytest
from scipy import stats

from append_prefill.analysis.measures import (
    Measured,
    MissingError,
    band_of,
    elasticity,
    grouped_spread_of,
    log_table,
    ratio_of,
    share_of,
    spread_of,
)
from append_prefill.workload.points import Point
from tests.analysis.factory import STUDY_ROWS, study_cells

STUDY = study_cells()


def by_append(p: Point) -> float:
    return p.append_tokens


def by_context(p: Point) -> float:
    return p.context_tokens


def by_total(p: Point) -> float:
    return p.total_tokens


def slope(experiment: str, axis) -> float:
    points = list(STUDY[experiment])
    return elasticity(log_table(STUDY[experiment], points), [axis(p) for p in points])


# Every value of the study's audit, from the tables it audits.


def test_study_cache_rate_band() -> None:
    cells = STUDY["cache_rate"]
    assert band_of(cells, list(cells)).value == pytest.approx(0.150, abs=5e-4)


def test_study_scale_factor_and_elasticity() -> None:
    cells = STUDY["scale"]
    found = ratio_of(cells, list(cells), by_total, over=by_total)
    assert found.value == pytest.approx(0.143, abs=5e-4)
    assert ratio_of(cells, list(cells), by_total).value == pytest.approx(1.145, abs=5e-4)
    assert slope("scale", by_total) == pytest.approx(0.050, abs=5e-4)


def test_study_append_flatness_and_elasticity() -> None:
    cells = STUDY["append"]
    assert ratio_of(cells, list(cells), by_append).value == pytest.approx(1.019, abs=5e-4)
    assert np.exp(spread_of(log_table(cells, list(cells))).value) == pytest.approx(1.104, abs=5e-4)
    assert slope("append", by_append) == pytest.approx(0.005, abs=5e-4)


def test_study_context_flatness_factor_and_elasticities() -> None:
    cells = STUDY["context"]
    assert ratio_of(cells, list(cells), by_context).value == pytest.approx(1.260, abs=5e-4)
    factor = ratio_of(cells, list(cells), by_context, over=by_total)
    assert factor.value == pytest.approx(0.111, abs=5e-4)
    assert slope("context", by_context) == pytest.approx(0.051, abs=5e-4)
    assert slope("context", by_total) == pytest.approx(0.082, abs=5e-4)


@pytest.mark.parametrize(
    ("decimals", "means", "ratio"),
    [
        # As the audit states the rule (and as the study counts 2 low and 8 high samples).
        (2, {"low": 22.85, "mid": 20.71, "high": 20.56}, 1.111),
        # The audit's printed 22.9 / 20.5 / 20.6 and 1.12 come from r as it is.
        (None, {"low": 22.90, "mid": 20.47, "high": 20.59}, 1.119),
    ],
)
def test_study_cache_range_consistency(decimals, means, ratio) -> None:
    # The study's three values for (512, 512) are three rows, so each row gets a point of its own.
    cells, groups = {}, {"low": [], "mid": [], "high": []}
    rows = [row for table in STUDY_ROWS.values() for row in table]
    for number, (context, m, ttft) in enumerate(rows):
        rate = context / (context + m)
        rate = rate if decimals is None else round(rate, decimals)
        point = Point(number + 1, 1)
        cells[point] = {0: ttft}
        groups["low" if rate < 0.3 else "mid" if rate < 0.7 else "high"].append(point)
    found = grouped_spread_of(cells, groups)
    assert found.value == pytest.approx(ratio, abs=5e-4)
    assert found.details == {f"{k}_ms": pytest.approx(v, abs=6e-3) for k, v in means.items()}


def test_measures_need_points_and_starts() -> None:
    near, far = Point(512, 32), Point(512, 1024)
    with pytest.raises(MissingError, match="L512-m1024"):
        ratio_of({near: {0: 1.0}}, [near, far], by_append)
    with pytest.raises(MissingError) as lacking:
        ratio_of({near: {0: 1.0}}, [near, far], by_append)
    assert lacking.value.point == far
    with pytest.raises(MissingError, match="no launch measured all") as no_launch:
        ratio_of({near: {0: 1.0}, far: {1: 1.0}}, [near, far], by_append)
    assert no_launch.value.point is None
    with pytest.raises(MissingError, match="different"):
        ratio_of({near: {0: 1.0}}, [near], by_append)
    with pytest.raises(MissingError, match="two points"):
        band_of({near: {0: 1.0}}, [near])
    with pytest.raises(MissingError, match="fewer than two"):
        grouped_spread_of({near: {0: 1.0}}, {"low": [near], "mid": []})
    with pytest.raises(MissingError, match="no launch"):
        share_of([])


def test_only_starts_with_both_ends_count() -> None:
    near, far = Point(512, 32), Point(512, 1024)
    found = ratio_of(
        {near: {0: 1.0, 1: 1.0, 2: 9.0}, far: {0: 2.0, 1: 2.0}}, [near, far], by_append
    )
    assert (found.value, found.starts) == (pytest.approx(2.0), 2)


def test_ratio_of_one_start_has_no_interval() -> None:
    cells = STUDY["append"]
    found = ratio_of(cells, list(cells), by_append)
    assert (found.low, found.high, found.starts) == (None, None, 1)


def test_spread_of_small_tables() -> None:
    one = spread_of(np.array([[0.0, 1.0, 0.5]]))
    assert (one.value, one.low, one.high, one.smallest, one.largest) == (1.0, None, None, 0, 1)
    flat = spread_of(np.zeros((3, 4)))
    assert (flat.value, flat.low, flat.high) == (0.0, 0.0, 0.0)
    # Launches that differ by a common level only: the spread is known exactly.
    exact = spread_of(np.array([[0.0, 0.1], [5.0, 5.1]]))
    assert exact.low == pytest.approx(0.1, abs=1e-6)
    assert exact.high == pytest.approx(0.1, abs=1e-6)


@pytest.mark.simulation
@pytest.mark.parametrize("starts", [2, 3, 5])
@pytest.mark.parametrize("noisy", [1.0, 3.0])
def test_noise_alone_never_makes_a_spread(starts: int, noisy: float) -> None:
    """A constant TTFT: the lower end exceeds 0 in at most 2.5 % of runs, noisy point or not.

    2000 sessions; at a true 2.5 % more than 3.4 % is seen once in 200 seeds. A spread taken per
    launch and averaged is above 0 every time, which is why it is not done.
    """
    rng = np.random.default_rng(7)
    scale = np.ones(6)
    scale[2] = noisy
    wrong, naive = 0, 0
    for _ in range(2000):
        table = rng.normal(size=(starts, 1)) + scale * rng.normal(size=(starts, 6))
        found = spread_of(table)
        wrong += found.low is not None and found.low > 0
        naive += float(np.ptp(table, axis=1).mean()) > 0
    assert wrong / 2000 <= 0.034
    assert naive == 2000


@pytest.mark.simulation
@pytest.mark.parametrize("truth", [[0, 0, 0, 0, 0, 3.0], [0, 0, 0, 3.0, 3.0, 3.0]])
def test_spread_covers_the_truth(truth: list[float]) -> None:
    """Both ends, 2000 sessions: each errs in at most 2.5 % (3.4 % is seen once in 200 seeds)."""
    rng = np.random.default_rng(8)
    too_high = too_low = 0
    for _ in range(2000):
        found = spread_of(np.array(truth) + rng.normal(size=(5, 1)) + rng.normal(size=(5, 6)))
        assert found.low is not None
        assert found.high is not None
        too_high += found.low > 3
        too_low += found.high < 3
    assert too_high / 2000 <= 0.034
    assert too_low / 2000 <= 0.034


# Each measure on few launches, to the digit.

A, B, C = Point(64, 32), Point(64, 128), Point(256, 64)
# T in ms at A, B and C of three launches; a fourth lacks B.
CELLS = {
    A: {0: 10.0, 1: 11.0, 2: 12.0, 3: 1.0},
    B: {2: 24.0, 0: 20.0, 1: 21.0},
    C: {0: 16.0, 1: 15.0, 2: 14.0, 3: 1.0},
}
TIMES = np.array([[10.0, 20.0, 16.0], [11.0, 21.0, 15.0], [12.0, 24.0, 14.0]])


def geometric(values) -> dict[str, float]:
    """Mean and 95 % t interval over launches on the log scale."""
    logs = np.log(values)
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    mean = logs.mean()
    return {
        "value": pytest.approx(np.exp(mean)),
        "low": pytest.approx(np.exp(mean - half)),
        "high": pytest.approx(np.exp(mean + half)),
    }


def fields(found) -> dict:
    """What it measured; of the kind it is, only where it is a band."""
    told = {name: getattr(found, name) for name in Measured.__slots__}
    return told if told["is_band"] else {k: v for k, v in told.items() if k != "is_band"}


def test_a_table_has_the_launches_that_measured_every_point() -> None:
    np.testing.assert_allclose(log_table(CELLS, [A, B, C]), np.log(TIMES))
    np.testing.assert_allclose(log_table(CELLS, [C, A])[3], [0, 0])
    with pytest.raises(MissingError, match=r"^no valid sample at L1-m1$"):
        log_table(CELLS, [A, Point(1, 1)])
    with pytest.raises(MissingError, match=r"^no launch measured all of L64-m32, L64-m128$"):
        log_table({A: {0: 1.0}, B: {1: 1.0}}, [A, B])


def test_elasticity_is_the_slope_in_logs_of_the_mean_over_launches() -> None:
    table = np.log([[10.0, 20.0, 16.0], [10.0, 80.0, 16.0]])
    axis = [32, 128, 64]
    x, y = np.log(axis), table.mean(axis=0)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    assert elasticity(table, axis) == pytest.approx(slope)


@pytest.mark.parametrize(("over", "span"), [(None, 1.0), (by_total, 192 / 96)])
def test_a_ratio_is_of_the_ends_of_its_axis(over, span) -> None:
    found = ratio_of(CELLS, [C, B, A], by_append, over=over)
    expected = geometric(TIMES[:, 1] / TIMES[:, 0] / span)
    assert fields(found) == expected | {"starts": 3, "near": (A,), "far": (B,), "details": {}}


def spread_by_hand(table: np.ndarray) -> tuple[float, float, float]:
    """`spread_of`, its formulas written out for single columns."""
    starts, k = table.shape
    means = table.mean(axis=0)
    value = means.max() - means.min()
    by_column = np.zeros(k)
    for s in range(starts):
        for c in range(k):
            fitted = means[c] + table[s].mean() - table.mean()
            by_column[c] += (table[s, c] - fitted) ** 2
    pooled = by_column.sum() / ((starts - 1) * (k - 1))
    alike = by_column.sum() ** 2 / (by_column**2).sum() / k
    df = max(1, int(alike * (starts - 1) * (k - 1) + 1e-9))
    high = 0.0
    for i in range(k):
        for j in range(k):
            pair = table[:, i] - table[:, j]
            se = np.sqrt(max(pair.var(ddof=1), 2 * pooled) / starts)
            high = max(high, abs(pair.mean()) + stats.t.ppf(0.975, df) * se)
    pair = table[:, means.argmax()] - table[:, means.argmin()]
    se = np.sqrt(max(pair.var(ddof=1), 2 * pooled) / starts)
    q = stats.studentized_range.ppf(0.975, k, df) / np.sqrt(2)
    return value, max(0.0, value - q * se), high


NOISY = np.array([[0.0, 1.0, 0.5, 0.4], [0.1, 1.3, 0.3, 0.4], [0.05, 0.9, 0.9, 0.5]])


@pytest.mark.parametrize(
    ("table", "ends"),
    [
        (np.log(TIMES), (0, 1)),
        (NOISY, (0, 1)),
        (NOISY[:2], (0, 1)),
        (NOISY[:, [1, 0, 2]], (1, 0)),
        (NOISY[:, [1, 0]], (1, 0)),
        (0.1 * NOISY[:, 2:], (1, 0)),
        (NOISY + np.array([[0.0], [3.0], [9.0]]), (0, 1)),
        # One column that scatters far more than the others, over many launches.
        (np.column_stack([*NOISY[:, 2:].repeat(3, axis=0).T, np.arange(9.0) % 4]), (1, 2)),
    ],
)
def test_a_spread_is_as_its_formulas_say(table, ends) -> None:
    found = spread_of(table)
    assert (found.value, found.low, found.high) == pytest.approx(spread_by_hand(table))
    assert (found.smallest, found.largest) == ends


@pytest.mark.parametrize("table", [np.array([[0.0, 1.0]]), np.array([[0.5], [0.7]])])
def test_a_spread_of_one_launch_or_one_column_has_no_interval(table) -> None:
    found = spread_of(table)
    assert (found.low, found.high) == (None, None)
    assert found.value == pytest.approx(np.ptp(table.mean(axis=0)))


def test_a_band_is_of_the_largest() -> None:
    found, spread = band_of(CELLS, [C, B, A]), spread_of(np.log(TIMES))
    assert spread.low is not None
    assert spread.high is not None
    assert fields(found) == {
        "value": pytest.approx(1 - np.exp(-spread.value)),
        "low": pytest.approx(1 - np.exp(-spread.low)),
        "high": pytest.approx(1 - np.exp(-spread.high)),
        "starts": 3,
        "near": (A,),
        "far": (B,),
        "details": {"max_over_min": pytest.approx(np.exp(spread.value))},
        "is_band": True,
    }
    two = band_of(CELLS, [A, B])
    assert two.value == pytest.approx(1 - np.exp(-spread.value))
    one = band_of({p: {0: cells[0]} for p, cells in CELLS.items()}, [A, B, C])
    assert (one.value, one.low, one.high) == (pytest.approx(0.5), None, None)


def test_groups_are_compared_by_their_means_in_ms() -> None:
    groups = {"low": [A], "none": [], "mid": [B, C, C], "high": [C]}
    found = grouped_spread_of(CELLS, groups)
    mid = (TIMES[:, 1] + 2 * TIMES[:, 2]) / 3
    spread = spread_of(np.log(np.stack([TIMES[:, 0], mid, TIMES[:, 2]], axis=1)))
    assert spread.low is not None
    assert spread.high is not None
    assert fields(found) == {
        "value": pytest.approx(np.exp(spread.value)),
        "low": pytest.approx(np.exp(spread.low)),
        "high": pytest.approx(np.exp(spread.high)),
        "starts": 3,
        "near": (A,),
        "far": (B, C, C),
        "details": {
            "low_ms": pytest.approx(stats.gmean(TIMES[:, 0])),
            "mid_ms": pytest.approx(stats.gmean(mid)),
            "high_ms": pytest.approx(stats.gmean(TIMES[:, 2])),
        },
    }
    one = {p: {0: cells[0]} for p, cells in CELLS.items()}
    alone = grouped_spread_of(one, {"low": [A], "high": [B]})
    assert (alone.value, alone.low, alone.high) == (pytest.approx(2.0), None, None)


def test_a_share_is_a_geometric_mean_over_launches() -> None:
    found = share_of([0.1, 0.2, 0.4], (A,))
    expected = geometric([0.1, 0.2, 0.4])
    assert fields(found) == expected | {"starts": 3, "near": (A,), "far": (), "details": {}}
    one = share_of([0.25])
    assert (one.value, one.low, one.high, one.near) == (pytest.approx(0.25), None, None, ())


@pytest.mark.parametrize(
    ("found", "half", "low", "high"),
    [
        (Measured(2.0, 1.9, 2.1, 2), 0.0, 1.9, 2.1),
        (Measured(2.0, 1.9, 2.1, 2), math.log(2), 1.0, 4.0),
        (Measured(2.0, 0.5, 2.1, 2), math.log(2), 0.5, 4.0),
        (Measured(2.0, 1.9, 9.0, 2), math.log(2), 1.0, 9.0),
        # Of max / min = 2: by a half, so 4 / 3 and 3, then less than no band at all.
        (Measured(0.5, 0.4, 0.6, 2, is_band=True), math.log(1.5), 0.25, 2 / 3),
        (Measured(0.5, 0.4, 0.6, 2, is_band=True), math.log(4), 0.0, 0.875),
        (Measured(0.5, 0.1, 0.9, 2, is_band=True), math.log(1.5), 0.1, 0.9),
    ],
)
def test_an_interval_reaches_as_far_as_is_asked_at_the_least(found, half, low, high) -> None:
    wider = found.at_least(half)
    assert (wider.low, wider.high) == (pytest.approx(low), pytest.approx(high))
    assert (wider.value, wider.starts) == (found.value, 2)


@pytest.mark.parametrize("ends", [(None, None), (None, 2.0), (1.0, None)])
def test_where_there_is_no_interval_none_is_made(ends) -> None:
    found = Measured(2.0, *ends, 1)
    assert found.at_least(9.0) is found
