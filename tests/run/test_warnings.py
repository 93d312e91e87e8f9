"""What a reader is told beside the verdict."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from append_prefill.records.launch import LeftOut
from append_prefill.report.warnings import warning_words
from append_prefill.run.references import References
from append_prefill.run.warnings import warnings_of
from tests.records import builders

SETTINGS = SimpleNamespace(
    candidate=SimpleNamespace(warnings=[]),
    reference=None,
    profile=SimpleNamespace(placement=SimpleNamespace(policy="off")),
)


def codes(starts):
    return [w.code for w in warnings_of(SETTINGS, References(), starts, [])]


@pytest.mark.parametrize(("key", "code"), [("sglang", "version-moved"), ("commit", "commit-moved")])
def test_launches_of_one_side_that_are_of_several_servers_are_told(key, code):
    def told(index, side, value):
        return builders.start(index, side).model_copy(update={"subject": {key: value}})

    one, other = told(0, "candidate", "0.5.22"), told(1, "candidate", "0.5.23")
    assert codes([one, other]) == [code]
    (warning,) = warnings_of(SETTINGS, References(), [one, other], [])
    assert (warning.side, warning.text) == ("candidate", "0.5.22, 0.5.23")
    # Two sides are meant to differ, and a launch that failed before it was asked tells nothing.
    failed = builders.start(1, "candidate").model_copy(update={"subject": {}})
    assert codes([one, told(0, "reference", "0.5.23"), failed]) == []


def test_a_launch_that_failed_is_a_line_without_its_log():
    failure = "the server ended with status 1 (log: x): an error\nLast lines of x:\nTraceback"
    failed = builders.start(0).model_copy(update={"failure": failure})
    (warning,) = warnings_of(SETTINGS, References(), [failed], [])
    assert warning.code == "launch-failed"
    assert warning.text == "the server ended with status 1 (log: x): an error"


def test_points_that_servers_were_too_small_for_are_one_line_a_side_and_limit():
    def left(context, need, limit, capacity):
        return LeftOut(
            context_tokens=context,
            append_tokens=64,
            need_tokens=need,
            limit=limit,
            capacity_tokens=capacity,
        )

    both = [left(4096, 4192, "kv-pool", 4000), left(8192, 8288, "kv-pool", 4000)]
    one, other = (builders.start(index).model_copy(update={"left_out": both}) for index in (0, 1))
    far = [left(8192, 8288, "context-length", 8186)]
    reference = builders.start(0, "reference").model_copy(update={"left_out": far})
    first, second = warnings_of(SETTINGS, References(), [one, other, reference], [])
    assert (first.code, first.side, first.fields) == (
        "left-out",
        "candidate",
        ["L4096-m64", "L8192-m64"],
    )
    assert warning_words(first) == (
        "Not measured on the candidate, whose KV pool is 4000 tokens: L4096-m64 and L8192-m64 "
        "(up to 8288 with the output)."
    )
    assert "reference, whose context length is 8186" in warning_words(second)
