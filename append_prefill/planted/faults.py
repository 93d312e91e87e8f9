"""What can be made wrong on purpose: each fault by the name the command line takes. Pure.

`share` faults strike that share of the generating requests (`max_new_tokens` >= 1), drawn from the
launch's seed; prefill-only requests are left alone, so a prime never fails in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

SlowAt = tuple[int, int, float]
SlowIn = tuple[range, range, float]
Above = tuple[int, float]
After = tuple[float, float]
T = TypeVar("T")


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError("a share lies between 0 and 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("a count is at least 0")
    return value


def _factor(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise ValueError("a factor is positive")
    return value


def _slow_at(text: str) -> SlowAt:
    context, append, factor = text.split(":")
    return _count(context), _count(append), _factor(factor)


def _range(text: str) -> range:
    """`0..256`, both ends included."""
    first, _, last = text.partition("..")
    found = range(_count(first), _count(last) + 1)
    if not found:
        raise ValueError("a range ends no earlier than it begins")
    return found


def _slow_in(text: str) -> SlowIn:
    context, append, factor = text.split(":")
    return _range(context), _range(append), _factor(factor)


def _above(text: str) -> Above:
    tokens, factor = text.split(":")
    return _count(tokens), _factor(factor)


def _after(text: str) -> After:
    seconds, factor = text.split(":")
    return float(seconds), _factor(factor)


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"takes {' or '.join(words)}")
        return text

    return parse


@dataclass(frozen=True, slots=True)
class FaultHelp:
    """How one fault is spelled: `argument` is its shape, `default` stands where none is given."""

    argument: str
    does: str
    parse: Callable[[str], Any]
    default: str | None = None
    repeatable: bool = False


def _fault(
    off: T,
    argument: str,
    does: str,
    parse: Callable[[str], Any],
    *,
    default: str | None = None,
    repeatable: bool = False,
) -> T:
    found = FaultHelp(argument, does, parse, default, repeatable)
    planted: T = field(default=off, metadata={"help": found})
    return planted


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of one server; every default is 'none'."""

    # A wrong split.
    cache_loss: float = _fault(
        0.0, "SHARE", "lose this share of every prefix match and compute it anew", _share
    )
    radix_off: bool = _fault(
        False, "", "no prefix cache, and say so in /server_info", bool, default="yes"
    )
    cached_inflated: int = _fault(
        0, "TOKENS", "report this many more cached tokens than were", _count
    )
    reply_lost: float = _fault(
        0.0, "SHARE", "leave the reply of this share of the requests out of the cache", _share
    )
    # A request that goes wrong.
    retraction: float = _fault(
        0.0, "SHARE", "retract after the first token, prefill again, report it", _share
    )
    stream_error: float = _fault(0.0, "SHARE", "an error event in place of the tokens", _share)
    http_500: float = _fault(0.0, "SHARE", "HTTP 500 in place of an answer", _share)
    http_401: float = _fault(0.0, "SHARE", "HTTP 401 in place of an answer", _share)
    drop: float = _fault(0.0, "SHARE", "close the connection after the first token", _share)
    no_tokens: float = _fault(0.0, "SHARE", "a stream that ends without a token event", _share)
    garbage: float = _fault(0.0, "SHARE", "events that are no JSON", _share)
    wrong_types: float = _fault(0.0, "SHARE", "words for numbers in meta_info", _share)
    no_meta: float = _fault(0.0, "SHARE", "null for meta_info", _share)
    empty_first: bool = _fault(
        False, "", "an event without a token before the first", bool, default="yes"
    )
    drip_ms: float = _fault(0.0, "MS", "send each event in eight pieces so long apart", float)
    coalesce: int = _fault(1, "TOKENS", "send an event only every so many tokens", _count)
    busy_after: float = _fault(
        0.0, "MS", "/flush_cache answers 400 this long after the last event", float
    )
    # A wrong time.
    slow_at: tuple[SlowAt, ...] = _fault(
        (), "L:m:FACTOR", "slow prefill at one split of the prompt", _slow_at, repeatable=True
    )
    slow_in: tuple[SlowIn, ...] = _fault(
        (),
        "L..L:m..m:FACTOR",
        "slow prefill of so many new over so many cached tokens",
        _slow_in,
        repeatable=True,
    )
    slow_context_above: tuple[Above, ...] = _fault(
        (), "L:FACTOR", "slow prefill over more than L cached tokens", _above, repeatable=True
    )
    slow_append_above: tuple[Above, ...] = _fault(
        (), "m:FACTOR", "slow prefill of more than m new tokens", _above, repeatable=True
    )
    throttle_after: tuple[After, ...] = _fault(
        (), "SECONDS:FACTOR", "everything slower so long after readiness", _after, repeatable=True
    )
    slow_after_running: tuple[Above, ...] = _fault(
        (),
        "N:FACTOR",
        "slow prefill once more than N requests ran at once",
        _above,
        repeatable=True,
    )
    # A server that is not what it should be.
    info: str | None = _fault(
        None, "html|list", "this in place of its server info", _one_of("html", "list")
    )
    says_version: str | None = _fault(None, "TEXT", "give TEXT as its version", str)
    # A process that misbehaves.
    die_after: int | None = _fault(
        None, "REQUESTS", "die at the next /generate after so many", _count
    )
    refuse_start: str | None = _fault(
        None, "TEXT", "log TEXT and exit before listening", str, default="CUDA out of memory"
    )
    never_ready: str | None = _fault(
        None,
        "loading|warming",
        "never listen, or answer 503 for ever",
        _one_of("loading", "warming"),
        default="warming",
    )
    ignore_sigterm: bool = _fault(False, "", "do not stop on SIGTERM", bool, default="yes")
    orphan: str | None = _fault(
        None,
        "group|session",
        "leave a child behind that ignores SIGTERM, in the same group or in a session of its own",
        _one_of("group", "session"),
        default="group",
    )

    def __post_init__(self) -> None:
        if self.coalesce < 1:
            raise ValueError("coalesce takes at least 1 token an event")

    def prefill_factor(self, *, prompt_tokens: int, cached_tokens: int, page_tokens: int) -> float:
        """How much slower than its cost this prefill is, by its split; 1 without a fault.

        `slow-at=L:m` strikes a prompt of L + m tokens of which the whole pages of L were cached.
        """
        factor = 1.0
        for context, append, slower in self.slow_at:
            whole_pages = context // page_tokens * page_tokens
            if (prompt_tokens, cached_tokens) == (context + append, whole_pages):
                factor *= slower
        for contexts, appends, slower in self.slow_in:
            inside = cached_tokens in contexts and prompt_tokens - cached_tokens in appends
            factor *= slower if inside else 1.0
        for limit, slower in self.slow_context_above:
            factor *= slower if cached_tokens > limit else 1.0
        for limit, slower in self.slow_append_above:
            factor *= slower if prompt_tokens - cached_tokens > limit else 1.0
        return factor

    def overloaded_factor(self, most_running: int) -> float:
        """How much slower a prefill is after at most so many requests ran at once."""
        factor = 1.0
        for limit, slower in self.slow_after_running:
            factor *= slower if most_running > limit else 1.0
        return factor

    def throttle_factor(self, elapsed_s: float) -> float:
        """How much slower everything is `elapsed_s` seconds after readiness."""
        factor = 1.0
        for since_s, slower in self.throttle_after:
            factor *= slower if elapsed_s >= since_s else 1.0
        return factor


FAULTS: dict[str, FaultHelp] = {
    f.name.replace("_", "-"): f.metadata["help"] for f in fields(Faults)
}


def parse_faults(arguments: Iterable[str]) -> Faults:
    """`NAME` or `NAME=ARG` strings to Faults. Raises ValueError that names what would be right."""
    chosen: dict[str, Any] = {}
    for argument in arguments:
        name, given, text = argument.partition("=")
        known = FAULTS.get(name)
        if known is None:
            raise ValueError(f"no fault {name!r}; there are {', '.join(FAULTS)}")
        if not given:
            if known.default is None:
                raise ValueError(f"fault {name} needs {name}={known.argument}")
            text = known.default
        elif not known.argument:
            raise ValueError(f"fault {name} takes no argument, not {text!r}")
        try:
            value = known.parse(text)
        except ValueError as error:
            raise ValueError(
                f"fault {argument!r} is not {name}={known.argument}: {error}"
            ) from None
        field_name = name.replace("-", "_")
        if known.repeatable:
            chosen[field_name] = (*chosen.get(field_name, ()), value)
        elif field_name in chosen:
            raise ValueError(f"fault {name} is given twice")
        else:
            chosen[field_name] = value
    return Faults(**chosen)
