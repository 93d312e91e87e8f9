"""Where a run's device-minutes went, in words."""

from __future__ import annotations

from append_prefill.analysis.minutes import minutes_of
from append_prefill.records.run import Run


def spent_words(run: Run) -> str | None:
    """One sentence; None where a launch did not end, since its time is not known."""
    spent = minutes_of(run.starts)
    launches = [launch for pair in run.pd_pair for launch in pair.launches]
    of_pairs = [launch.took_s for launch in launches if launch.took_s is not None]
    if spent is None or len(of_pairs) < len(launches):
        return None
    pairs = sum(of_pairs) / 60
    also = f", P/D pairs {pairs:.1f}" if launches else ""
    return (
        f"{spent.total + pairs:.1f} device-minutes: starting servers {spent.starting:.1f}, warming "
        f"up {spent.warming_up:.1f}, measuring {spent.measuring:.1f}{also}."
    )
