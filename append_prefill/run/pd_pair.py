"""The P/D pair of a run: measured once, by one of its workers, after the launches of the queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from append_prefill.engines.base import Device
from append_prefill.probe.pair import Bed, measure_backend, more_to_measure
from append_prefill.probe.plan import Plan
from append_prefill.records.grounds import RunWarning
from append_prefill.records.pd_pair import PairBackend
from append_prefill.records.store import write_whole
from append_prefill.run.queue import WORK
from append_prefill.run.settings import Settings
from append_prefill.workload.pd_pair import PdPair

FILE = "pd_pair.json"
_BACKENDS = TypeAdapter(list[PairBackend])


def read_pairs(folder: Path) -> list[PairBackend]:
    """What was measured so far in a run's folder; empty where nothing was."""
    path = folder / FILE
    return _BACKENDS.validate_json(path.read_bytes()) if path.exists() else []


def measure_pairs(bed: Bed) -> None:
    """Every backend's launches that are not in the folder yet, each kept as soon as it is whole.

    Nothing a pair does ends the run.
    """
    done = {one.backend: one for one in read_pairs(bed.folder)}
    for backend in bed.plan.backends:
        launches = done[backend].launches if backend in done else ()
        for measured in measure_backend(bed, backend, launches):
            done[backend] = measured
            text = _BACKENDS.dump_json(list(done.values()), indent=1).decode()
            write_whole(bed.folder / FILE, text)


def cut_pair(pair: PdPair | None, measured: Sequence[PairBackend]) -> RunWarning | None:
    """How much there is of a planned pair that was not measured to its end; None where all is."""
    if pair is None:
        return None
    launches = {one.backend: one.launches for one in measured}
    if not any(more_to_measure(launches.get(name, ()), pair) for name in pair.backends):
        return None
    return RunWarning(
        code="pair-interrupted",
        launches=pair.launches * len(pair.backends),
        usable_launches=sum(one.failure is None for of in launches.values() for one in of),
    )


class Turn:
    """Whose turn it is to measure the pair: that of the first worker which enters this context.

    It is entered before the worker measures its launches, and only with a device. `await_it` then
    is where all workers go once the queue is empty, so that all judge the same record. A worker
    that dies loses its turn to another one.
    """

    def __init__(
        self, settings: Settings, plan: Plan, folder: Path, tell: Callable[[str], None]
    ) -> None:
        (folder / WORK).mkdir(parents=True, exist_ok=True)
        self._settings, self._plan, self._folder, self._tell = settings, plan, folder, tell
        self._lock = FileLock(folder / WORK / "pd_pair.lock")

    def __enter__(self) -> Self:
        with suppress(Timeout):
            self._lock.acquire(blocking=False)
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release(force=True)

    def await_it(self, device: Device | None) -> None:
        """Measure what is planned and not measured yet, once whoever has the turn is done.

        Without a device only wait for it.
        """
        pair, settings = self._plan.pd_pair, self._settings
        if pair is None:
            return
        with self._lock:
            if device is not None:
                measure_pairs(
                    Bed(
                        settings.candidate,
                        device,
                        settings.guard(device),
                        pair,
                        self._folder,
                        settings.vocab_size,
                        self._plan.seed,
                        settings.profile.plan.output_tokens,
                        self._tell,
                    )
                )
