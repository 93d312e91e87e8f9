"""What a bisection reads off the runs in its folder."""

from __future__ import annotations

import math

import pytest

from append_prefill.errors import InfrastructureError
from append_prefill.probe.warmup import NOTHING_VALID
from append_prefill.records.bisection import Size
from append_prefill.records.grounds import DEVICE_STATE
from append_prefill.records.traffic import TrafficResult
from append_prefill.run.bisection.history import Trouble, read_back, seen_in, trouble_alone
from append_prefill.workload.traffic import Traffic
from tests.run.bisection.runs import compared, comparison, leave

NAMES = ["a", "b", "c"]


def read(folder):
    return read_back(folder, NAMES, traffic=None, min_effect=0.015, must_catch=0.03)


def failed(run, text):
    """The run whose launches failed of `text`, both sides alike, as those of a pair do."""
    starts = [
        one.model_copy(update={"failure": text, "measured_s": None, "series": []})
        for one in run.starts[:2]
    ]
    return run.model_copy(update={"starts": starts, "verdict": "infrastructure"})


def test_an_empty_folder_knows_nothing(tmp_path):
    found = read(tmp_path)
    assert (found.made, found.compared, dict(found.troubles)) == ((), (), {})


def test_a_run_is_a_comparison_of_its_sides(tmp_path):
    leave(tmp_path, 1, compared("c", "a", 1.05))
    found = read(tmp_path)
    (made,) = found.made
    assert (made.earlier, made.later, made.folder) == ("a", "c", "runs/run-01")
    assert made.delta_ms == pytest.approx(1.0)
    assert made.seen == "slower"
    (one,) = found.compared
    assert (one.earlier, one.later) == (0, 2)
    assert one.log_ratio == pytest.approx(math.log(1.05))
    assert one.se == pytest.approx(0.02 / 1.96)


def test_the_later_one_may_have_been_the_reference(tmp_path):
    leave(tmp_path, 1, compared("a", "c", 0.8))
    (made,) = read(tmp_path).made
    assert made.size is not None
    assert made.size.ratio == pytest.approx(1.25)
    assert made.size.low < 1.25 < made.size.high
    assert made.delta_ms == pytest.approx(4.0)
    assert read(tmp_path).compared[0].log_ratio == pytest.approx(math.log(1.25))


def test_runs_of_something_else_are_left_alone(tmp_path):
    leave(tmp_path, 1, compared("z", "a", 1.05))
    leave(tmp_path, 2, compared("c", "a", 1.05).labelled("c"))
    assert read(tmp_path).made == ()


def test_who_did_not_start_is_blamed_by_its_log(tmp_path):
    text = (
        "the server ended with status 1\nLast lines of /x/reference-0.log:\n"
        "RuntimeError: no kernel\nReceived sigquit"
    )
    leave(tmp_path, 1, failed(compared("c", "b", None), text))
    found = read(tmp_path)
    trouble = found.troubles["b"]
    assert trouble.problem == "the server ended with status 1: RuntimeError: no kernel"
    assert trouble.log == "runs/run-01/reference-0.log"
    assert found.compared == ()
    assert found.made[0].seen is None


def test_whose_samples_prove_nothing_is_blamed(tmp_path):
    run = compared("c", "b", None, verdict="infrastructure")
    for start in run.starts:
        if start.side == "candidate":
            for series in start.series:
                series.void[0].count = 50
    leave(tmp_path, 1, run)
    assert list(read(tmp_path).troubles) == ["c"]
    assert "prove nothing" in read(tmp_path).troubles["c"].problem


def test_a_busy_machine_is_no_versions_fault(tmp_path):
    run = compared("c", "b", None, verdict="infrastructure")
    for start in run.starts:
        for series in start.series:
            series.void[0].reason = DEVICE_STATE if start.side == "candidate" else "retracted"
            series.void[0].count = 50 if start.side == "candidate" else 1
    leave(tmp_path, 1, run)
    found = read(tmp_path)
    assert dict(found.troubles) == {}
    assert found.made[0].size is None


def test_without_a_word_it_is_the_one_that_never_worked(tmp_path):
    leave(tmp_path, 1, compared("b", "a", 1.0))
    leave(tmp_path, 2, failed(compared("c", "b", None), "the page size is none"))
    assert list(read(tmp_path).troubles) == ["c"]


def test_where_nobody_can_be_blamed_it_says_so(tmp_path):
    leave(tmp_path, 1, failed(compared("c", "b", None), "the network is down"))
    with pytest.raises(InfrastructureError, match="runs/run-01: the comparison of c and b"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("ratio", "low", "high", "seen"),
    [
        (1.05, 1.02, 1.08, "slower"),
        (0.95, 0.93, 0.97, "faster"),
        (1.005, 1.001, 1.009, "alike"),
        (1.0, 0.98, 1.02, "alike"),
        (1.02, 0.99, 1.05, "cannot-tell"),
    ],
)
def test_what_one_comparison_shows(ratio, low, high, seen):
    assert seen_in(Size(ratio=ratio, low=low, high=high), 0.015, 0.03) == seen


def test_a_run_that_launched_nothing_is_no_comparison(tmp_path):
    leave(tmp_path, 1, compared("c", "b", None, starts=[], verdict="infrastructure"))
    assert read(tmp_path).made == ()


def test_an_experiment_in_other_traffic_is_compared_by_itself(tmp_path):
    run = compared("c", "a", 1.0)
    replied = Traffic(context="replied")
    result = TrafficResult(
        experiment="conversation", title="A conversation", context="replied", form="ids",
        company="alone", state="fresh", points=[], comparison=comparison(1.2),
    )  # fmt: skip
    assert result.traffic == replied
    leave(tmp_path, 1, run.model_copy(update={"traffic": [result]}))
    found = read_back(tmp_path, NAMES, traffic="conversation", min_effect=0.015, must_catch=0.03)
    assert found.made[0].seen == "slower"
    assert found.compared[0].log_ratio == pytest.approx(math.log(1.2))
    assert read(tmp_path).made[0].seen == "alike"


def test_who_proved_no_split_in_its_warm_up_is_blamed_though_both_are_new(tmp_path):
    text = f"reference b, launch 1: {NOTHING_VALID}. 3 of 3: wrong split"
    leave(tmp_path, 1, failed(compared("c", "b", None), text))
    assert read(tmp_path).troubles == {"b": Trouble(f"{NOTHING_VALID}. 3 of 3: wrong split")}


def test_a_side_alone(tmp_path):
    run = compared("a", "none", None, verdict="pass")
    run.starts = [start for start in run.starts if start.side == "candidate"][:1]
    assert trouble_alone(run, "tried/1") is None
    trouble = trouble_alone(failed(run, "the server ended\nOSError: ABI"), "tried/1")
    assert trouble == Trouble("the server ended: OSError: ABI", "tried/1/candidate-0.log")
    for nothing in ([], [run.starts[0].model_copy(update={"series": []})]):
        run.starts = nothing
        with pytest.raises(InfrastructureError, match="tried/1: nothing was measured"):
            trouble_alone(run, "tried/1")
