"""What a run is held against from storage: the chosen baseline, the pinned one, the last nights.

The newest older version answers "did this release get slower?", the pinned reference "how far
have we crept?", the rolling window "did something change here since last week?".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from append_prefill.analysis.noise import noise_of
from append_prefill.records.baselines import expiry_warning, pinned_baseline, select_baseline
from append_prefill.records.history import last_of_identity, load_history, load_runs
from append_prefill.records.run import Run, Start
from append_prefill.workload.profile import Profile


@dataclass(frozen=True, slots=True)
class References:
    """Stored runs to compare with; each is None where there is none. `warnings` are for the run."""

    chosen: Run | None = None
    pinned: Run | None = None
    rolling: Run | None = None
    warnings: tuple[str, ...] = ()

    @property
    def stored(self) -> list[tuple[str, Run]]:
        """(how it is called, run), the chosen one first."""
        named = (("", self.chosen), ("pinned ", self.pinned), ("rolling ", self.rolling))
        return [(name, run) for name, run in named if run is not None]


def gather(
    root: Path,
    report_dir: Path,
    selector: str,
    *,
    identity: dict[str, Any],
    version: str | None,
    profile: Profile,
    now: datetime,
) -> References:
    """Read what `--baseline` asks for; `auto` brings the pinned and the rolling reference too.

    `root` is the folder `baselines`. Raises UsageError for a selector that names nothing.
    """
    chosen = select_baseline(root, selector, identity=identity, version=version, profile=profile)
    pinned = rolling = None
    if selector == "auto":
        pinned = pinned_baseline(root, identity)
        if pinned is not None and chosen is not None and pinned.created_at == chosen.created_at:
            pinned = None
        rolling = _rolling(report_dir, identity, profile, now)
    warnings = [
        warning
        for run in (chosen, pinned)
        if run is not None and (warning := expiry_warning(run, profile, now)) is not None
    ]
    return References(chosen, pinned, rolling, tuple(warnings))


def _rolling(
    report_dir: Path, identity: dict[str, Any], profile: Profile, now: datetime
) -> Run | None:
    """The last nights of this identity as one run; None with fewer than two of them."""
    entries = last_of_identity(
        load_history(report_dir),
        identity,
        profile.rolling_runs,
        not_binding=profile.identity_not_binding,
        before=now,
    )
    runs = load_runs(entries, report_dir)
    nights = [candidate_starts(run) for run in runs]
    nights = [starts for starts in nights if starts]
    if len(nights) < 2:
        return None
    starts = [start for night in nights for start in night]
    return runs[-1].model_copy(
        update={
            "starts": starts,
            "noise": noise_of(nights),
            "comparison": None,
            "subject": {"sglang": f"last {len(nights)} runs"},
        }
    )


def candidate_starts(run: Run) -> Sequence[Start]:
    """The candidate's whole starts of a run."""
    return [s for s in run.starts if s.side == "candidate" and s.failure is None and s.series]
