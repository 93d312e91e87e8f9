"""Writing into a run that suspects what came of measuring it again.

A module of its own: reports load half of scipy, which no run needs before it has ended.
"""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from append_prefill.analysis.confirming import answers_of
from append_prefill.errors import storing
from append_prefill.records.confirmation import Confirmation
from append_prefill.records.history.entry import key_of
from append_prefill.records.run import Run
from append_prefill.records.store import RUN_FILE, read_run, write_run
from append_prefill.report.history.note import note_of
from append_prefill.report.write import write_reports
from append_prefill.run.confirming import Suspicion
from append_prefill.run.history import add_run, follow_run
from append_prefill.workload.profile import Profile

_LOCK_FILE = ".confirmations.lock"


def join(
    run: Run,
    suspicion: Suspicion,
    folder: Path,
    *,
    profile: Profile,
    baseline: Run | None,
) -> Run:
    """Write what `run`, in `folder`, says of the suspicion into the record, the history and the
    report of the run that suspects; returns that record.

    Both answers are kept where two runs end at once. Another version than the one that is
    suspected says nothing of it. `baseline` is what that run was held against. Raises UsageError
    or StorageError where it cannot be read or written.
    """
    home = suspicion.folder
    same = run.version == suspicion.run.version
    answers = {name: a if same else "undecided" for name, a in answers_of(run).items()}
    made = Confirmation(
        run=key_of(run), folder=folder.name, at=run.created_at, answers=dict(answers)
    )
    with storing(home), FileLock(home / _LOCK_FILE):
        before = read_run(home, option="--confirms")
        others = [one for one in before.confirmations if one.run != made.run]
        after = before.model_copy(update={"confirmations": [*others, made]})
        write_run(after, home / RUN_FILE)
    add_run(after, home)
    followed = follow_run(after, home.parent)
    write_reports(
        after,
        home,
        profile=profile,
        baseline=baseline,
        history=None if followed is None else note_of(followed),
    )
    return after
