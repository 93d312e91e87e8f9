from __future__ import annotations

from typing import Any

import pytest

from append_prefill.analysis.verdict.comparison import compare
from append_prefill.records.comparison import Comparison
from append_prefill.records.contrast import Difference, contrast_of, told_once
from append_prefill.records.grounds import Side
from append_prefill.records.launch import Start
from append_prefill.records.run import Run
from append_prefill.workload.loading import load_profile
from tests.records import builders

PLAIN: dict[str, Any] = {"sglang": "0.5.23", "commit": None, "environment": {}}


def launch(index: int, side: Side, *, args: list[str], resolved: Any, **subject: Any) -> Start:
    return builders.start(
        index, side, server_args=args, resolved=resolved, subject=PLAIN | subject, samples=2
    )


def two_sided(
    *,
    ours: dict[str, Any] | None = None,
    theirs: dict[str, Any] | None = None,
    args: tuple[list[str], list[str]] = ([], []),
    resolved: tuple[dict[str, Any], dict[str, Any]] = ({}, {}),
) -> Run:
    run = builders.side_by_side("0.5.23", "0.5.23")
    run.starts = [
        launch(index, side, args=args[n], resolved=resolved[n], **(subject or {}))
        for index in range(2)
        for n, (side, subject) in enumerate(
            [("candidate", ours), ("reference", theirs)]  # type: ignore[list-item]
        )
    ]
    run.comparison = compared(run)
    return run


def compared(run: Run, **changes: Any) -> Comparison:
    profile = load_profile("llama-3.1-8b")
    sides = [[s for s in run.starts if s.side == side] for side in ("candidate", "reference")]
    made = compare(
        *sides,
        policy=profile.policy,
        noise=profile.noise,
        kind="side-by-side",
        reference_label="0.5.23",
        reference_version="0.5.23",
        provenance="suite",
    )
    return made.model_copy(update=changes)


def test_sides_that_are_alike_differ_in_nothing() -> None:
    assert contrast_of(two_sided()) == []


def test_without_a_comparison_there_are_no_sides() -> None:
    assert contrast_of(builders.run()) == []


def test_most_telling_first() -> None:
    run = two_sided(
        ours={
            "sglang": "0.5.24",
            "commit": "a" * 40,
            "torch": "2.9",
            "environment": {"SGLANG_X": "1"},
            "attention_backend": "fa4",
        },
        theirs={"torch": "2.8", "attention_backend": "fa3"},
        args=(["--chunked-prefill-size", "4096"], ["--chunked-prefill-size", "2048"]),
        resolved=({"schedule_policy": "lpm"}, {"schedule_policy": "fcfs"}),
    )
    assert contrast_of(run) == [
        Difference("version", "sglang", "0.5.24", "0.5.23"),
        Difference("commit", "commit", "a" * 40, None),
        Difference("argument", "chunked-prefill-size", "4096", "2048"),
        Difference("variable", "SGLANG_X", "1", None),
        Difference("package", "torch", "2.9", "2.8"),
        Difference("resolved", "attention_backend", "fa4", "fa3"),
        Difference("resolved", "schedule_policy", "lpm", "fcfs"),
    ]


def test_arguments_in_any_order_and_spelling_are_the_same() -> None:
    run = two_sided(args=(["--a", "1", "--b=2"], ["--b", "2", "--a=1"]))
    assert contrast_of(run) == []


def test_arguments_of_both_sides_come_before_those_of_one() -> None:
    run = two_sided(args=(["--a-flag", "--z", "1"], ["--z", "2"]))
    assert contrast_of(run) == [
        Difference("argument", "z", "1", "2"),
        Difference("argument", "a-flag", True, None),
    ]


def test_what_an_argument_chose_is_not_told_twice() -> None:
    run = two_sided(
        ours={"chunked_prefill_tokens": 4096},
        theirs={"chunked_prefill_tokens": 2048},
        args=(["--chunked-prefill-size=4096", "--stream-interval=2"], ["--stream-interval=1"]),
        resolved=({"stream_interval": 2}, {"stream_interval": 1}),
    )
    assert [(one.kind, one.name) for one in contrast_of(run)] == [
        ("argument", "stream-interval"),
        ("argument", "chunked-prefill-size"),
    ]


def test_a_variable_that_a_script_took_away_is_told_from_one_that_nobody_set() -> None:
    run = two_sided(ours={"environment": {"OMP_NUM_THREADS": None}})
    assert contrast_of(run) == [Difference("variable", "OMP_NUM_THREADS", False, None)]


def test_a_secret_that_only_one_side_has_is_named_and_not_shown() -> None:
    run = two_sided(
        ours={"environment": {"HF_TOKEN": "***"}},
        args=(["--api-key", "hunter2", "--url", "http://u:hunter2@h"], []),
    )
    assert "hunter2" not in repr(contrast_of(run))
    assert [one.name for one in contrast_of(run)] == ["url", "HF_TOKEN"]


def test_what_the_launches_of_a_side_do_not_agree_on_is_no_property_of_it() -> None:
    run = two_sided(resolved=({"max_running": 1}, {"max_running": 1}))
    assert run.starts[0].side == "candidate"
    run.starts[0].resolved = {"max_running": 2}
    run.starts[0].subject["kv_capacity_tokens"] = 7
    assert contrast_of(run) == []


def test_what_only_one_version_has_is_no_difference() -> None:
    """Each version brings dozens of new arguments."""
    run = two_sided(resolved=({"new": 1, "both": None}, {"old": 1, "both": "x"}))
    assert contrast_of(run) == [Difference("resolved", "both", None, "x")]


def test_records_of_old_suites_tell_nothing_of_what_they_did_not_keep() -> None:
    run = two_sided(ours={"environment": {"SGLANG_X": "1"}})
    for start in run.starts:
        if start.side == "reference":
            del start.subject["environment"], start.subject["commit"]
    assert contrast_of(run) == []


def stored(baseline: Run, run: Run) -> Run:
    run.comparison = compared(two_sided(), kind="baseline", reference_version=baseline.version)
    return run


def test_a_stored_run_is_held_against_where_it_is_at_hand() -> None:
    baseline, run = builders.run("0.5.19"), builders.run("0.5.23")
    for start in baseline.starts:
        start.server_args = ["--chunked-prefill-size", "4096"]
    run = stored(baseline, run)
    assert contrast_of(run) == [Difference("version", "sglang", "0.5.23", "0.5.19")]
    assert contrast_of(run, baseline) == [
        Difference("version", "sglang", "0.5.23", "0.5.19"),
        Difference("argument", "chunked-prefill-size", "8192", "4096"),
    ]


def test_of_a_running_server_no_argument_is_known() -> None:
    baseline, run = builders.run("0.5.19"), builders.run("0.5.23", state={"replicated": False})
    for start in run.starts:
        start.server_args = []
    assert [one.kind for one in contrast_of(stored(baseline, run), baseline)] == ["version"]


@pytest.mark.parametrize("sides", [("candidate",), ("candidate", "reference")])
def test_what_servers_resolved_is_kept_once_for_each_side(sides: tuple[Side, ...]) -> None:
    starts = [
        builders.start(index, side, resolved={"a": 1, "seed": index}, samples=1)
        for index in range(3)
        for side in sides
    ]
    starts[0].resolved = {}  # it died before it could be asked
    slim = told_once(starts)
    assert {s.side: s.resolved for s in slim if s.resolved} == {side: {"a": 1} for side in sides}
    assert told_once(slim) == slim
    assert sum(bool(s.resolved) for s in starts) == len(starts) - 1  # the given ones stay
