"""One run from plan to judged record, shared by every worker that takes part in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from append_prefill.engines.base import Device, RunningServer
from append_prefill.engines.clocks import locked_clocks
from append_prefill.engines.waiting import await_ready
from append_prefill.errors import InfrastructureError, JudgingError
from append_prefill.probe.ahead import SideEngine
from append_prefill.probe.bench import Bench
from append_prefill.probe.placement.topology import topology_of
from append_prefill.probe.plan import Plan
from append_prefill.probe.runner import PairRunner
from append_prefill.records.grounds import RunWarning
from append_prefill.records.run import Run
from append_prefill.records.store import (
    RUN_FILE,
    read_starts,
    run_text,
    write_run,
)
from append_prefill.run.adaptive import Decider
from append_prefill.run.concluding import Conclusion
from append_prefill.run.device import free_device
from append_prefill.run.judge import nothing_valid
from append_prefill.run.judging import as_judging_error
from append_prefill.run.pd_pair import Turn
from append_prefill.run.progress import Pace, left_words, planned_words, resumed_words
from append_prefill.run.queue import WORK, PairQueue, QueueState, Resumption, read_state
from append_prefill.run.recorder import Recorder
from append_prefill.run.references import References
from append_prefill.run.settings import Settings


@dataclass(frozen=True, slots=True)
class Worker:
    """Which worker of the run this is; `index` 0 of 1 without xdist."""

    index: int = 0
    count: int = 1


class Session:
    """One run as one worker sees it. All workers of a run share `folder` and `created_at`.

    With a `resumption` the run is one that was cut off, and is gone on with where it ended.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        folder: Path,
        created_at: datetime,
        *,
        references: References,
        worker: Worker,
        tell: Callable[[str], None],
        resumption: Resumption | None = None,
    ) -> None:
        self.settings, self.plan, self.folder = settings, plan, folder
        self.references = references
        self._created_at, self._worker, self._tell = created_at, worker, tell
        self._resumption = resumption
        self._recorder = Recorder(settings, plan, folder, created_at, references, worker.count)
        self._failure: Exception | None = None
        self._recorded: Run | None = None  # what `judged` was made of
        self._took_s: list[tuple[int, float]] = []  # sides and seconds of each pair measured here

    @cached_property
    def judged(self) -> Run:
        """The judged run; measured on first use, by as many workers as ask for it.

        Raises InfrastructureError if the run says nothing, the same each time.
        """
        if self._failure is not None:
            raise self._failure
        try:
            state = self._measure()
            self._recorded = run = self.record()
            write_run(run, self.folder / RUN_FILE)
            with as_judging_error(self.folder):
                return self._conclusion.judge(run, state)
        except Exception as error:
            self._failure = error
            raise

    def record(self) -> Run:
        """What was measured so far by all workers, not judged."""
        return self._recorder.record(self._queue_state())

    def finish(
        self, warnings: Sequence[RunWarning] = (), *, interrupted: bool = False
    ) -> tuple[Run, str | None]:
        """The final record, judged if it can be, and the reason if it cannot.

        Whatever goes wrong in judging, the record is written, its verdict then `infrastructure`.

        For whoever owns the report: the only worker, or the controller of several. `warnings` are
        added to the record's; `interrupted`: the user wanted no more of it.
        """
        run = self.record()
        run.warnings += warnings
        path = self.folder / RUN_FILE
        write_run(run, path)
        state = self._queue_state()
        try:
            with as_judging_error(self.folder):
                # What this process has judged is judged once, unless other hosts sent more.
                judged = (
                    self.judged
                    if run == self._recorded
                    else self._conclusion.judge(run, state, interrupted=interrupted)
                )
                run_text(judged)  # what JSON cannot hold is a fault of the judging, too
        except InfrastructureError as error:
            judging = isinstance(error, JudgingError)
            warning = RunWarning(
                code="judging-failed" if judging else "infrastructure", text=str(error)
            )
            unfinished = state is not None and state.closed is None and not judging
            failed = run.model_copy(
                update={
                    "verdict": "infrastructure",
                    "warnings": [*run.warnings, warning],
                    "state": {**run.state, **({"unfinished": True} if unfinished else {})},
                }
            )
            write_run(failed, path)
            return failed, str(error)
        write_run(judged, path)
        return judged, None

    @property
    def failure(self) -> Exception | None:
        """What ended the measuring in this process; None where nothing did, or none began."""
        return self._failure

    @property
    def began(self) -> bool:
        """Whether any worker has begun to measure; of a run that was cut off, to go on."""
        state = self._queue_state()
        if state is None:
            return False
        return self._resumption is None or self._resumption in state.resumed

    @contextmanager
    def live_server(self) -> Iterator[RunningServer]:
        """A server of the candidate's that nothing else uses, on a locked device."""
        engine = self.settings.candidate
        with self._device(lambda: False) as device:
            if device is None:  # not reachable: nothing told the wait to end
                raise InfrastructureError("no device")
            server = engine.start(device, self.folder / f"live-{self._worker.index}.log")
            try:
                await_ready([server])
                yield server
            finally:
                server.stop()
                server.await_memory()

    def _measure(self) -> QueueState:
        queue = self._queue()
        if self._resumption is not None and queue.resume(self._resumption):
            self._tell(resumed_words(self._resumption))
        with ExitStack() as stack:
            device = stack.enter_context(self._device(lambda: self._finished(queue)))
            if device is None:
                state = queue.work(lambda _: None)
                self._pair_turn.await_it(None)
                return state
            stack.enter_context(self._pair_turn)
            if self.settings.locked_mhz is not None:
                stack.enter_context(locked_clocks(device))
            path = self.folder / RUN_FILE
            if self._resumption is not None or not path.exists():
                # With this and the launches' own files a killed run can still be reported.
                write_run(self.record(), path)
            runner = stack.enter_context(
                PairRunner(
                    Bench(
                        self.settings.profile,
                        self.plan,
                        device,
                        self.settings.guard(device),
                        self.folder,
                        self.settings.vocab_size,
                        self._tell,
                        topology_of(device),
                    )
                )
            )

            def measure(index: int) -> None:
                engines = self._engines(index, queue.state())
                began_s = time.monotonic()
                runner.measure(index, engines, lambda: self._upcoming(queue))
                if (problem := nothing_valid(read_starts(self.folder), index)) is not None:
                    raise InfrastructureError(problem)
                self._took_s.append((len(engines), time.monotonic() - began_s))
                state = queue.state()
                # The pair just measured is done, if not yet in the state.
                self._tell(left_words(len(state.done) + 1, state.planned, self._pace(state)))

            state = queue.work(measure)
            self._pair_turn.await_it(device)
            return state

    @cached_property
    def _pair_turn(self) -> Turn:
        return Turn(self.settings, self.plan, self.folder, self._tell)

    def _engines(self, pair: int, state: QueueState) -> list[SideEngine]:
        sides = self._decider.sides(pair, state)
        return [(side, self._decider.engine(side, state)) for side in sides]

    def _upcoming(self, queue: PairQueue) -> list[SideEngine]:
        """The engines of the pair that this worker is likely to measure next, none if it is not."""
        state, pair = queue.state(), queue.free()
        if pair is None:
            if not self._decider.may_plan_more(state):
                return []
            pair = state.planned
        return self._engines(pair, state)

    def _pace(self, state: QueueState) -> Pace:
        """What this worker's pairs took, as far as they were like those that are planned last."""
        sides = len(self._decider.sides(state.planned - 1, state))
        like = [took_s for of, took_s in self._took_s if of == sides]
        return Pace(
            unit="pair" if sides > 1 else "launch",
            took_s=like or [took_s / of * sides for of, took_s in self._took_s],
            at_once=self._at_once,
            then_judged=self._decider.may_plan_more(state),
            then_pair=self.plan.pd_pair is not None,
        )

    def _finished(self, queue: PairQueue) -> bool:
        state = queue.state()
        return state.closed is not None or state.failed is not None

    def _queue(self) -> PairQueue:
        return PairQueue(self.folder / WORK, self._decider.first_pairs, self._decide)

    def _decide(self, state: QueueState) -> QueueState:
        with as_judging_error(self.folder):
            decided = self._decider.decide(state)
        more = decided.planned - state.planned
        if more > 0:
            self._tell(f"going on: {planned_words(more, self._pace(decided))}")
        return decided

    def _queue_state(self) -> QueueState | None:
        return read_state(self.folder / WORK)

    @cached_property
    def _decider(self) -> Decider:
        return Decider(
            self.settings,
            self.plan,
            self.references,
            at_once=self._at_once,
            elapsed_s=self._age_s,
            record=self.record,
            tell=self._tell,
        )

    @cached_property
    def _conclusion(self) -> Conclusion:
        return Conclusion(self.settings, self.plan, self.references, self._decider)

    @property
    def _at_once(self) -> int:
        """How many pairs are measured at the same time, as far as this worker knows."""
        return min(self._worker.count, len(self.settings.devices))

    def _age_s(self) -> float:
        """How long the run has gone on, without the time between a cut and its resumption."""
        state = self._queue_state()
        paused_s = sum(r.paused_s for r in state.resumed) if state is not None else 0.0
        return (datetime.now(UTC) - self._created_at).total_seconds() - paused_s

    def _device(self, give_up: Callable[[], bool]) -> AbstractContextManager[Device | None]:
        """A device no one else measures on, or None if `give_up` said so while waiting."""
        return free_device(
            self.settings.devices,
            self._worker.index,
            give_up=give_up,
            limit_s=self.plan.budget_minutes * 60,
            tell=self._tell,
        )
