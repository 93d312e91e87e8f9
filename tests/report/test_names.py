"""A server that only speaks like SGLang is nowhere called SGLang."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from append_prefill.cli.main import main
from append_prefill.records.history import append_history
from append_prefill.records.run import Comparison, Run
from append_prefill.records.store import RUN_FILE, write_run
from append_prefill.report.headline import headline_of
from append_prefill.report.html import render_html
from append_prefill.report.markdown import render_markdown
from append_prefill.report.names import baseline_name, candidate_name, reference_name, sglang
from append_prefill.report.terminal import summary_lines
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


def test_report_summary_and_terminal_do_not_call_it_sglang(tmp_path: Path) -> None:
    run = simulated(samples.regression())
    claim = f"SGLang {run.version}"
    assert headline_of(run).sentence.startswith("The simulated server is ")
    page = render_html(run)
    summary = render_markdown(run)
    for text in (page, summary, "\n".join(summary_lines(run, tmp_path, None))):
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
    folder = tmp_path / "run"
    folder.mkdir()
    path = str(write_run(run, folder / RUN_FILE))
    append_history(run, folder)
    status = main(
        {
            "history": ["history", "--report-dir", str(tmp_path)],
            "compare": ["compare", path, path],
            "show": ["baselines", "show", path],
        }[command]
    )
    text, problem = capsys.readouterr()
    assert status in (0, 1, 8), problem
    assert "simulated server" in text
    assert "planted" not in text
    assert f"SGLang {run.version}" not in text
