"""Texts whose context and append meet inside a word, so that a tokenizer can merge across.

What a server has cached are the tokens of the context alone; those of context and append together
need not begin with all of them. How many do not is computed here, with the tokenizer and the
template that the server has, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from append_prefill.workload.merging import LETTERS
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.wordlevel import decode, encode, encode_chat

LETTERS_A_SIDE = 4
"""Letters of the word on either side of the boundary: two tokens to four."""
SYSTEM_MARKERS = 2
"""Around the system message that is the context: its role's marker and its end's."""
USER_MARKERS = 3
"""Around the user's message that is new: two likewise, and that of the reply to come."""
TEXT_TOKENS_MIN = LETTERS_A_SIDE + USER_MARKERS + 1
"""Of context and of append: the letters, a chat's markers, and a word."""


@dataclass(frozen=True, slots=True)
class Parts:
    """`context`, as text, is in the cache before; `append` follows it.

    `merged_tokens`: of the context's tokens at its end, those that are others in the whole prompt.
    """

    context: str
    append: str
    merged_tokens: int


def merged_tokens(context_ids: Sequence[int], prompt_ids: Sequence[int]) -> int:
    """How many of the context's tokens are not where the prompt begins."""
    pairs = zip(context_ids, prompt_ids, strict=False)
    return len(context_ids) - sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def draw_text(prompts: PromptSource, point: Point) -> Parts:
    """A text of L tokens, and one that together with it makes N, with no space between.

    Raises ValueError for a point of fewer than `TEXT_TOKENS_MIN` tokens of either.
    """
    left, right = _letters(prompts, point)
    before, whole = len(encode(left)), len(encode(left + right))
    words = Point(point.context_tokens - before, point.append_tokens - (whole - before))
    context_ids, append_ids = prompts.draw(words)
    context, append = f"{decode(context_ids)} {left}", f"{right} {decode(append_ids)}"
    return Parts(context, append, merged_tokens(encode(context), encode(context + append)))


def draw_chat(prompts: PromptSource, point: Point) -> Parts:
    """A system message of L tokens and a user's of m, markers included.

    Their texts end and begin with the two sides of a word, as in `draw_text`: what keeps them apart
    is the template. Raises ValueError as `draw_text` does.
    """
    left, right = _letters(prompts, point)
    words = Point(
        point.context_tokens - SYSTEM_MARKERS - len(encode(left)),
        point.append_tokens - USER_MARKERS - len(encode(right)),
    )
    context_ids, append_ids = prompts.draw(words)
    context, append = f"{decode(context_ids)} {left}", f"{right} {decode(append_ids)}"
    # Behind the context comes the reply's marker, in whose place the user's message will be.
    held = encode_chat([("system", context)])[: point.context_tokens]
    sent = encode_chat([("system", context), ("user", append)])
    return Parts(context, append, merged_tokens(held, sent))


def _letters(prompts: PromptSource, point: Point) -> tuple[str, str]:
    if min(point.context_tokens, point.append_tokens) < TEXT_TOKENS_MIN:
        raise ValueError(
            f"a text has {TEXT_TOKENS_MIN} tokens or more of context and of append, not "
            f"{point.label}"
        )
    return prompts.letters(LETTERS_A_SIDE, LETTERS), prompts.letters(LETTERS_A_SIDE, LETTERS)
