"""What a sample is taken in: how its context came to be, its form, its company, the server's state.

A sample's identity is its condition: a point (L, m) and the traffic it is part of. The default of
each is what the suite measures first, a primed prompt of ids, sent alone to a fresh server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from append_prefill.workload.points import Point

ContextKind = Literal["primed", "replied", "session"]
Form = Literal["ids", "text", "chat"]
State = Literal["fresh", "aged", "overloaded", "soaked"]
"""In the order in which one launch comes into them."""
CompanyKind = Literal["alone", "together", "rate", "beside"]

_COMPANY = re.compile(r"alone|(together|beside):([1-9]\d*)|rate:(\d+(?:\.\d+)?)")


@dataclass(frozen=True, order=True, slots=True)
class Traffic:
    """What a request comes in, apart from its point.

    `context`: how the L tokens came to be cached: `primed` by a request of their own, `replied` as
    the turns before in a conversation, whose replies the server made itself, or the same in a
    `session` that the server keeps. `form`: token ids, a text that the server tokenizes, or chat
    messages that it puts through a template as well. `company`: `alone`; `together:k`, k of them
    sent at once; `rate:r`, arriving r a second on average whether or not earlier ones have ended;
    `beside:k`, while k other requests decode. `state`: `fresh` is a cache that was flushed, `aged`
    one that is full and evicts; `overloaded` is flushed again after a burst that was drained,
    `soaked` after minutes of steady traffic.

    Raises ValueError for a value that is none of these.
    """

    context: ContextKind = "primed"
    form: Form = "ids"
    company: str = "alone"
    state: State = "fresh"

    def __post_init__(self) -> None:
        for name, known in (
            ("context", get_args(ContextKind)),
            ("form", get_args(Form)),
            ("state", get_args(State)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}"
                )
        if not _COMPANY.fullmatch(self.company) or self.company_size == 0:
            raise ValueError(
                f"company is alone, together:K, beside:K or rate:R with K and R above 0, not "
                f"{self.company!r}"
            )

    @property
    def company_kind(self) -> CompanyKind:
        return cast("CompanyKind", self.company.partition(":")[0])

    @property
    def company_size(self) -> float:
        """k of `together:k` and `beside:k`, r of `rate:r`; 1 where alone."""
        size = self.company.partition(":")[2]
        return float(size) if size else 1.0

    @property
    def is_default(self) -> bool:
        return self == DEFAULT

    @property
    def label(self) -> str:
        """`replied chat`, `together:8`: what is not the default, `alone` where all of it is."""
        different = [
            value
            for value, usual in (
                (self.context, "primed"),
                (self.form, "ids"),
                (self.company, "alone"),
                (self.state, "fresh"),
            )
            if value != usual
        ]
        return " ".join(different) or "alone"


DEFAULT = Traffic()
"""A primed prompt of ids, sent alone to a fresh server."""


@dataclass(frozen=True, order=True, slots=True)
class Condition:
    """What identifies a sample: two samples of one condition mean the same."""

    traffic: Traffic
    point: Point

    @property
    def label(self) -> str:
        """`L512-m128`, or `L512-m128 together:8`."""
        if self.traffic.is_default:
            return self.point.label
        return f"{self.point.label} {self.traffic.label}"
