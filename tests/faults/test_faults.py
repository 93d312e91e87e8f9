"""Each fault of the table ends as it has to; `python -m benchmarks.faults` prints the table."""

from __future__ import annotations

import pytest

from benchmarks.faults.rows import ROWS, Row
from benchmarks.faults.strike import Seen, strike

QUICK = (
    "SIGTERM while measuring",
    "disk full at write 3",
    "disk full at write 9",
    "a folder called latest",
    "foreign load on every block",
    "versions that differ",
    "secret in an argument",
    "a baseline with a negative time",
    "server dies mid-run",
    "words for numbers in one answer of ten",
)
"""Run with every change; all of them take minutes, which the benchmark has."""


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.name in QUICK], ids=lambda row: row.name
)
def test_it_ends_as_it_has_to(row, tmp_path):
    seen = strike(row, tmp_path)
    assert seen.faults(row) == []


def test_what_is_not_as_it_has_to_be_is_named():
    row = Row("a fault", "the cause", 7, whole=1, limit_s=1.0)
    seen = Seen(
        first=None,
        status=1,
        seconds=2.0,
        whole=0,
        verdict=None,
        broken=1,
        left=1,
        secrets=1,
        obeyed=1,
        traceback=True,
    )
    assert len(seen.faults(row)) == 10


def test_rows_are_told_apart():
    assert len({row.name for row in ROWS}) == len(ROWS)
