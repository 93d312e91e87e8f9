"""A conversation: turns whose prompt is all before them, the replies included, plus new tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from append_prefill.workload.points import Point


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: `append_tokens` new tokens are sent, `reply_tokens` are generated.

    `after_s`: how long after the end of the reply before it the turn is sent. Raises ValueError for
    fewer than one token of either, or a time below 0.
    """

    append_tokens: int
    reply_tokens: int
    after_s: float = 0.0

    def __post_init__(self) -> None:
        if self.append_tokens < 1 or self.reply_tokens < 1 or not self.after_s >= 0:
            raise ValueError(
                "a turn has one new token, one token of reply and 0 s of waiting or more, not "
                f"({self.append_tokens}, {self.reply_tokens}, {self.after_s})"
            )


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order. The first is a full prefill, each later one an append-prefill.

    Raises ValueError for fewer than two turns: there is nothing to append to.
    """

    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        if len(self.turns) < 2:
            raise ValueError(f"a conversation has two turns or more, not {len(self.turns)}")

    @property
    def total_tokens(self) -> int:
        """All that is cached in the end: prompts and replies."""
        return sum(turn.append_tokens + turn.reply_tokens for turn in self.turns)

    def points(self) -> Iterator[tuple[int, Point]]:
        """(number, point) of each append-prefill, numbers from 2: L is all before it."""
        before = 0
        for number, turn in enumerate(self.turns, start=1):
            if number > 1:
                yield number, Point(before, turn.append_tokens)
            before += turn.append_tokens + turn.reply_tokens
