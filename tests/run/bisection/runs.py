"""Runs of a bisection's folder, written as a comparison would leave them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from append_prefill.records.comparison import Comparison, Effect
from append_prefill.records.grounds import Ground
from append_prefill.records.run import Run
from append_prefill.records.store import RUN_FILE, write_run
from append_prefill.run.bisection.history import RUNS
from tests.records.builders import side_by_side


def comparison(ratio: float, half: float = 0.02) -> Comparison:
    """Of the level alone, `half` of its interval on the log scale."""
    level = Effect(
        name="level",
        reference=20.0,
        candidate=20.0 * ratio,
        ratio=ratio,
        low=ratio * math.exp(-half),
        high=ratio * math.exp(half),
        delta_ms=20.0 * (ratio - 1),
        low_ms=None,
        high_ms=None,
        p=0.01,
        mde=None,
        verdict="inconclusive",
    )
    return Comparison(
        reference="x",
        reference_version="0.5.19",
        kind="side-by-side",
        provenance="suite",
        confirmed=True,
        method=None,
        points=[],
        surface=[level],
        mde=None,
        starts_needed=None,
        verdict="inconclusive",
        where=[],
        reason=Ground(code="undecided"),
    )


def compared(candidate: str, reference: str, ratio: float | None, **changes: Any) -> Run:
    """The run that held `candidate` against `reference`."""
    made = side_by_side(reference_ms=20.0 / (ratio or 1))
    return made.model_copy(
        update={
            "suite": {"version": "0.2", "label": candidate, "against_label": reference},
            "comparison": None if ratio is None else comparison(ratio),
            "verdict": "inconclusive",
            **changes,
        }
    )


def leave(folder: Path, number: int, run: Run) -> None:
    write_run(run, folder / RUNS / f"run-{number:02d}" / RUN_FILE)
