"""Flame graphs of both sides of one process: geometry only, for `templates/cause.html.j2`.

Time is width, in the same scale on both sides; callers stand on top of what they call. What every
stack begins with is left out: it is the same ten frames from the interpreter's start to the loop.
The colour is the function's difference over the whole process and not that of the one stack:
versions put wrappers around the same functions, and below one nothing would be alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from append_prefill.analysis.profiles import inclusive_ms
from append_prefill.records.cause import Cause, StackSpent
from append_prefill.report import format as fmt

WIDTH = 1180.0
ROW = 17.0
_LEAST_WIDTH = 1.5
_LETTER = 6.3  # of a monospaced 10.5 px letter, with room to spare
_LEAST_LETTERS = 4
_FULL_SHARE = 0.1
"""A difference of this share of the larger side's total is drawn in the full colour."""


@dataclass(frozen=True, slots=True)
class Box:
    """One frame: where, how its difference is coloured (0 to 1), and its words."""

    x: float
    y: float
    width: float
    slower: bool
    strength: float
    text: str
    tip: str


@dataclass(frozen=True, slots=True)
class Flame:
    """One side's picture; `total_ms` per request."""

    name: str
    total_ms: float
    height: float
    boxes: list[Box]


@dataclass(frozen=True, slots=True)
class Graph:
    """One process: candidate and reference."""

    process: str
    sides: list[Flame]
    trunk: str


@dataclass(slots=True)
class _Node:
    name: str
    reference_ms: float = 0.0
    candidate_ms: float = 0.0
    children: dict[str, _Node] = field(default_factory=dict)


def graphs_of(cause: Cause) -> list[Graph]:
    """One a process, the busiest first."""
    processes = {one.process for one in cause.stacks}
    roots = {
        name: _tree([one for one in cause.stacks if one.process == name], cause.names)
        for name in processes
    }
    busiest = sorted(
        processes, key=lambda name: (-roots[name].reference_ms - roots[name].candidate_ms, name)
    )
    return [_graph(name, roots[name], cause) for name in busiest]


def _tree(stacks: Sequence[StackSpent], names: Sequence[str]) -> _Node:
    root = _Node("")
    for stack in stacks:
        node = root
        for frame in (None, *stack.frames):
            if frame is not None:
                node = node.children.setdefault(names[frame], _Node(names[frame]))
            node.reference_ms += stack.reference_ms
            node.candidate_ms += stack.candidate_ms
    return root


def _graph(process: str, root: _Node, cause: Cause) -> Graph:
    trunk, node = [], root
    # Nothing but one caller, and hardly a sample of its own: part of how every request comes here.
    while (branch := _only_branch(node)) is not None:
        node = branch
        trunk.append(node.name)
    scale_ms = max(root.reference_ms, root.candidate_ms)
    both = _both_ms(process, cause)
    sides = [
        Flame(cause.candidate, root.candidate_ms, *_drawn(node, scale_ms, both, candidate=True)),
        Flame(cause.reference, root.reference_ms, *_drawn(node, scale_ms, both, candidate=False)),
    ]
    return Graph(process, sides, " › ".join(trunk))


def _only_branch(node: _Node) -> _Node | None:
    """The child that has all but a fiftieth of it, while that has children itself."""
    whole = node.reference_ms + node.candidate_ms
    for child in node.children.values():
        if child.children and child.reference_ms + child.candidate_ms >= 0.98 * whole > 0:
            return child
    return None


Both = dict[str, tuple[float, float]]
"""By function, ms of the reference and of the candidate in it and in what it calls."""


def _both_ms(process: str, cause: Cause) -> Both:
    stacks = [one for one in cause.stacks if one.process == process]
    named = [((process, *(cause.names[at] for at in one.frames)), one) for one in stacks]
    old = inclusive_ms({stack: one.reference_ms for stack, one in named})
    new = inclusive_ms({stack: one.candidate_ms for stack, one in named})
    return {key[1]: (old[key], new[key]) for key in old}


def _drawn(root: _Node, scale_ms: float, both: Both, *, candidate: bool) -> tuple[float, list[Box]]:
    """Height and boxes."""
    found = list(_boxes(root, 0.0, 0, scale_ms, both, candidate=candidate)) if scale_ms else []
    return max((box.y for box in found), default=0.0) + ROW, found


def _boxes(
    node: _Node, x: float, depth: int, scale_ms: float, both: Both, *, candidate: bool
) -> Iterator[Box]:
    mine = _of(node, candidate=candidate)
    width = mine / scale_ms * WIDTH
    if width < _LEAST_WIDTH:
        return
    below = depth
    if node.name:  # the root of all is no function
        old, new = both[node.name]
        yield Box(
            x=round(x, 2),
            y=depth * ROW,
            width=round(width, 2),
            slower=new > old,
            strength=round(min(1.0, abs(new - old) / (_FULL_SHARE * scale_ms)), 2),
            text=_fitting(node.name, width),
            tip=f"{node.name}: {fmt.number(mine)} ms here; in all {fmt.number(old)} → "
            f"{fmt.number(new)} ms ({fmt.signed(new - old)})",
        )
        below += 1
    # In one order on both sides, so that the same frame is found at about the same place.
    for child in sorted(node.children.values(), key=lambda one: one.name):
        yield from _boxes(child, x, below, scale_ms, both, candidate=candidate)
        x += _of(child, candidate=candidate) / scale_ms * WIDTH


def _of(node: _Node, *, candidate: bool) -> float:
    return node.candidate_ms if candidate else node.reference_ms


def _fitting(name: str, width: float) -> str:
    """The function without its module, as much of it as there is room for; often nothing."""
    letters = int((width - 4) / _LETTER)
    if letters < _LEAST_LETTERS:
        return ""
    return fmt.shorten(name.rpartition(":")[2], letters)
