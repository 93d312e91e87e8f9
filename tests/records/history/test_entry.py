"""What a run tells of its purpose, and what tells runs apart."""

import pytest

from append_prefill.records.definition import UNTOLD, defined_by
from append_prefill.records.grounds import RunWarning
from append_prefill.records.history.entry import key_of, purpose_of, whole
from tests.records import builders


def run_of(purpose="nightly", **changes):
    return builders.run(
        suite={"version": "1"} | ({"purpose": purpose} if purpose else {}), **changes
    )


@pytest.mark.parametrize(
    ("made", "purpose", "is_whole"),
    [
        (run_of(), "nightly", True),
        (run_of("try"), "try", True),
        (run_of("partial"), "partial", False),
        (run_of(warnings=[RunWarning(code="interrupted")]), "partial", False),
        (run_of(identity=builders.identity(device_kind="planted")), "simulated", True),
        (run_of(verdict="infrastructure"), "nightly", False),
        (run_of(verdict=None), "nightly", False),
        (run_of(state={"replicated": False}), "nightly", False),
    ],
    ids=["nightly", "try", "partial", "interrupted", "simulated", "failed", "unjudged", "attached"],
)
def test_purpose(made, purpose, is_whole):
    assert (purpose_of(made), whole(made)) == (purpose, is_whole)


def test_an_older_record_is_whole_where_its_points_are_those_of_its_definition():
    points = builders.POINTS
    made = run_of(None, definition=defined_by(UNTOLD, points))
    assert (purpose_of(made), whole(made)) == ("try", True)
    part = made.plan.model_copy(update={"points": made.plan.points[:2]})
    assert purpose_of(made.model_copy(update={"plan": part})) == "partial"
    quick = made.model_copy(update={"suite": {"version": "1", "options": "--sglang x --quick"}})
    assert purpose_of(quick) == "partial"


def test_a_run_keeps_its_key_when_it_is_judged_and_shares_it_with_none():
    run = builders.run()
    again = run.model_copy(update={"verdict": "regression", "findings": []})
    assert key_of(again) == key_of(run)
    others = [
        builders.run(seed=1),
        builders.run("0.5.24"),
        builders.run(state={"replicated": True, "host": "other"}),
        builders.run(definition="e" * 64),
        builders.run(created_at=builders.CREATED.replace(microsecond=1)),
    ]
    assert len({key_of(run), *(key_of(other) for other in others)}) == len(others) + 1
