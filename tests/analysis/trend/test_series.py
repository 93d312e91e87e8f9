"""What a page draws: which series, in which order, and changes of one reference alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from append_prefill.analysis.trend.series import trend_of, trends_of
from append_prefill.records.history.entry import Value, Yardstick
from tests.records.history import entries


def test_order_is_ratios_values_findings_points_by_tokens() -> None:
    names = ("point:L512-m32", "point:L64-m128", "finding:b", "finding:a", "floor_ms", "level")
    values = [Value("own", name, 1.0) for name in names]
    values += [Value("own", "cached_token_us", None), entries.ratio("append_end", 0.0)]
    sessions = [entries.entry(0, [*values, entries.ratio("level", 0.0)])]
    assert [(t.line, t.quantity) for t in trends_of(sessions)] == [
        ("reference", "level"),
        ("reference", "append_end"),
        ("own", "level"),
        ("own", "floor_ms"),
        ("own", "finding:a"),
        ("own", "finding:b"),
        ("own", "point:L64-m128"),
        ("own", "point:L512-m32"),
    ]


def test_a_hole_is_no_zero_and_moves_no_change() -> None:
    log = np.random.default_rng(0).normal(0, 0.004, 60) + 0.05 * (np.arange(60) >= 40)
    sessions = entries.history(list(log))
    sessions[10] = replace(sessions[10], values=())
    trend = trend_of(sessions, "reference", "level")
    assert np.flatnonzero(np.isnan(trend.value)).tolist() == [10]
    assert [change.at for change in trend.changes] == [40]
    assert trend.step == sessions[-1].values[0].value / sessions[-2].values[0].value


def test_another_reference_is_no_change_point() -> None:
    log = np.random.default_rng(0).normal(0, 0.004, 60) - 0.05 * (np.arange(60) >= 30)
    sessions = entries.history(list(log))
    assert [c.at for c in trend_of(sessions, "reference", "level").changes] == [30]
    moved = Yardstick("side-by-side", "chosen", "0.5.20", "pass", 0.02)
    sessions[30:] = [replace(entry, yardstick=moved) for entry in sessions[30:]]
    assert trend_of(sessions, "reference", "level").changes == ()


def test_one_session_has_no_step() -> None:
    trend = trend_of(entries.history([0.01]), "reference", "level")
    assert trend.step is None
    assert trend.last is not None
