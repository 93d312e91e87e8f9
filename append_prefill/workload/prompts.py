"""Prompts of token ids whose split between cached and new tokens can be proven.

A prompt is a fresh random context of L ids and a fresh random suffix of m ids. Two prompts of
one source never start with the same two ids, so nothing of one can be found in the cache of
another by chance, and what the server reports as cached was put there on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from append_prefill.workload.points import Point

# SGLang's health check generates from id 0 and its start-up warm-up from ids 10 … 13, so these
# may stand in the prefix tree before the first sample; 0–13 also hold the usual special ids.
FIRST_ORDINARY_ID = 14


class PromptSource:
    """Draws (context, suffix) pairs of token ids from a seed.

    `vocab_size` is the model's; ids are drawn from [14, vocab_size). The n-th prompt's first two
    ids spell n in a random permutation of that range, which keeps up to (vocab_size - 14)^2
    prompts apart. Raises ValueError for a vocabulary of fewer than 64 ids.
    """

    def __init__(self, seed: Sequence[int], vocab_size: int) -> None:
        if vocab_size < FIRST_ORDINARY_ID + 50:
            raise ValueError(f"a vocabulary of {vocab_size} ids is too small to tell prompts apart")
        self._rng = np.random.default_rng(list(seed))
        self._vocab_size = vocab_size
        self._names = self._rng.permutation(np.arange(FIRST_ORDINARY_ID, vocab_size))
        self._drawn = 0

    def draw(self, point: Point) -> tuple[list[int], list[int]]:
        """A fresh context of L ids and suffix of m ids."""
        ids = self._ids(point.total_tokens)
        names = len(self._names)
        high, low = divmod(self._drawn, names)
        self._drawn += 1
        ids[0] = self._names[low]
        if point.total_tokens > 1:
            ids[1] = self._names[high % names]
        listed: list[int] = ids.tolist()
        return listed[: point.context_tokens], listed[point.context_tokens :]

    def suffix(self, append_tokens: int, *, not_first: int | None = None) -> list[int]:
        """A fresh suffix of m ids whose first id is not `not_first`.

        A suffix that starts like a cached sibling would be served from the cache by one more
        token than planned.
        """
        ids = self._ids(append_tokens)
        if not_first is not None and ids[0] == not_first:
            ids[0] = FIRST_ORDINARY_ID + (not_first - FIRST_ORDINARY_ID + 1) % (
                self._vocab_size - FIRST_ORDINARY_ID
            )
        listed: list[int] = ids.tolist()
        return listed

    def letters(self, count: int, alphabet: str) -> str:
        """So many fresh letters, each as likely as any other."""
        return "".join(alphabet[at] for at in self._rng.integers(len(alphabet), size=count))

    def _ids(self, count: int) -> NDArray[np.int64]:
        return self._rng.integers(FIRST_ORDINARY_ID, self._vocab_size, size=count)
