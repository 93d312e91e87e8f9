"""A point (L, m): L context tokens in the prefix cache, m new tokens appended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True, slots=True)
class Point:
    """One shape of append-prefill.

    `context_tokens` (L >= 1) are in the prefix cache, `append_tokens` (m >= 1) are new.
    Raises ValueError if either is below one.
    """

    context_tokens: int
    append_tokens: int

    def __post_init__(self) -> None:
        if self.context_tokens < 1 or self.append_tokens < 1:
            raise ValueError(
                f"a point needs at least one context and one append token, not "
                f"({self.context_tokens}, {self.append_tokens})"
            )

    @property
    def total_tokens(self) -> int:
        """N = L + m."""
        return self.context_tokens + self.append_tokens

    @property
    def cache_rate(self) -> float:
        """r = L / N, between 0 and 1."""
        return self.context_tokens / self.total_tokens

    def cached_tokens(self, page_tokens: int) -> int:
        """How many of the L tokens a cache with pages of `page_tokens` can hold: floor(L, page)."""
        return self.context_tokens // page_tokens * page_tokens

    @property
    def label(self) -> str:
        """`L512-m128`: what test ids, tables and file names call the point."""
        return f"L{self.context_tokens}-m{self.append_tokens}"
