"""A server that only speaks like SGLang is nowhere called SGLang."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from append_prefill.cli.main import main
from append_prefill.records.comparison import Comparison
from append_prefill.records.run import Run
from append_prefill.records.store import RUN_FILE, write_run
from append_prefill.report.headline import headline_of
from append_prefill.report.html import render_html
from append_prefill.report.markdown import render_markdown
from append_prefill.report.names import (
    baseline_name,
    candidate_name,
    kind_words,
    reference_name,
    sglang,
)
from append_prefill.report.next_step import Program
from append_prefill.report.terminal import last_lines, summary_lines
from append_prefill.run.history import add_run
from tests.records import builders
from tests.report import samples

DEVICE = {"device_kind": "planted", "device": "planted"}


def simulated(run: Run, **differing: list[Any]) -> Run:
    comparison = run.comparison
    if comparison is not None and differing:
        comparison = comparison.model_copy(update={"differing": differing})
    return run.model_copy(update={"identity": run.identity | DEVICE, "comparison": comparison})


def compared(run: Run) -> Comparison:
    assert run.comparison is not None
    return run.comparison


def test_a_simulated_server_is_no_version_of_sglang() -> None:
    real = samples.regression()
    assert sglang(candidate_name(real)) == f"SGLang {real.version}"
    run = simulated(real)
    assert candidate_name(run) == "simulated server"
    assert sglang(candidate_name(run)) == "the simulated server"
    assert sglang(baseline_name(run)) == f"simulated server {run.version}"
    assert baseline_name(real) == real.version


def test_its_reference_is_simulated_unless_it_is_the_studys_or_another_devices() -> None:
    real = samples.regression()
    label = compared(real).reference
    run = simulated(real)
    assert reference_name(compared(real), real) == label
    assert reference_name(compared(run), run) == f"simulated server {label}"
    assert sglang(f"simulated server {label}") == f"simulated server {label}"
    elsewhere = simulated(real, device_kind=["planted", "cuda"])
    assert reference_name(compared(elsewhere), elsewhere) == label
    of_study = compared(run).model_copy(update={"provenance": "study"})
    assert reference_name(of_study, run) == label
    same = compared(run).model_copy(update={"reference_version": run.version})
    assert reference_name(same, run) == f"simulated server {label} (reference)"


def test_the_last_runs_and_how_a_reference_came_to_be_one_are_said() -> None:
    run = samples.regression()
    made = compared(run)
    assert kind_words(made) == "side by side"
    stored = made.model_copy(update={"kind": "baseline"})
    assert kind_words(stored) == "stored"
    assert kind_words(stored.model_copy(update={"role": "pinned"})) == "pinned"
    assert kind_words(stored.model_copy(update={"provenance": "study"})) == "the study's table"
    rolling = stored.model_copy(update={"role": "rolling", "reference_version": run.version})
    assert kind_words(rolling) == "earlier runs here"
    assert reference_name(rolling, run) == f"{made.reference} (the last runs)"


def last_and_summary(run: Run) -> list[str]:
    """What the terminal shows of a run."""
    return [*summary_lines(run, None), *last_lines(run, Program(), keepable=True)]


def labelled(run: Run, **labels: str) -> Run:
    comparison = compared(run)
    if "against_label" in labels:
        comparison = comparison.model_copy(update={"reference": labels["against_label"]})
    return run.model_copy(update={"suite": run.suite | labels, "comparison": comparison})


def test_a_side_is_called_as_the_user_does() -> None:
    run = labelled(samples.regression(), label="main", against_label="before")
    assert candidate_name(run) == "main"
    assert reference_name(compared(run), run) == "before"
    assert baseline_name(run) == "main"
    # A version among labels is still the product's.
    assert sglang("0.5.23-patched") == "SGLang 0.5.23-patched"
    of_simulated = simulated(run)
    assert candidate_name(of_simulated) == "simulated server main"
    assert reference_name(compared(of_simulated), of_simulated) == "simulated server before"


def test_sides_of_one_version_are_told_apart_by_their_labels() -> None:
    run = samples.regression()
    same = compared(run).model_copy(update={"reference_version": run.version})
    run = run.model_copy(update={"comparison": same})
    assert reference_name(same, run).endswith(" (reference)")
    one = labelled(run, label="with chunks of 4096")
    assert not reference_name(compared(one), one).endswith(" (reference)")
    # What a label is not, a record can hold all the same.
    both = labelled(run, label="main", against_label="main")
    assert reference_name(compared(both), both) == "main (reference)"


def test_names_of_a_record_are_one_line_whatever_they_hold(tmp_path: Path) -> None:
    evil = "\x1b[2J\nnext " * 100_000
    run = labelled(samples.regression(), label=evil, against_label=f"{evil}!")
    for name in (candidate_name(run), reference_name(compared(run), run), baseline_name(run)):
        assert len(name) <= 1100
        assert name.isprintable()
    for text in (
        headline_of(run).sentence,
        render_html(run),
        render_markdown(run),
        "\n".join(last_and_summary(run)),
    ):
        assert "\x1b" not in text
        assert len(text) < 1_000_000


def test_report_summary_and_terminal_do_not_call_it_sglang(tmp_path: Path) -> None:
    run = simulated(samples.regression())
    claim = f"SGLang {run.version}"
    assert headline_of(run).sentence.startswith("The simulated server is ")
    page = render_html(run)
    summary = render_markdown(run)
    for text in (page, summary, "\n".join(last_and_summary(run))):
        assert claim not in text
        assert "simulated server" in text
    assert claim in render_html(samples.regression())


@pytest.mark.parametrize("command", ["history", "compare", "show"])
def test_commands_do_not_call_it_sglang(
    command: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    run = simulated(builders.run())
    if command == "history":
        run.comparison = samples.passing().comparison
    folder = tmp_path / "run"
    folder.mkdir()
    path = str(write_run(run, folder / RUN_FILE))
    add_run(run, folder)
    status = main(
        {
            "history": ["history", "--report-dir", str(tmp_path)],
            "compare": ["compare", path, path],
            "show": ["baselines", "show", path],
        }[command]
    )
    text, problem = capsys.readouterr()
    assert status in (0, 1, 8), problem
    assert text.count("simulated server") > (command == "history")  # there both sides are named
    assert "planted" not in text
    assert f"SGLang {run.version}" not in text
