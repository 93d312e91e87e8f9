"""The record of a run under way: what its launches' files say, and what the run is."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import append_prefill
from append_prefill.analysis.summary import usable
from append_prefill.probe.plan import Plan
from append_prefill.records.contrast import told_once
from append_prefill.records.definition import definition_of
from append_prefill.records.history.entry import PURPOSE_KEY
from append_prefill.records.run import Run
from append_prefill.records.store import RUN_FILE, read_run, read_starts
from append_prefill.run.history import told_purpose
from append_prefill.run.identity import identity_for, profile_digest
from append_prefill.run.pd_pair import read_pairs
from append_prefill.run.queue import QueueState
from append_prefill.run.references import References
from append_prefill.run.settings import Settings
from append_prefill.run.warnings import warnings_of


@dataclass(frozen=True)
class Recorder:
    """Puts together what a run of so many workers has measured."""

    settings: Settings
    plan: Plan
    folder: Path
    created_at: datetime
    references: References
    workers: int

    def record(self, state: QueueState | None) -> Run:
        """What was measured so far by all workers, not judged; `state` is that of their queue."""
        starts = told_once(read_starts(self.folder))
        candidate = usable(starts, "candidate")
        resumed = [] if state is None else state.resumed
        subject = candidate[0].subject if candidate else {"sglang": self.settings.candidate.version}
        return Run(
            created_at=self.created_at,
            suite={
                "version": append_prefill.__version__,
                "python": platform.python_version(),
                "options": self.settings.options.command(),
                "profile_digest": profile_digest(self.settings.profile),
                **self.settings.options.labels(),
                PURPOSE_KEY: self._purpose,
            },
            definition=definition_of(self.settings.profile),
            profile=self.settings.profile.name,
            seed=self.plan.seed,
            identity=identity_for(self.settings),
            subject=subject,
            state={
                "host": platform.node(),
                "replicated": self.settings.candidate.replicable,
                "workers": self.workers,
                "locked_sm_mhz": self.settings.locked_mhz,
                **({"resumed": [r.model_dump(mode="json") for r in resumed]} if resumed else {}),
            },
            plan=self.plan.record(self.settings.profile.link.gb_per_s),
            starts=starts,
            pd_pair=read_pairs(self.folder),
            warnings=warnings_of(self.settings, self.references, starts, resumed),
            confirms=None if (s := self.settings.suspicion) is None else s.confirms,
        )

    @cached_property
    def _purpose(self) -> str:
        """As told when the run began: whoever resumes it does not change why it was made."""
        path = self.folder / RUN_FILE
        before = read_run(path).suite.get(PURPOSE_KEY) if path.is_file() else None
        if before is not None:
            return before
        profile = self.settings.profile
        usual = {e.id for e in profile.traffic if not e.heavy}
        part = not (
            {*profile.points} <= {*self.plan.points} and usual <= {e.id for e in self.plan.traffic}
        )
        # What is measured because something was slow is no session of a history.
        part = part or self.settings.options.quick or self.settings.suspicion is not None
        return told_purpose(os.environ, part=part)
