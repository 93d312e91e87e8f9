"""What to do next follows from the verdict, as a command that can be copied."""

from __future__ import annotations

import shlex

import pytest

from append_prefill.cli.main import parser
from append_prefill.records.grounds import Ground
from append_prefill.report.names import pytest_command
from append_prefill.report.next_step import next_step_of
from tests.report import samples


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("everywhere", "--seed 20261121"),
        ("suspected", "--against 0.5.22"),
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
