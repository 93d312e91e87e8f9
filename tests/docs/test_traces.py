"""docs/traces.md quotes what `append-prefill trace` prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from append_prefill.cli.main import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "traces.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    return re.findall(r"^\$ append-prefill (trace generate .*)$", PAGE, re.MULTILINE)


def printed(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(re.sub(r" --out \S+", "", command).split()) == 0
    return capsys.readouterr().out.replace("\N{NARROW NO-BREAK SPACE}", ",").replace("\xa0", " ")


def test_an_agents_numbers_are_quoted_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    _, hundred = commands()
    out = printed(hundred, capsys)
    assert re.search(r"^agentic: .*$", out, re.MULTILINE).group() in PAGE  # type: ignore[union-attr]
    quoted = re.search(r"conversations take ([\d,]+) tokens in the median and ([\d,]+) at", PAGE)
    assert quoted is not None
    for number in quoted.groups():
        assert number in out


def test_a_scaled_traces_numbers_are_quoted_as_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nano, _ = commands()
    rows = {
        cells[0].strip(): [cell.strip() for cell in cells[1:]]
        for line in printed(nano, capsys).splitlines()
        if len(cells := line.split("│")) == 5
    }
    assert "take some 2,800 of a pool of 4,096, and m is 25 in the median" in PAGE
    assert round(int(rows["tokens of a conversation"][0]), -2) == 2800
    assert int(rows["m, new tokens of a turn"][0]) == 25
