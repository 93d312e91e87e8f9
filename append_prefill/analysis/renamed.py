"""Functions that one version has elsewhere than the other: what was moved is no cost of its own.

A class that gets another name takes its functions along, and each would be there twice, as new with
all it takes and as gone with all it took: two certain changes, and nothing changed. So one that a
side never showed is known again in the other by its process and name, where just one answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import TypeVar

from append_prefill.analysis.profiles import Function
from append_prefill.records.cause import module_of

_V = TypeVar("_V")


def renamings(new: Collection[Function], old: Collection[Function]) -> dict[Function, Function]:
    """By function of `old` alone, the one of `new` alone that it is now.

    The same name in another module; or in another class of which one's name ends with the other's
    (`RadixCache.match`, `UnifiedRadixCache.match`). A name that several of a side have is none.
    """
    here, there = (_by_name(set(mine) - set(other)) for mine, other in ((new, old), (old, new)))
    found: dict[Function, Function] = {}
    for name, mine in sorted(here.items()):
        theirs = there.get(name, [])
        if len(mine) == len(theirs) == 1 and _alike(mine[0], theirs[0]):
            found[theirs[0]] = mine[0]
    return found


def renamed(
    values: Mapping[Function, _V], names: Mapping[Function, Function]
) -> dict[Function, _V]:
    """The values by what their functions are called now."""
    return {names.get(key, key): value for key, value in values.items()}


def by_module(own_ms: Mapping[Function, float]) -> dict[Function, float]:
    """What the functions of each module take themselves, by process and module."""
    found: defaultdict[Function, float] = defaultdict(float)
    for (process, name), ms in own_ms.items():
        found[process, module_of(name)] += ms
    return dict(found)


def _by_name(functions: Collection[Function]) -> dict[Function, list[Function]]:
    """By process and the name without its class."""
    found: defaultdict[Function, list[Function]] = defaultdict(list)
    for process, name in functions:
        found[process, _own_name(name)].append((process, name))
    return found


def _alike(one: Function, other: Function) -> bool:
    classes = [_class_of(name) for _, name in (one, other)]
    return any(a.endswith(b) and bool(a) == bool(b) for a, b in (classes, classes[::-1]))


def _own_name(name: str) -> str:
    return name.partition(":")[2].rpartition(".")[2]


def _class_of(name: str) -> str:
    return name.partition(":")[2].rpartition(".")[0]
