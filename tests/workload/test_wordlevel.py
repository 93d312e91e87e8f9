"""The vocabulary: a text of n words is n tokens, and a reply has the same ids as a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from append_prefill.workload.merging import RUNS
from append_prefill.workload.wordlevel import (
    END_ID,
    MARKERS,
    ROLE_IDS,
    UNKNOWN_ID,
    decode,
    encode,
    encode_chat,
)

WORDS = st.integers(1, 200_000).filter(lambda token_id: token_id not in MARKERS)


@given(st.lists(WORDS))
def test_a_text_of_words_comes_back(ids):
    assert encode(decode(ids)) == ids


@given(st.lists(WORDS, min_size=1), st.lists(WORDS, min_size=1))
def test_nothing_merges_where_two_texts_meet(before, after):
    assert encode(f"{decode(before)} {decode(after)}") == before + after


def test_what_is_no_word_is_unknown():
    assert encode("w14 hello w015 w w-1 w1x W2 w99") == [14, *[UNKNOWN_ID] * 6, 99]


def test_the_ids_of_markers_are_no_words_and_are_not_spoken():
    assert encode("w2 w3 w8 w9") == [2, UNKNOWN_ID, UNKNOWN_ID, 9]
    assert encode("<|user|> w9 <|end|>") == [ROLE_IDS["user"], 9, END_ID]
    assert decode([ROLE_IDS["user"], 9, UNKNOWN_ID, END_ID]) == "w9 <unk>"
    assert set(MARKERS) == {3, 4, 5, 6, 7, 8}


def test_a_reply_is_in_the_next_turns_prompt_as_it_was_generated():
    first = encode_chat([("system", "w20 w21"), ("user", "w30 w31 w32")])
    assert first == [3, 20, 21, 7, 4, 30, 31, 32, 7, 5]
    reply = [5000, 6000]
    second = encode_chat(
        [
            ("system", "w20 w21"),
            ("user", "w30 w31 w32"),
            ("assistant", decode(reply)),
            ("user", "w40"),
        ]
    )
    assert second == [*first, *reply, 7, 4, 40, 7, 5]


def test_a_run_of_letters_is_merged_by_rank_and_not_from_the_left():
    assert encode("AB") == [next(i for i, run in RUNS.items() if run == "AB")]
    assert decode(encode("ABC")) == "A BC"
    assert decode(encode("ABCB")) == "AB CB"
    assert decode(encode("CCC w20 DDDDD")) == "CC C w20 DD DD D"


def test_letters_apart_are_tokens_apart():
    assert encode(decode(RUNS)) == [*RUNS]
    assert encode("A B C") == [64, 65, 66]


def test_what_is_unknown_in_a_run_is_one_token():
    assert encode("AxyB") == [64, UNKNOWN_ID, 65]
    assert encode("xA") == [UNKNOWN_ID, 64]
    assert encode("w64 w79") == [UNKNOWN_ID, 79]


def test_a_role_without_a_marker_is_refused():
    with pytest.raises(ValueError, match="'robot' is none of system, user, assistant, tool"):
        encode_chat([("robot", "w14")])
