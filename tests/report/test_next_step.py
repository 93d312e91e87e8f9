"""What to do next follows from the verdict, as a command that can be copied."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from append_prefill.cli.main import parser
from append_prefill.plugin.options import declare_options
from append_prefill.records.confirmation import Confirmation
from append_prefill.records.grounds import FindingGround, Ground, RunWarning
from append_prefill.records.pd_pair import PairBackend, PairLaunch
from append_prefill.records.run import Run
from append_prefill.report.names import pytest_command, typed
from append_prefill.report.next_step import NextStep, Program, next_step_of, next_steps_of
from tests.report import samples
from tests.report.other_traffic import TOGETHER, TURNS, with_traffic


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("everywhere", "--seed 20261121"),
        ("suspected", "append-prefill confirm reports/latest"),
        ("improvement", "append-prefill baselines promote reports/latest --reason"),
        ("pass", "append-prefill baselines store reports/latest"),
        ("inconclusive", "--starts 14"),
        ("against-study", "append-prefill baselines store reports/latest"),
        ("not-comparable", "append-prefill baselines store reports/latest"),
        ("broken", "--seed 20261121"),
        ("infrastructure", "append-prefill doctor"),
        ("attached", "pytest -m append_prefill --sglang 0.5.23"),
        ("unjudged", "pytest -m append_prefill"),
    ],
)
def test_the_next_step_follows_from_the_verdict(name: str, command: str) -> None:
    run, _ = samples.SAMPLES[name]()
    step = next_step_of(run)
    assert step is not None
    assert command in step.command
    assert step.text.endswith(":")
    words = shlex.split(step.command)
    if words[0] == "append-prefill":
        parser().parse_args(words[1:])  # exits on a command that is none


def test_a_table_of_the_studys_has_no_next_step() -> None:
    assert next_step_of(samples.study_run()) is None


def test_where_sessions_are_not_known_both_sides_are_measured_at_once() -> None:
    run = samples.inconclusive()
    assert run.comparison is not None
    comparison = run.comparison.model_copy(
        update={"kind": "baseline", "reason": Ground(code="between-nights-unknown")}
    )
    step = next_step_of(run.model_copy(update={"comparison": comparison}))
    assert step is not None
    assert step.command.endswith("--against 0.5.22")


def test_an_option_that_is_given_anew_replaces_the_old() -> None:
    options = "--sglang 0.5.23 --starts 5 --seed=7 --baseline auto"
    run = samples.passing().model_copy(update={"suite": {"options": options}})
    assert pytest_command(run, starts=9, seed=8) == (
        "pytest -m append_prefill --sglang 0.5.23 --baseline auto --starts 9 --seed 8"
    )
    assert pytest_command(run) == f"pytest -m append_prefill {options}"


FOLDER = "reports/20261102-0.5.23"
OPTIONS = "--sglang 0.5.23 --seed 7 --baseline auto --server-arg=--page-size --dummy-weights"
TOX = Program(
    ("tox", "-e", "append_prefill", "--"), ".tox/append_prefill/bin/append-prefill", FOLDER
)


def steps(run: Run, program: Program = TOX, **changes: Any) -> list[NextStep]:
    options = changes.pop("options", OPTIONS)
    keepable = changes.pop("keepable", True)
    run = run.model_copy(update={"suite": {"version": "0", "options": options}, **changes})
    return next_steps_of(run, program, keepable=keepable)


def alone() -> Run:
    """Judged on its findings, with nothing to compare with."""
    return samples.broken().model_copy(update={"comparison": None, "verdict": "pass"})


def test_a_run_with_nothing_stored_is_to_be_kept_and_compared() -> None:
    keep, compare = steps(alone())
    assert "--save-baseline" in keep.text
    assert keep.command == f".tox/append_prefill/bin/append-prefill baselines store {FOLDER}"
    assert compare.command == f"tox -e append_prefill -- {OPTIONS} --against VERSION"
    assert "append-prefill env VERSION" in compare.text
    assert compare.text.startswith("Or compare with")
    _, at_hand = steps(alone(), Program(other="0.5.17"))
    assert at_hand.command.endswith("--against 0.5.17")
    assert "VERSION" not in at_hand.text


@pytest.mark.parametrize(
    ("verdict", "first"), [("inconclusive", "--starts 20"), ("broken", "--seed 20261121")]
)
def test_what_is_open_comes_before_what_is_not_there_to_compare_with(
    verdict: str, first: str
) -> None:
    found, keep, compare = steps(alone(), verdict=verdict)
    assert found.command.endswith(first)
    assert "baselines store" in keep.command
    assert "--against" in compare.command


@pytest.mark.parametrize("part", ["not keepable", "quick"])
def test_a_part_is_not_offered_as_a_baseline(part: str) -> None:
    quick = f"{OPTIONS} --quick"
    found = steps(alone(), options=quick) if part == "quick" else steps(alone(), keepable=False)
    (compare,) = found
    assert "--against" in compare.command
    assert compare.text.startswith("Compare with")  # no "or" where nothing stands before it


def test_what_a_quick_run_leaves_open_is_measured_whole() -> None:
    (whole,) = steps(samples.inconclusive(), options=f"{OPTIONS} --against 0.5.22 --quick")
    assert whole.command == f"tox -e append_prefill -- {OPTIONS} --against 0.5.22"


def test_an_interrupted_run_goes_on_where_it_was_cut_off() -> None:
    warning = RunWarning(code="interrupted", launches=5, usable_launches=2)
    for run in (samples.passing(), alone()):
        (step,) = steps(run, warnings=[warning])
        assert step.command.startswith("tox -e append_prefill -- --resume reports/")


def test_what_failed_amid_its_launches_is_to_be_measured_again() -> None:
    (step,) = steps(samples.passing(), verdict="infrastructure")
    assert step.command == f"tox -e append_prefill -- {OPTIONS}"
    # Where pairs of its plan are left to measure, only those are measured.
    (step,) = steps(samples.passing(), verdict="infrastructure", state={"unfinished": True})
    assert step.command == "tox -e append_prefill -- --resume reports/20261102-0.5.23"
    (step,) = steps(samples.infrastructure())
    assert step.command == ".tox/append_prefill/bin/append-prefill doctor"


def test_of_a_confirmed_regression_the_functions_are_asked_for_last() -> None:
    run, _ = samples.SAMPLES["everywhere"]()
    assert run.compared is not None
    assert run.compared.confirmed
    last = steps(run, Program(folder=FOLDER))[-1]
    assert last.text == "See which functions it is in:"
    assert last.command == f"append-prefill cause {FOLDER}"
    suspected, _ = samples.SAMPLES["suspected"]()
    for other in (suspected, samples.SAMPLES["improvement"]()[0], alone()):
        assert not any(" cause " in step.command for step in steps(other))


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_the_first_step_is_the_reports(name: str) -> None:
    run, _ = samples.SAMPLES[name]()
    assert next(iter(next_steps_of(run)), None) == next_step_of(run)


def test_every_option_keeps_its_value_in_the_command() -> None:
    """The options of a record, in the shape in which it keeps them."""
    flags: list[str] = []
    valued: list[str] = []

    def note(name: str, **settings: Any) -> None:
        (flags if settings.get("action") == "store_true" else valued).append(name)

    declare_options(note)
    words = [word for name in valued for word in (name, "3")] + flags
    assert shlex.split(typed(["run"], words, starts=9)) == [
        "run",
        *(word for name in valued if name != "--starts" for word in (name, "3")),
        *flags,
        *("--starts", "9"),
    ]


def confirmed(reference_version: str | None) -> Run:
    run = samples.everywhere()
    assert run.comparison is not None
    told = run.comparison.model_copy(update={"reference_version": reference_version})
    return run.model_copy(update={"comparison": told})


def test_what_is_confirmed_between_two_versions_is_bisected() -> None:
    run = confirmed("0.5.22")
    step, _ = steps(run)
    assert step.command == (
        f".tox/append_prefill/bin/append-prefill bisect 0.5.22..0.5.23 --from {FOLDER}"
    )
    parser().parse_args(shlex.split(step.command)[1:])


def test_between_one_version_and_itself_there_is_nothing_to_bisect() -> None:
    """Its arguments differ, or its commits: whether it stands is seen on other draws."""
    for version in ("0.5.23", None):
        step, _ = steps(confirmed(version))
        assert step.command.endswith("--seed 20261121")


def answered(run: Run, answer: str) -> Run:
    said = Confirmation(
        run="key", folder="again", at=run.created_at, answers={"points": answer}
    )  # fmt: skip
    return run.model_copy(update={"confirmations": [said]})


def test_what_was_taken_back_asks_for_nothing() -> None:
    assert next_step_of(answered(samples.suspected(), "withdrawn")) is None


def test_what_was_confirmed_is_bisected_like_what_was_found_side_by_side() -> None:
    run = answered(samples.suspected(), "confirmed")
    assert run.comparison is not None
    run.comparison.reference_version = "0.5.22"
    step = next_step_of(run)
    assert step is not None
    assert step.command == "append-prefill bisect 0.5.22..0.5.23 --from reports/latest"


def test_what_cannot_be_told_is_asked_again() -> None:
    step = next_step_of(answered(samples.suspected(), "undecided"))
    assert step is not None
    assert step.command == "append-prefill confirm reports/latest"


def test_a_command_again_answers_for_no_other_run() -> None:
    options = "--sglang 0.5.23 --confirms reports/then --seed 7"
    run = samples.passing().model_copy(update={"suite": {"options": options}})
    assert pytest_command(run) == "pytest -m append_prefill --sglang 0.5.23 --seed 7"


@pytest.mark.parametrize(
    ("heavy", "marker"),
    [
        ((False, False), "-m append_prefill "),
        ((True, True), "-m 'append_prefill and load' "),
        ((True, False), "-m 'append_prefill or load' "),
    ],
)
def test_heavy_traffic_is_asked_for_by_its_marker(heavy: tuple[bool, bool], marker: str) -> None:
    """Else its tests are left out, and a command that selects only them would measure nothing."""
    run = with_traffic(samples.passing(), lambda _, __: 1.3, experiments=(TURNS, TOGETHER))
    traffic = [
        result.model_copy(update={"heavy": one})
        for result, one in zip(run.traffic, heavy, strict=True)
    ]
    run = run.model_copy(update={"traffic": traffic})
    assert run.verdict == "regression"
    step = next_step_of(run)
    assert step is not None
    assert step.command.startswith(f"pytest {marker}")
    installed = next_steps_of(run, Program(run=("append-prefill", "run")))[0].command
    assert ("load" in installed) == any(heavy)


def test_a_pair_that_is_open_is_measured_again_alone_with_more_launches_of_its_own() -> None:
    """More of the launches beside it, or of other traffic, would tell nothing of it."""
    finding = samples.broken().findings[0]
    open_ = finding.model_copy(update={"id": "pd_pair_time", "verdict": "inconclusive"})
    launches = [PairLaunch(index=index, series=[]) for index in range(3)]
    pair = [
        PairBackend(backend="nixl", launches=launches),
        PairBackend(backend="mooncake", launches=[], reason="no module mooncake"),
    ]
    run = alone()
    points = [point.model_copy(update={"experiment": []}) for point in run.points]
    plan = run.plan.model_copy(update={"traffic": ["pd_pair"]})
    only = {"findings": [open_], "pd_pair": pair, "points": points, "plan": plan}
    (again,) = steps(run.model_copy(update=only), Program(), verdict="inconclusive")
    assert again.command == (
        f"pytest -m 'append_prefill and load' {OPTIONS} "
        "-k 'test_what_is_found_in_traffic_holds[pd_pair_time]' --starts 12"
    )
    # And so is one that is broken, with other draws.
    broken = only | {"findings": [open_.model_copy(update={"verdict": "broken"})]}
    (other,) = steps(run.model_copy(update=broken), Program(), verdict="broken")
    assert "-k 'test_what_is_found_in_traffic_holds[pd_pair_time]'" in other.command
    assert f"--seed {run.seed + 1}" in other.command
    assert "--starts 12" not in other.command
    # Beside what else was measured, that is what may be compared.
    with_points = only | {"points": run.points}
    found = steps(run.model_copy(update=with_points), Program(), verdict="inconclusive")
    assert found[0].command == again.command
    assert any("--against" in step.command for step in found[1:])


def test_where_nothing_applies_the_step_is_what_would_be_judged() -> None:
    """A pair that does not run here can be put right; what was not asked for has to be asked."""

    def of(code: str) -> list[NextStep]:
        ground = FindingGround.model_validate({"code": code})
        finding = samples.broken().findings[0]
        kept = [finding.model_copy(update={"verdict": "not-applicable", "reason": ground})]
        options = f"{OPTIONS} --experiment=pd_pair"
        pair = [PairBackend(backend="nixl", launches=[], reason="no module nixl")]
        made = alone().model_copy(update={"findings": kept, "pd_pair": pair})
        return steps(made, Program(), options=options, verdict="infrastructure")

    (again,) = of("no-pair")
    assert again.command == (f"pytest -m 'append_prefill or load' {OPTIONS} --experiment=pd_pair")
    (whole,) = of("not-planned")
    assert whole.command == f"pytest -m append_prefill {OPTIONS}"
