"""Measure pairs of server launches on one device, one after the other or blocks alternating."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import count
from typing import Any, Self, TypeVar

from append_prefill.engines.compiled import has_compiled, note_compiled
from append_prefill.engines.waiting import await_ready
from append_prefill.probe.ahead import Ahead, SideEngine
from append_prefill.probe.bench import Bench
from append_prefill.probe.launch import Launch
from append_prefill.probe.placement.placer import Placer
from append_prefill.probe.stages import come_into
from append_prefill.records.launch import BlockState
from append_prefill.workload.profile import Alternation

_T = TypeVar("_T")
_ENDED = object()
Upcoming = Callable[[], Sequence[SideEngine]]


class PairRunner:
    """Measures pairs of launches and writes each launch to the bench's folder as it grows.

    A context manager, since servers of the next pair may be held from one to the next.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._ahead = Ahead(bench)
        self._links_measured = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ahead.__exit__(*error)

    def measure(self, pair: int, engines: Sequence[SideEngine], upcoming: Upcoming = tuple) -> None:
        """Measure one launch of each engine, in that order.

        Where the profile interleaves, both servers are up and their blocks alternate (ABBA), so
        that what the machine does meanwhile falls on both alike; else one launch follows the
        other. `upcoming` gives the engines of the next pair, empty if none is known. Raises
        ServerDiedError or InfrastructureError; what was measured until then is in the launches'
        files, with `failure` set.
        """
        bench = self._bench
        rehearsal_s = self._rehearse(pair, engines)
        launches = [Launch(bench, side, engine, pair) for side, engine in engines]
        launches[0].start.rehearsal_s = rehearsal_s
        if not self._links_measured:
            launches[0].start.kv_links_gb_per_s = engines[0][1].kv_links(bench.device)
            self._links_measured = True
        groups = self._groups(launches)
        for group, after in zip(groups, [*groups[1:], None], strict=True):
            self._measure_group(group, upcoming if after is None else partial(_engines_of, after))

    def _groups(self, launches: Sequence[_T]) -> list[Sequence[_T]]:
        """Launches that are up together."""
        return (
            [launches] if self._bench.profile.plan.interleave else [[launch] for launch in launches]
        )

    def _rehearse(self, pair: int, engines: Sequence[SideEngine]) -> float | None:
        """Launch once, uncounted, what this host has not compiled yet; seconds, None if nothing.

        On an H200 a launch that compiled took 105 s instead of 45 and its level was 6 to 10 %
        above the others' (reports/sample-h200-graphs). A nightly's candidate is new every time and
        its reference is not: the candidate's first launch would tell against it.
        """
        bench = self._bench
        keys = [(engine.compile_key(bench.device), side, engine) for side, engine in engines]
        cold = [entry for entry in keys if entry[0] is not None and not has_compiled(entry[0])]
        if not cold:
            return None
        names = " and ".join(engine.label for _, _, engine in cold)
        bench.tell(f"{names}: a launch that is not counted, since kernels are compiled in it")
        began_s = time.monotonic()
        for group in self._groups([Launch(bench, side, engine, pair) for _, side, engine in cold]):
            with up(group):
                for launch in group:
                    launch.warm_up()
        for key, _, _ in cold:
            note_compiled(str(key))
        return time.monotonic() - began_s

    def _measure_group(self, group: Sequence[Launch], upcoming: Upcoming) -> None:
        for launch in group:
            launch.start.interleaved = len(group) > 1
            if launch.start.interleaved:
                launch.start.alternated = self._bench.profile.plan.alternate
        with up(group, partial(self._ahead.bring_up, group, self._first_group(upcoming))):
            for launch in group:
                launch.warm_up()
            settle_s = self._ahead.settle()
            for launch in group:
                launch.start.settle_s = settle_s
            measure_blocks(self._bench, group, self._ahead.pids)
            for launch in group:
                launch.finish()

    def _first_group(self, upcoming: Upcoming) -> Upcoming:
        """Of the engines that come next those that are up together first."""
        return lambda: next(iter(self._groups(upcoming())), ())


def measure_blocks(
    bench: Bench, group: Sequence[Launch], held_pids: Callable[[], set[int]]
) -> None:
    """All blocks of launches that are up and warm, the sides in ABBA order.

    `held_pids`: processes that are the run's own besides those of `group`.
    """
    pair, pids = group[0].start.pair, _pids_of(group)
    placer = Placer(bench.profile.placement.policy, bench.topology, bench.plan.core_seed(pair))
    busy = {launch.start.side: launch.busy_pids() for launch in group}
    turns = count()

    def own_pids() -> set[int]:
        return pids() | held_pids()

    def until_done() -> None:
        while ready := [launch for launch in group if not launch.done]:
            turn = next(turns)
            if turn % 2:
                ready.reverse()
            measure_round(
                bench,
                ready,
                bench.profile.plan.alternate,
                partial(placer.try_to_place, turn, busy, pids),
                own_pids,
            )

    with placer.measuring():
        until_done()
        for state in bench.plan.states:
            come_into(state, bench, group, own_pids)
            until_done()


Place = Callable[[], tuple[dict[str, Any] | str, str | None]]
"""Puts client and servers in their places; what the record says of it, why the block is invalid."""


def measure_round(
    bench: Bench,
    launches: Sequence[Launch],
    alternate: Alternation,
    place: Place,
    own_pids: Callable[[], set[int]],
) -> None:
    """One block of each, in that order: one after the other, or sample by sample.

    By sample, the order turns from task to task (ABBA), the turns of a conversation alternate, and
    what the device and the host do meanwhile is read once for all and makes all invalid.
    """
    together = [launches] if alternate == "sample" else [[launch] for launch in launches]
    for group in together:
        placement, misplaced = place()
        for launch in group:
            launch.open_block()
        _measure_legs(bench, group, placement, misplaced, own_pids)
        for launch in group:
            launch.close_block()


LEG_S = 15.0
"""A block that takes longer is watched in legs, each valid or not for itself. With contexts of
131,072 tokens a block takes 80 s, and on a host that gave its cores to others for a second now and
then two of three were invalid as a whole (benchmarks/data/h100-x4-2026-11). Several times as long
as a block of the study's points, which stays one, and a fifth of such a long one."""


def _measure_legs(
    bench: Bench,
    group: Sequence[Launch],
    placement: dict[str, Any] | str,
    misplaced: str | None,
    own_pids: Callable[[], set[int]],
) -> None:
    """All tasks of the open block; a leg that was invalid is taken again where others are not.

    As many times as legs were valid, and once: a host that is never quiet takes twice as long.
    """
    first = group[0]
    order = list(enumerate(first.order()))
    done = repeats = 0
    allowed = 1
    while done < len(order):
        ends_s = time.monotonic() + LEG_S
        upto = done
        with bench.guard.watch(first.blocks, first.start.side, own_pids) as watch:
            while upto < len(order) and (upto == done or time.monotonic() < ends_s):
                index, task = order[upto]
                in_turns(
                    [launch.take(task) for launch in (group if index % 2 == 0 else group[::-1])]
                )
                upto += 1
        state: BlockState = watch.state
        readings = {**state.readings, "placement": placement}
        void = "; ".join(filter(None, [state.void, misplaced])) or None
        again = (
            void is not None
            and misplaced is None
            and upto - done < len(order)
            and repeats < allowed
        )
        for launch in group:
            mine = {"block": launch.blocks, "side": launch.start.side}
            launch.close_leg(
                state.model_copy(update={"void": void, "readings": readings, **mine}), again=again
            )
        if again:
            repeats += 1
        else:
            done = upto
            allowed += void is None


def in_turns(takings: Sequence[Generator[None, None, None]]) -> None:
    """A step of each, and again, until all are at their end; closed where one raises."""
    with ExitStack() as stack:
        going = [stack.enter_context(closing(taking)) for taking in takings]
        while going:
            going = [taking for taking in going if next(taking, _ENDED) is not _ENDED]


@contextmanager
def up(group: Sequence[Launch], bring_up: Callable[[], None] | None = None) -> Iterator[None]:
    """Inside, the servers of `group` are up; afterwards they and their memory are gone.

    `bring_up` starts them; by default each is launched, side by side.
    """
    try:
        if bring_up is None:
            for launch in group:
                launch.bring_up()
        else:
            bring_up()
        await_ready([launch.server for launch in group])
        for launch in group:
            launch.connect()
        yield
    except BaseException as error:
        for launch in group:
            launch.fail(error)
        raise
    finally:
        with ExitStack() as stack:
            # Last in, first out: memory can only be back once every server is gone.
            for launch in group:
                stack.callback(launch.await_memory)
            for launch in group:
                stack.callback(launch.close)
            for launch in group:
                stack.callback(launch.begin_close)


def _pids_of(group: Sequence[Launch]) -> Callable[[], set[int]]:
    return lambda: set().union(*(launch.pids() for launch in group))


def _engines_of(group: Sequence[Launch]) -> Sequence[SideEngine]:
    return [(launch.start.side, launch.engine) for launch in group]
