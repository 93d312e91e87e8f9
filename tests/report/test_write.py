from __future__ import annotations

from pathlib import Path

from append_prefill.report.write import write_reports
from tests.report import parts, samples


def test_both_files_are_written_and_the_summary_names_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "now"
    written = write_reports(samples.passing(), folder, profile=parts.profile())
    assert set(written) == {"report.html", "summary.md"}
    page, summary = written["report.html"], written["summary.md"]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert str(page) in summary.read_text(encoding="utf-8")
    assert {p.name for p in folder.iterdir()} == set(written)


def test_writing_again_replaces(tmp_path: Path) -> None:
    write_reports(samples.passing(), tmp_path, profile=None)
    written = write_reports(samples.infrastructure(), tmp_path, profile=None)
    assert "infrastructure" in written["report.html"].read_text(encoding="utf-8")
