"""The prefix cache against the plainest model there is: a list of everything inserted."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from append_prefill.planted.prefix_cache import PrefixCache, pack

# Two token ids and short sequences: prefixes collide all the time. One id needs four bytes, and
# differs from another in its highest alone.
SEQUENCE = st.lists(st.sampled_from([1, 2, 2 + (1 << 24)]), min_size=1, max_size=24)
PAGE = st.sampled_from([1, 2, 3, 8])


def common(a: list[int], b: list[int]) -> int:
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n


def expected(stored: list[list[int]], prompt: list[int], page: int) -> int:
    """Longest common prefix with anything stored, at most len - 1, in whole pages of both."""
    usable = (len(prompt) - 1) // page * page
    longest = max((common(s[: len(s) // page * page], prompt) for s in stored), default=0)
    return min(usable, longest // page * page)


@given(page=PAGE, stored=st.lists(SEQUENCE, max_size=12), prompts=st.lists(SEQUENCE, max_size=6))
def test_without_eviction_the_match_is_exact(page, stored, prompts):
    cache = PrefixCache(10_000, page)
    for i, sequence in enumerate(stored):
        cache.insert(pack(sequence))
        for prompt in (*prompts, sequence):
            assert cache.match(pack(prompt)) == expected(stored[: i + 1], prompt, page)


@given(page=PAGE, stored=st.lists(SEQUENCE, max_size=12))
def test_tokens_held_are_the_distinct_pages(page, stored):
    cache = PrefixCache(10_000, page)
    for sequence in stored:
        cache.insert(pack(sequence))
    paths = {tuple(s[:end]) for s in stored for end in range(page, len(s) + 1, page)}
    assert cache.tokens == page * len(paths)


@given(
    page=PAGE,
    operations=st.lists(st.tuples(st.booleans(), SEQUENCE), max_size=30),
)
def test_eviction_keeps_the_capacity_and_the_newest(page, operations):
    cache = PrefixCache(24, page)
    stored: list[list[int]] = []
    for insert, sequence in operations:
        if insert:
            cache.insert(pack(sequence))
            stored.append(sequence)
            assert cache.match(pack([*sequence, 9])) == len(sequence) // page * page
        else:
            assert cache.match(pack(sequence)) <= expected(stored, sequence, page)
        assert cache.tokens <= 24


@given(page=PAGE, stored=st.lists(SEQUENCE, max_size=12))
def test_leaves_are_the_sequences_that_none_goes_on_from(page, stored):
    cache = PrefixCache(10_000, page)
    for sequence in stored:
        cache.insert(pack(sequence))
    whole = {tuple(s[: len(s) // page * page]) for s in stored} - {()}
    ends = [s for s in whole if not any(o != s and o[: len(s)] == s for o in whole)]
    assert cache.leaves == len(ends)


@given(used=st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=300))
def test_of_many_leaves_always_the_one_used_longest_ago_goes(used):
    """Ten single-page sequences fit; against a list in the order of use."""
    cache = PrefixCache(40, 4)
    order: list[int] = []
    for insert, k in used:
        sequence = pack([k, 5, 6, 7])
        if insert:
            cache.insert(sequence)
        else:
            assert (cache.match(sequence + pack([9])) > 0) is (k in order)
        if insert or k in order:
            order = [*(other for other in order if other != k), k][-10:]
        assert cache.leaves == len(order)
        assert cache.tokens == 4 * len(order)


def test_the_least_recently_used_leaf_goes_first():
    cache = PrefixCache(12)
    a, b, c = [[k] * 4 for k in (1, 2, 3)]
    for sequence in (a, b, c):
        cache.insert(pack(sequence))
    cache.match(pack([*a, 9]))
    cache.insert(pack([4] * 4))
    assert [cache.match(pack([*s, 9])) for s in (a, b, c)] == [4, 0, 4]


def test_a_parent_outlives_leaves_older_than_it():
    """The branch point was used after the other leaf: that one goes, the branch point stays."""
    cache = PrefixCache(8)
    cache.insert(pack([1, 1, 5, 5]))
    cache.insert(pack([2, 2]))
    cache.insert(pack([1, 1, 6, 6]))
    cache.insert(pack([3, 3, 3, 3]))
    assert cache.match(pack([2, 2, 9])) == 0
    assert cache.match(pack([1, 1, 5, 5, 9])) == 2
    assert cache.match(pack([1, 1, 6, 6, 9])) == 4


def test_an_eviction_takes_no_longer_where_there_are_more_leaves():
    """What a walk over all leaves costs a server is simulated, and must not be real as well."""

    def evictions_s(leaves: int) -> float:
        cache = PrefixCache(leaves)
        for k in range(leaves):
            cache.insert(pack([k]))
        started_s = time.perf_counter()
        for k in range(200):
            cache.insert(pack([leaves + k]))
        spent_s = time.perf_counter() - started_s
        assert cache.leaves == leaves
        return spent_s

    # A hundred times the leaves: a walk takes a hundred times as long, a heap no twice.
    assert min(evictions_s(20_000) for _ in range(3)) < 10 * min(evictions_s(200) for _ in range(3))


def test_clear_forgets_everything():
    cache = PrefixCache(100)
    cache.insert(pack([1, 2, 3]))
    cache.clear()
    assert (cache.tokens, cache.match(pack([1, 2, 3]))) == (0, 0)


def test_an_exact_repeat_recomputes_its_last_token():
    for page, matched in ((1, 15), (4, 12)):
        cache = PrefixCache(100, page)
        cache.insert(pack(range(16)))
        assert cache.match(pack(range(16))) == matched


def test_what_can_never_fit_is_refused():
    with pytest.raises(ValueError, match="room for a page"):
        PrefixCache(3, 4)
    with pytest.raises(ValueError, match="longer"):
        PrefixCache(4).insert(pack([1] * 5))


@pytest.mark.parametrize("bad", [[-1], [1 << 32], [1.5], ["a"]])
def test_a_bad_token_id_is_refused(bad):
    with pytest.raises((TypeError, OverflowError)):
        pack(bad)
