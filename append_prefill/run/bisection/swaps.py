"""Which dependencies two versions differ by, and which of them are swapped back together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from append_prefill.engines.defaults import Defaults
from append_prefill.engines.swapped import is_copyable
from append_prefill.engines.versions import MATCHING
from append_prefill.errors import UsageError
from append_prefill.records.bisection import Suspect, Why
from append_prefill.run.bisection.flips import Flip

_ITSELF = "sglang"
_OPTION = "--swap"


def differing(old: Defaults, new: Defaults) -> list[str]:
    """The packages that have another version, or that one side has not; SGLang itself aside."""
    names = sorted((old.packages.keys() | new.packages.keys()) - {_ITSELF})
    return [name for name in names if old.packages.get(name) != new.packages.get(name)]


def swaps_of(names: Collection[str] | None, old: Defaults, new: Defaults) -> list[Flip]:
    """The swaps that `names` (None: all that can be) ask for, in the order of the packages.

    A package goes back together with all that does not go with its older version. One that the
    older side has not is taken away where it belongs to such a group, and else left as it is: there
    is no version to go back to. Raises UsageError for a name that cannot be swapped, and for an
    environment that cannot be copied.
    """
    groups = [group for group in _groups(old, new) if any(name in old.packages for name in group)]
    if names is not None:
        asked = [_checked(name, old, new) for name in names]
        groups = [group for group in groups if not group.isdisjoint(asked)]
    if groups and not is_copyable(new):
        raise UsageError(
            _OPTION if names is not None else "--dependencies",
            new.prefix,
            "is no virtual environment, and nothing else can be copied with a package swapped.",
            "Give B as a version, or as the interpreter of a venv.",
        )
    return [
        Flip(packages=tuple((name, old.packages.get(name)) for name in sorted(group)))
        for group in groups
    ]


def dependencies(old: Defaults, new: Defaults, swaps: Iterable[Flip]) -> list[Suspect]:
    """Those that differ and are not swapped."""
    swapped = {name for flip in swaps for name, _ in flip.packages}
    rows = []
    for name in differing(old, new):
        if name not in swapped:
            was, now = old.packages.get(name), new.packages.get(name)
            reason: Why = "not-asked" if was is not None else "unknown-old-value"
            rows.append(Suspect(kind="dependency", name=name, old=was, new=now, reason=reason))
    return rows


def _checked(given: str, old: Defaults, new: Defaults) -> str:
    name = canonicalize_name(given)
    was, now = old.packages.get(name), new.packages.get(name)
    differ = [one for one in differing(old, new) if one in old.packages]
    rest = f"Those that can be: {', '.join(differ)}." if differ else "None can be."
    if name == _ITSELF:
        problem = "is what is compared."
    elif was is None and now is None:
        problem = "is in neither environment."
    elif was is None:
        problem = f"is not in the older one ({now} in the newer), so that no version is known."
    elif was == now:
        problem = f"is the same on both sides ({was})."
    else:
        return name
    raise UsageError(_OPTION, given, problem, rest)


def _groups(old: Defaults, new: Defaults) -> list[frozenset[str]]:
    """The differing packages, those together that do not go with each other's other version."""
    names = differing(old, new)
    groups = {name: frozenset({name}) for name in names}
    for first in names:
        for second in names:
            if first < second and groups[first] is not groups[second] and (
                _matching(first, second)
                or _clash(first, second, old, new)
                or _clash(second, first, old, new)
            ):  # fmt: skip
                together = groups[first] | groups[second]
                groups |= dict.fromkeys(together, together)
    return sorted(set(groups.values()), key=min)


def _matching(first: str, second: str) -> bool:
    return any(first in family and second in family for family in MATCHING)


def _clash(swapped: str, kept: str, old: Defaults, new: Defaults) -> bool:
    """Whether one at its older version and another at its newer one break what either asks for,
    and each goes with its own.
    """
    return _broken(kept, new, swapped, new, old) or _broken(swapped, old, kept, old, new)


def _broken(asking: str, held: Defaults, asked: str, whole: Defaults, other: Defaults) -> bool:
    """Whether what `asking` asks for of `asked` holds with `whole`, and not with `other`."""
    wants = _wants(held.requires.get(asking, ()), asked)
    return any(
        _holds(one, whole.packages.get(asked)) and not _holds(one, other.packages.get(asked))
        for one in wants
    )


def _wants(requires: Sequence[str], name: str) -> list[Requirement]:
    # Most of a package's lines are about others.
    parsed = [Requirement(text) for text in requires if name[:3] in text.lower()]
    return [
        one
        for one in parsed
        if canonicalize_name(one.name) == name
        and (one.marker is None or one.marker.evaluate({"extra": ""}))
    ]


def _holds(wanted: Requirement, version: str | None) -> bool:
    return version is not None and wanted.specifier.contains(version, prereleases=True)
