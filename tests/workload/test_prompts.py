import pytest
from hypothesis import given
from hypothesis import strategies as st

from append_prefill.workload.points import Point
from append_prefill.workload.prompts import FIRST_ORDINARY_ID, PromptSource

VOCAB = 1000


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_a_prompt_has_the_lengths_asked_for_and_ordinary_ids(context, append, seed):
    drawn_context, suffix = PromptSource((seed,), VOCAB).draw(Point(context, append))
    assert (len(drawn_context), len(suffix)) == (context, append)
    assert all(FIRST_ORDINARY_ID <= i < VOCAB for i in drawn_context + suffix)


def test_no_two_prompts_share_their_first_two_ids():
    source = PromptSource((1,), 64)  # 50 ordinary ids: the first id alone must repeat
    starts = [tuple(source.draw(Point(2, 1))[0]) for _ in range(500)]
    assert len(set(starts)) == 500


def test_the_same_seed_draws_the_same_prompts():
    first, second, other = (PromptSource(s, VOCAB) for s in ((3, 1), (3, 1), (3, 2)))
    drawn = [source.draw(Point(8, 8)) for source in (first, second, other)]
    assert drawn[0] == drawn[1] != drawn[2]


@given(st.integers(FIRST_ORDINARY_ID, VOCAB - 1))
def test_a_suffix_never_starts_with_what_it_must_not(not_first):
    source = PromptSource((not_first,), VOCAB)
    for _ in range(50):
        suffix = source.suffix(3, not_first=not_first)
        assert suffix[0] != not_first
        assert FIRST_ORDINARY_ID <= suffix[0] < VOCAB


def test_a_tiny_vocabulary_is_refused():
    with pytest.raises(ValueError, match="too small"):
        PromptSource((1,), 20)
