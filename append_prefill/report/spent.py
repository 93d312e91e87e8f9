"""Where a run's device-minutes went, in words."""

from __future__ import annotations

from append_prefill.analysis.minutes import minutes_of
from append_prefill.records.run import Run


def spent_words(run: Run) -> str | None:
    """One sentence; None where a launch did not end, since its time is not known."""
    spent = minutes_of(run.starts)
    if spent is None:
        return None
    return (
        f"{spent.total:.1f} device-minutes: starting servers {spent.starting:.1f}, warming up "
        f"{spent.warming_up:.1f}, measuring {spent.measuring:.1f}."
    )
