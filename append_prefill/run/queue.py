"""Pairs of launches, shared out among the workers of one run.

Every worker of a run (one without xdist, K with `-n K`) claims pairs from the same folder until
none is left, then waits for the pairs of the others. A claim is a file lock, which the system
drops when its holder dies: the pair of a killed worker is simply claimed again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel

from append_prefill.errors import JudgingError, storing
from append_prefill.records.comparison import Look
from append_prefill.records.store import write_whole

# In the run's folder: what its workers agree on.
WORK = "work"
QUEUE_FILE = "queue.json"

POLL_S = 0.2


class Resumption(BaseModel):
    """When a run that was cut off was gone on with, and how many pairs it had by then.

    `paused_s`: how long nothing had been written before; no budget holds that time.
    """

    at: datetime
    pairs: int
    paused_s: float


class QueueState(BaseModel):
    """What the workers agree on. `closed` says why no further pair will be added.

    `planned`: pairs to be measured before it is decided whether there will be more. Pairs from
    `confirm_from` on have both sides, the reference being version `confirm_with`, to confirm what a
    stored run suspects; `confirm_pairs` are planned for that, `confirm_at_once` where they are
    measured without interim analyses. `failed`: what ended the run instead,
    `judging_failed` if that was an interim analysis, which says nothing against what was measured,
    and `interrupted` if it was the user (Ctrl-C). `resumed`: once for each time that the run was
    cut off and gone on with.
    """

    planned: int
    confirm_from: int | None = None
    confirm_with: str | None = None
    confirm_pairs: int | None = None
    confirm_at_once: bool = False
    done: list[int] = []
    looks: list[Look] = []
    closed: str | None = None
    failed: str | None = None
    judging_failed: bool = False
    interrupted: bool = False
    resumed: list[Resumption] = []

    def fail(self, error: BaseException) -> None:
        """Note what ended the run, unless something else did before."""
        if self.failed is None:
            self.judging_failed = isinstance(error, JudgingError)
            self.interrupted = isinstance(error, KeyboardInterrupt)
            self.failed = str(error) if self.judging_failed else f"{type(error).__name__}: {error}"


def read_state(folder: Path) -> QueueState | None:
    """The state of the queue in `folder`, None where there is none yet.

    Without its lock, since the file is replaced as a whole: also for what `decide` calls. Raises
    pydantic's ValidationError for a file that is no state.
    """
    path = folder / QUEUE_FILE
    return QueueState.model_validate_json(path.read_bytes()) if path.is_file() else None


class PairQueue:
    """The queue of one run, kept in `folder` (created if missing).

    `decide` is called with the state, by one worker at a time, when all planned pairs are done, so
    that none is under way: it returns the state with more pairs planned, or with `closed` set.
    """

    def __init__(
        self, folder: Path, planned: int, decide: Callable[[QueueState], QueueState]
    ) -> None:
        self._folder = folder
        self._decide = decide
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / QUEUE_FILE
        self._lock = FileLock(folder / "queue.lock")
        with self._lock:
            if not self._path.exists():
                self._write(QueueState(planned=planned))

    def resume(self, resumption: Resumption) -> bool:
        """Forget what ended the run; whether this worker was the first to do so.

        What is done stays, the interim analyses among it: none is made twice, so the run's
        false-alarm rate is that of one which was never cut off.
        """
        with self._lock:
            state = self._read()
            if state.resumed and state.resumed[-1] == resumption:
                return False
            state.resumed.append(resumption)
            state.failed, state.judging_failed, state.interrupted = None, False, False
            self._write(state)
        return True

    def state(self) -> QueueState:
        """The state as it is now."""
        with self._lock:
            return self._read()

    def free(self) -> int | None:
        """The pair that a worker would be given now; None if all that are planned are taken."""
        with self._lock:
            taken = self._take(self._read())
        if taken is None:
            return None
        index, lock = taken
        lock.release()
        return index

    def work(self, measure: Callable[[int], None]) -> QueueState:
        """Measure pairs until the queue is closed or failed; returns the last state.

        An exception of `measure` marks the queue failed, which ends the other workers' work
        too, and is raised again.
        """
        while True:
            claim = self._claim()
            if claim is None:
                state = self.state()
                if state.closed is not None or state.failed is not None:
                    return state
                time.sleep(POLL_S)
                continue
            index, lock = claim
            try:
                measure(index)
            except BaseException as error:
                self._update(error=error)
                raise
            else:
                self._update(done=index)
            finally:
                lock.release()

    def _claim(self) -> tuple[int, FileLock] | None:
        with self._lock:
            state = self._read()
            if state.failed is not None:
                return None
            if state.closed is None and len(state.done) == state.planned:
                try:
                    state = self._decide(state)
                except BaseException as error:
                    state.fail(error)
                    raise
                finally:
                    self._write(state)
            return self._take(state)

    def _take(self, state: QueueState) -> tuple[int, FileLock] | None:
        """The first pair that is neither done nor claimed, with its lock held."""
        for index in range(state.planned):
            if index in state.done:
                continue
            lock = FileLock(self._folder / f"pair-{index}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            return index, lock
        return None

    def _update(self, *, done: int | None = None, error: BaseException | None = None) -> None:
        with self._lock:
            state = self._read()
            if done is not None:
                state.done = sorted({*state.done, done})
            if error is not None:
                state.fail(error)
            self._write(state)

    def _read(self) -> QueueState:
        return QueueState.model_validate_json(self._path.read_bytes())

    def _write(self, state: QueueState) -> None:
        # What a machine that lost its power goes on from.
        write_whole(self._path, state.model_dump_json())
