"""Where context and append meet: how many tokens are merged is known before anything is sent."""

from collections import Counter
from itertools import product

import pytest

from append_prefill.workload.boundary import (
    LETTERS_A_SIDE,
    TEXT_TOKENS_MIN,
    draw_chat,
    draw_text,
    merged_tokens,
)
from append_prefill.workload.merging import LETTERS
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.wordlevel import encode, encode_chat

SHORTEST = Point(TEXT_TOKENS_MIN, TEXT_TOKENS_MIN)


@pytest.mark.parametrize(
    ("context", "prompt", "merged"),
    [([1, 2, 3], [1, 2, 3, 4], 0), ([1, 2, 3], [1, 2, 5], 1), ([1, 2, 3], [1, 5, 3, 4], 2)],
)
def test_tokens_from_the_first_other_one_on_are_merged(context, prompt, merged):
    assert merged_tokens(context, prompt) == merged


def test_a_prompt_that_ends_within_the_context_has_the_rest_merged():
    assert merged_tokens([1, 2, 3], [1, 2]) == 1


def test_how_many_of_all_words_merge():
    count = Counter(
        merged_tokens(encode("".join(word[:LETTERS_A_SIDE])), encode("".join(word)))
        for word in product(LETTERS, repeat=2 * LETTERS_A_SIDE)
    )
    assert {tokens: round(n / count.total(), 3) for tokens, n in sorted(count.items())} == {
        0: 0.644,
        1: 0.312,
        2: 0.044,
    }


@pytest.mark.parametrize("point", [SHORTEST, Point(256, 64)])
def test_a_text_has_the_tokens_of_its_point_whatever_merges(point):
    prompts = PromptSource((1,), 32000)
    drawn = [draw_text(prompts, point) for _ in range(300)]
    assert {len(encode(p.context)) for p in drawn} == {point.context_tokens}
    assert {len(encode(p.context + p.append)) for p in drawn} == {point.total_tokens}
    assert {p.merged_tokens for p in drawn} == {0, 1, 2}


@pytest.mark.parametrize("point", [SHORTEST, Point(256, 64)])
def test_a_templates_markers_keep_a_chats_messages_apart(point):
    prompts = PromptSource((1,), 32000)
    for parts in [draw_chat(prompts, point) for _ in range(100)]:
        whole = encode_chat([("system", parts.context), ("user", parts.append)])
        assert len(whole) == point.total_tokens
        assert len(encode_chat([("system", parts.context)])) == point.context_tokens + 1
        assert parts.merged_tokens == 0
        assert parts.context[-1] in LETTERS
        assert parts.append[0] in LETTERS


@pytest.mark.parametrize("draw", [draw_text, draw_chat])
@pytest.mark.parametrize("short", [(-1, 0), (0, -1)])
def test_a_point_without_room_for_the_letters_is_refused(draw, short):
    point = Point(SHORTEST.context_tokens + short[0], SHORTEST.append_tokens + short[1])
    with pytest.raises(ValueError, match="8 tokens or more"):
        draw(PromptSource((1,), 32000), point)
