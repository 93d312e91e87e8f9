"""Measure pairs of server starts on one device, one after the other or blocks alternating."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from append_prefill.engines.base import Engine
from append_prefill.engines.compiled import has_compiled, note_compiled
from append_prefill.engines.process import await_ready
from append_prefill.probe.launch import Bench, Live
from append_prefill.records.grounds import Side


class PairRunner:
    """Measures pairs of starts and writes each start to the bench's folder as it grows."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._links_measured = False

    def measure(self, pair: int, engines: Sequence[tuple[Side, Engine]]) -> None:
        """Measure one start of each engine, in that order.

        Where the profile interleaves, both servers are up and their blocks alternate (ABBA), so
        that what the machine does meanwhile falls on both alike; else one start follows the
        other. Raises ServerDiedError or InfrastructureError; what was measured until then is in
        the starts' files, with `failure` set.
        """
        bench = self._bench
        rehearsal_s = self._rehearse(pair, engines)
        lives = [Live(bench, side, engine, pair) for side, engine in engines]
        lives[0].start.rehearsal_s = rehearsal_s
        if not self._links_measured:
            lives[0].start.kv_links_gb_per_s = engines[0][1].kv_links(bench.device)
            self._links_measured = True
        for group in self._groups(lives):
            self._measure_group(group)

    def _groups(self, lives: Sequence[Live]) -> list[Sequence[Live]]:
        """Starts that are up together."""
        return [lives] if self._bench.profile.plan.interleave else [[live] for live in lives]

    def _rehearse(self, pair: int, engines: Sequence[tuple[Side, Engine]]) -> float | None:
        """Start once, uncounted, what this host has not compiled yet; seconds, None if nothing.

        On an H200 a start that compiled took 105 s instead of 45 and its level was 6 to 10 %
        above the others' (reports/sample-h200-graphs). A nightly's candidate is new every time and
        its reference is not: the candidate's first start would tell against it.
        """
        bench = self._bench
        keys = [(engine.compile_key(bench.device), side, engine) for side, engine in engines]
        cold = [entry for entry in keys if entry[0] is not None and not has_compiled(entry[0])]
        if not cold:
            return None
        names = " and ".join(engine.label for _, _, engine in cold)
        bench.tell(f"{names}: a start that is not counted, since kernels are compiled in it")
        began_s = time.monotonic()
        for group in self._groups([Live(bench, side, engine, pair) for _, side, engine in cold]):
            with _up(group):
                for live in group:
                    live.warm_up()
        for key, _, _ in cold:
            note_compiled(str(key))
        return time.monotonic() - began_s

    def _measure_group(self, group: Sequence[Live]) -> None:
        for live in group:
            live.start.interleaved = len(group) > 1
        own_pids = _pids_of(group)
        with _up(group):
            for live in group:
                live.warm_up()
            block = 0
            while not all(live.done for live in group):
                for live in group if block % 2 == 0 else reversed(group):
                    if not live.done:
                        live.block(own_pids)
                block += 1
            for live in group:
                live.finish()


@contextmanager
def _up(group: Sequence[Live]) -> Iterator[None]:
    """Inside, the servers of `group` are up; afterwards they and their memory are gone."""
    try:
        for live in group:
            live.launch()
        await_ready([live.server for live in group])
        for live in group:
            live.connect()
        yield
    except BaseException as error:
        for live in group:
            live.fail(error)
        raise
    finally:
        with ExitStack() as stack:
            # Last in, first out: memory can only be back once every server is gone.
            for live in group:
                stack.callback(live.await_memory)
            for live in group:
                stack.callback(live.close)


def _pids_of(group: Sequence[Live]) -> Callable[[], set[int]]:
    return lambda: set().union(*(live.pids() for live in group))
