"""Whether a server holds a plan, before anything is sent."""

import pytest

from append_prefill.engines.base import ServerDescription
from append_prefill.errors import InfrastructureError
from append_prefill.probe.capacity import Room, check_capacity, left_out_of, left_out_words
from append_prefill.probe.planning import make_plan
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point

PROFILE = load_profile("cpu-nano")
LONGEST = 1088 + PROFILE.plan.share_output_tokens


def described(pool, context):
    return ServerDescription(
        versions={},
        page_size_tokens=1,
        chunked_prefill_tokens=None,
        kv_capacity_tokens=pool,
        context_length_tokens=context,
        attention_backend=None,
        prefill_graph=None,
        radix_cache=True,
        raw={},
    )


@pytest.mark.parametrize(
    ("pool", "context", "problem"),
    [
        (8 * LONGEST, LONGEST, None),
        (None, None, None),
        (8 * LONGEST - 1, LONGEST, f"at once take at least {8 * LONGEST} tokens, .* KV pool"),
        (LONGEST - 1, LONGEST, f"requests take at least {LONGEST} tokens, .* KV pool"),
        (8 * LONGEST, LONGEST - 1, f"requests take at least {LONGEST} tokens, .* context length"),
    ],
)
def test_all_contexts_of_a_unit_have_to_be_in_the_pool_at_once(pool, context, problem):
    plan = make_plan(PROFILE, seed=1, sides=("candidate",), experiments=["together_8"])
    if problem is None:
        check_capacity(plan, PROFILE, described(pool, context))
    else:
        with pytest.raises(InfrastructureError, match=problem):
            check_capacity(plan, PROFILE, described(pool, context))


LONG = load_profile("cpu-nano-long")
OUTPUT = LONG.plan.share_output_tokens


def long_plan():
    return make_plan(LONG, seed=1, sides=("candidate",), experiments=["long"])


@pytest.mark.parametrize(
    ("pool", "context", "limit", "labels"),
    [
        (40_000, 131_066, None, []),
        (None, None, None, []),
        (40_000, 8256 + OUTPUT, "context-length", ["L16384-m64"]),
        (40_000, 8255 + OUTPUT, "context-length", ["L8192-m64", "L16384-m64"]),
        (8256 + OUTPUT, 131_066, "kv-pool", ["L16384-m64"]),
        # The pool is named where both are too small, since the other follows from it.
        (4160 + OUTPUT, 4160, "kv-pool", ["L8192-m64", "L16384-m64"]),
    ],
)
def test_points_that_a_server_is_too_small_for_are_left_out(pool, context, limit, labels):
    plan, server = long_plan(), described(pool, context)
    left = [one for one in left_out_of(plan, LONG, server) if one.limit == limit]
    assert [one.point.label for one in left] == labels
    check_capacity(plan, LONG, server)
    if left:
        words = left_out_words(left)
        assert "\n" not in words
        assert all(label in words for label in labels)
        assert left[0].need_tokens == left[0].point.total_tokens + OUTPUT


def test_a_server_too_small_for_every_point_is_refused():
    with pytest.raises(InfrastructureError, match=r"at least \d+ tokens, .* context length"):
        check_capacity(long_plan(), LONG, described(40_000, 40))


def test_a_prompt_finds_room_or_is_told_that_there_is_none():
    room = Room(described(1000 + 3 * OUTPUT, None), LONG)
    room.empty(Point(100, 100))
    assert room.takes(Point(300, 100))
    assert room.takes(Point(300, 100))
    assert not room.takes(Point(1, 1))
    room.empty(Point(1, 1))
    assert room.takes(Point(300, 100))
    assert Room(described(None, None), LONG).takes(Point(10**6, 1))
