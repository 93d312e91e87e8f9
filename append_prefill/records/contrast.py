"""What two sides of a comparison differ by, as data: what a headline names beside a change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from append_prefill.records.figures import Scalar
from append_prefill.records.grounds import Side
from append_prefill.records.identity import arguments
from append_prefill.records.launch import Start
from append_prefill.records.run import Run

Kind = Literal["version", "commit", "argument", "variable", "package", "resolved"]

VERSION_KEY, COMMIT_KEY, ENVIRONMENT_KEY = "sglang", "commit", "environment"
_PACKAGES = ("torch", "kernels", "flashinfer", "transformers", "cuda", "python")
# What `arguments` calls an argument: `resolved` values by other names than those of options.
_RESOLVED_BY = {
    "page_size_tokens": "page-size",
    "chunked_prefill_tokens": "chunked-prefill-size",
    "kv_capacity_tokens": "max-total-tokens",
    "context_length_tokens": "context-length",
    "attention_backend": "attention-backend",
    "radix_cache": "disable-radix-cache",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the sides do not have in common.

    `name` is SGLang's own: an option without its dashes, a variable, a package, a key of the
    server's description. None: this side has it not, or its record does not tell. Of an option
    True is that it was given without a value; of a variable False, that a script took it away.
    Secrets are masked (`records.secrets`).
    """

    kind: Kind
    name: str
    candidate: Scalar
    reference: Scalar


def contrast_of(run: Run, baseline: Run | None = None) -> list[Difference]:
    """How the sides of `run.compared` differ, most telling first; empty without a comparison.

    Version, commit, launch arguments, environment variables, packages, then what the servers
    resolved otherwise. `baseline` is the stored run that was compared with; where it is not at
    hand, its version is all that is known. A value that launches of one side do not agree on is
    no property of that side and left out, and so is what one side's record has no place for.
    """
    comparison = run.compared
    if comparison is None:
        return []
    ours = [start for start in run.starts if start.side == "candidate"]
    if comparison.kind == "side-by-side":
        theirs = [start for start in run.starts if start.side == "reference"]
        other_subject = _agreed(start.subject for start in theirs if start.subject)
    elif baseline is not None:
        theirs = [start for start in baseline.starts if start.side == "candidate"]
        other_subject = baseline.subject
    else:
        theirs, other_subject = [], {VERSION_KEY: comparison.reference_version}
    own = _agreed(start.subject for start in ours if start.subject) or run.subject
    chosen = _chosen(run, ours, baseline, theirs)
    return [
        *_keys("version", own, other_subject, (VERSION_KEY,)),
        *_keys("commit", own, other_subject, (COMMIT_KEY,)),
        *chosen,
        *_variables(own, other_subject),
        *_keys("package", own, other_subject, _PACKAGES),
        *_resolved(own, other_subject, ours, theirs, {one.name for one in chosen}),
    ]


def told_once(starts: Sequence[Start]) -> list[Start]:
    """The launches with what their servers resolved at each side's first alone: what all agree on.

    A server tells hundreds of values, and every launch of a side the same ones.
    """
    kept: set[Side] = set()
    slim = []
    for start in starts:
        resolved: dict[str, Scalar] = {}
        if start.resolved and start.side not in kept:
            kept.add(start.side)
            resolved = _agreed(s.resolved for s in starts if s.side == start.side and s.resolved)
        slim.append(start.model_copy(update={"resolved": resolved}))
    return slim


def _agreed(tables: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries that all of these mappings have alike."""
    first, *others = list(tables) or [{}]
    return {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    }


def _keys(
    kind: Kind, own: Mapping[str, Any], other: Mapping[str, Any], keys: Sequence[str]
) -> list[Difference]:
    """Differences of flat keys that both sides tell; of version and commit one is enough."""
    one_is_enough = kind in ("version", "commit")
    rows = []
    for key in keys:
        known = (key in own or key in other) if one_is_enough else (key in own and key in other)
        mine, theirs = own.get(key), other.get(key)
        if known and mine != theirs:
            rows.append(Difference(kind, key, _plain(mine), _plain(theirs)))
    return rows


def _chosen(
    run: Run, ours: Sequence[Start], baseline: Run | None, theirs: Sequence[Start]
) -> list[Difference]:
    """Differing launch arguments: options that both have first, then those of one side."""
    # Of a server that was running nobody knows them.
    if not (run.replicated and (baseline is None or baseline.replicated) and ours and theirs):
        return []
    # Launches of one side mostly have the same, of any length.
    own, other = (
        _agreed(map(arguments, dict.fromkeys(tuple(start.server_args) for start in side)))
        for side in (ours, theirs)
    )
    names = sorted({*own, *other}, key=lambda name: (not (name in own and name in other), name))
    return [
        Difference("argument", name, _plain(own.get(name)), _plain(other.get(name)))
        for name in names
        if own.get(name) != other.get(name)
    ]


def _variables(own: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """Variables of one side's environment; records of old suites tell none, which is not {}."""
    mine, theirs = own.get(ENVIRONMENT_KEY), other.get(ENVIRONMENT_KEY)
    if not isinstance(mine, Mapping) or not isinstance(theirs, Mapping):
        return []
    own_values, other_values = (
        {name: False if value is None else value for name, value in side.items()}
        for side in (mine, theirs)
    )
    return [
        Difference("variable", name, own_values.get(name), other_values.get(name))
        # As they were recorded: those that steer a server first.
        for name in dict.fromkeys((*own_values, *other_values))
        if own_values.get(name) != other_values.get(name)
    ]


def _resolved(
    own: Mapping[str, Any],
    other: Mapping[str, Any],
    ours: Sequence[Start],
    theirs: Sequence[Start],
    chosen: set[str],
) -> list[Difference]:
    """Values that the servers resolved otherwise and nobody chose; the subject's own first."""
    told_apart = {VERSION_KEY, COMMIT_KEY, ENVIRONMENT_KEY, *_PACKAGES}
    keys = [
        key
        for key in own
        if key not in told_apart and _RESOLVED_BY.get(key, key.replace("_", "-")) not in chosen
    ]
    rows = _keys("resolved", own, other, keys)
    mine, their = (
        _agreed(start.resolved for start in side if start.resolved) for side in (ours, theirs)
    )
    rows += _keys(
        "resolved",
        mine,
        their,
        [key for key in mine if key.partition(".")[0].replace("_", "-") not in chosen],
    )
    return rows


def _plain(value: Any) -> Scalar:
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
