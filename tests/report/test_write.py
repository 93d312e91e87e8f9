from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from append_prefill.report.headline import headline_of
from append_prefill.report.write import FILES, rendered, write_reports
from tests.report import parts, samples


def test_all_files_are_written_and_the_summary_names_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "now"
    written = write_reports(samples.passing(), folder, profile=parts.profile())
    assert set(written) == {"report.html", "summary.md", "routing.json"}
    page, summary = written["report.html"], written["summary.md"]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert str(page) in summary.read_text(encoding="utf-8")
    assert {p.name for p in folder.iterdir()} == set(written)


def test_a_commands_run_is_the_folder_and_not_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tomorrow the page is still about this run, and `latest` is not."""
    monkeypatch.chdir(tmp_path)
    home, elsewhere = tmp_path / "reports" / "now", tmp_path / "out"
    home.mkdir(parents=True)
    latest = home.with_name("latest")
    latest.symlink_to(home.name)
    for folder, of in ((home, None), (latest, None), (elsewhere, home)):
        written = write_reports(samples.suspected(), folder, profile=None, home=of)
        for name in ("report.html", "summary.md"):
            text = html.unescape(written[name].read_text(encoding="utf-8"))
            assert "append-prefill confirm reports/now" in text
            assert "confirm reports/latest" not in text
    away = write_reports(samples.suspected(), elsewhere, profile=None)["summary.md"]
    assert "append-prefill confirm out" in away.read_text(encoding="utf-8")
    monkeypatch.chdir(home)
    away = write_reports(samples.suspected(), elsewhere, profile=None)["summary.md"]
    assert f"append-prefill confirm {elsewhere}" in away.read_text(encoding="utf-8")


def test_writing_again_replaces(tmp_path: Path) -> None:
    write_reports(samples.passing(), tmp_path, profile=None)
    written = write_reports(samples.infrastructure(), tmp_path, profile=None)
    assert "infrastructure" in written["report.html"].read_text(encoding="utf-8")


def test_every_format_has_its_file(tmp_path: Path) -> None:
    formats = tuple(reversed(FILES))
    written = write_reports(samples.passing(), tmp_path, profile=None, formats=formats)
    assert sorted(written) == sorted(FILES.values())
    assert str(written["report.html"]) in written["summary.md"].read_text(encoding="utf-8")
    assert written["samples.csv"].read_text(encoding="utf-8").startswith("side,launch,")
    for name in ("bencher.json", "pytest-benchmark.json", "slack.json", "teams.json"):
        assert json.loads(written[name].read_text(encoding="utf-8"))


def test_every_message_says_the_headlines_sentence() -> None:
    run = samples.regression()
    sentence = headline_of(run).sentence
    for name in ("html", "md", "status", "github-summary", "pr-comment", "slack", "teams"):
        text = html.unescape(rendered(name, run, None, None, home=Path("reports/now")))
        if name in ("slack", "teams"):
            text = json.dumps(json.loads(text), ensure_ascii=False)
        plain = re.sub(r"<[^>]*>|\*\*|\\(?=[^\w])", "", text)
        assert " ".join(sentence.split()) in " ".join(plain.split()), name


def test_the_summary_alone_names_no_page_that_is_not_there(tmp_path: Path) -> None:
    written = write_reports(samples.passing(), tmp_path, profile=None, formats=["md"])
    assert "Full report" not in written["summary.md"].read_text(encoding="utf-8")
