"""Whether a server holds a plan, before anything is sent."""

import pytest

from append_prefill.engines.base import ServerDescription
from append_prefill.errors import InfrastructureError
from append_prefill.probe.capacity import check_capacity
from append_prefill.probe.plan import make_plan
from append_prefill.workload.loading import load_profile

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
        (8 * LONGEST - 1, LONGEST, f"at once take {8 * LONGEST} tokens, .* KV pool"),
        (LONGEST - 1, LONGEST, f"longest request takes {LONGEST} tokens, .* KV pool"),
        (8 * LONGEST, LONGEST - 1, f"longest request takes {LONGEST} tokens, .* context length"),
    ],
)
def test_all_contexts_of_a_unit_have_to_be_in_the_pool_at_once(pool, context, problem):
    plan = make_plan(PROFILE, seed=1, sides=("candidate",), experiments=["together_8"])
    if problem is None:
        check_capacity(plan, PROFILE, described(pool, context))
    else:
        with pytest.raises(InfrastructureError, match=problem):
            check_capacity(plan, PROFILE, described(pool, context))
