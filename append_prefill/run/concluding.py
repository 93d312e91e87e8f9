"""What a run comes to, whole or cut off: its judged record, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from append_prefill.analysis.summary import usable
from append_prefill.errors import InfrastructureError, JudgingError
from append_prefill.probe.plan import Plan
from append_prefill.records.comparison import Comparison
from append_prefill.records.grounds import RunWarning
from append_prefill.records.run import Run
from append_prefill.run.adaptive import Decider
from append_prefill.run.judge import judge, too_few_valid
from append_prefill.run.pd_pair import cut_pair
from append_prefill.run.queue import QueueState
from append_prefill.run.references import References
from append_prefill.run.settings import Settings


@dataclass(frozen=True, slots=True)
class Conclusion:
    """How records of a run are judged: by its plan and what it is held against."""

    settings: Settings
    plan: Plan
    references: References
    decider: Decider

    def judge(self, run: Run, state: QueueState | None, *, interrupted: bool = False) -> Run:
        """The judged record; `state` is the queue's, None where nothing was begun.

        What was whole when the user interrupted the run (Ctrl-C) is judged like any other run of so
        many launches; what something else cut short is not, since that may have been the servers'.
        Raises InfrastructureError if too little of it is valid, JudgingError if an interim analysis
        could not be made.
        """
        if state is not None and state.judging_failed:
            raise JudgingError(state.failed)
        problems = too_few_valid(run, self.settings.profile)
        level = None
        if state is not None and state.closed is None:
            if state.interrupted or (interrupted and state.failed is None):
                warnings = [*run.warnings, self._interruption(run, state)]
                run = run.model_copy(update={"warnings": warnings})
                level = self.decider.next_level(state)
            else:
                why = state.failed or f"{len(state.done)} of {state.planned} pairs measured."
                problems.insert(0, f"The run was cut short: {why}")
        cut = cut_pair(self.plan.pd_pair, run.pd_pair)
        if cut is not None and state is not None and state.closed is not None:
            run = run.model_copy(update={"warnings": [*run.warnings, cut]})
        if problems:
            raise InfrastructureError(" ".join(problems))
        if state is not None and state.closed is not None:
            run = run.model_copy(update={"state": {**run.state, "ended": state.closed}})
        judged = judge(
            run,
            self.plan.narrowed(self.settings.profile),
            references=self.references,
            kv_bytes_per_token=self.settings.kv_bytes_per_token,
            kv_fixed_bytes=self.settings.kv_fixed_bytes,
            replicable=self.settings.candidate.replicable,
            looks=[] if state is None else state.looks,
            level=level,
        )
        if state is None or state.confirm_with is None:
            return judged
        traffic = [
            one.model_copy(update={"comparison": _suspected(one.comparison, state.confirm_with)})
            for one in judged.traffic
        ]
        made = _suspected(judged.comparison, state.confirm_with)
        return judged.model_copy(update={"comparison": made, "traffic": traffic})

    def _interruption(self, run: Run, state: QueueState) -> RunWarning:
        """How much a run has of what was planned when the user interrupted it."""
        pairs = max(state.planned, self.plan.starts)
        return RunWarning(
            code="interrupted",
            launches=sum(len(self.decider.sides(pair, state)) for pair in range(pairs)),
            usable_launches=len(usable(run.starts, None)),
        )


def _suspected(made: Comparison | None, version: str) -> Comparison | None:
    """A comparison side by side that was measured since the stored `version` suspected."""
    if made is None or made.kind == "baseline" or isinstance(made.reason, str):
        return made  # only records of old suites hold words
    ground = made.reason.model_copy(update={"suspected_by": version})
    return made.model_copy(update={"reason": ground})
