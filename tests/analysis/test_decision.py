from types import SimpleNamespace

import pytest

from append_prefill.analysis.decision import (
    DECODES,
    PUBLISHED,
    Choice,
    below,
    choices_of,
    judged,
    judged_rules,
)
from append_prefill.workload.points import Point

KV_BYTES = 131_072  # Llama-3.1-8B, bf16


def run(*points, size=KV_BYTES, fixed=0):
    summaries = [SimpleNamespace(point=Point(c, m), median_ms=ms) for c, m, ms in points]
    return SimpleNamespace(points=summaries, kv_bytes_per_token=size, kv_fixed_bytes=fixed)


def test_what_either_way_costs():
    """1,024 tokens of 128 KiB take 5.37 ms at 25 GB/s; one decode waits for a prefill of 20 ms."""
    first, *others = choices_of(run((896, 128, 20.0)), 25)
    assert (first.local_ms, first.remote_ms) == (40, pytest.approx(20 + 5.37, abs=0.01))
    assert not first.stays
    assert [c.local_ms for c in others] == [20 + 20 * k for k in DECODES[1:]]


def test_a_state_is_moved_once_whatever_the_context():
    """25 MB take 1 ms at 25 GB/s."""
    with_state, without = (choices_of(run((896, 128, 20.0), fixed=f), 25) for f in (25_000_000, 0))
    assert with_state[0].remote_ms - without[0].remote_ms == pytest.approx(1)


def test_where_decodes_hardly_notice_the_turn_stays():
    """A stall of 2 % of a prefill: 0.4 ms for one decode, 6.4 for sixteen, against 5.37."""
    stays = [c.stays for c in choices_of(run((896, 128, 20.0)), 25, stall_share=0.02)]
    assert stays == [True, True, False, False]


def test_without_a_size_or_a_time_there_is_no_choice():
    assert choices_of(run((896, 128, 20.0), size=None), 25) == []
    assert choices_of(run((896, 128, None)), 25) == []


def test_rules_see_new_tokens_and_their_share():
    dynamo = PUBLISHED["Dynamo, its defaults (2048, 0.7)"]
    assert dynamo(Point(2000, 100))
    assert not dynamo(Point(8000, 2048))
    assert not dynamo(Point(30, 70))
    assert below(16)(Point(1, 15))
    assert not below(16)(Point(1, 16))
    assert not below(100, 0.5)(Point(50, 50))
    assert below(100, 0.5)(Point(51, 50))
    assert PUBLISHED["the study's advice (2048)"](Point(1, 2048))


CHOICES = [
    Choice(Point(100, 10), 1, 10.0, 12.0),  # best at home
    Choice(Point(100, 500), 1, 30.0, 20.0),  # best elsewhere
]


def test_a_rule_is_judged_by_what_its_mistakes_cost():
    right = judged("right", below(100), CHOICES)
    assert (right.agrees, right.regret_ms, right.worst_ms) == (1, 0, 0)
    home = judged("home", below(float("inf")), CHOICES)
    assert (home.agrees, home.regret_ms, home.worst_ms) == (0.5, 5, 10)
    with pytest.raises(ValueError, match="one choice"):
        judged("none", below(1), [])


def test_the_best_thresholds_are_found():
    *published, alone, both = judged_rules(CHOICES)
    assert len(published) == len(PUBLISHED)
    assert (alone.regret_ms, both.regret_ms) == (0, 0)
    assert alone.name == "llm-d's kind at 11"


@pytest.mark.parametrize("share", [0.25, 0.5, 0.7, 0.9])
def test_the_best_share_of_new_tokens_is_found(share):
    """As many new tokens either way, in a prompt of which they are less or more than that."""
    new = 100
    less, more = (Point(round(new / of) - new, new) for of in (share - 0.05, share + 0.05))
    *_, alone, both = judged_rules([Choice(less, 1, 10.0, 12.0), Choice(more, 1, 30.0, 20.0)])
    assert (alone.regret_ms, both.regret_ms) == (1, 0)
    assert both.name == f"Dynamo's kind at 101, {share:g}"


def test_what_a_transfer_takes_however_little_is_moved_is_added():
    first, *_ = choices_of(run((896, 128, 20.0)), 25, fixed_ms=3.0)
    assert first.remote_ms == pytest.approx(20 + 3 + 5.37, abs=0.01)
