"""A hostile `run.json` for every command that reads one: a line that names it, exit status 4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from append_prefill.cli.main import main
from append_prefill.records.run import Run
from tests.records import builders

COMMANDS = {
    "compare A": ("compare", "{hostile}", "{sound}"),
    "compare B": ("compare", "{sound}", "{hostile}"),
    "report": ("report", "{hostile}"),
    "report --baseline": ("report", "{sound}", "--baseline", "{hostile}"),
    "baselines show": ("baselines", "show", "{hostile}"),
    "baselines store": ("baselines", "store", "{hostile}"),
    "baselines promote": ("baselines", "promote", "{hostile}"),
    "noise": ("noise", "--runs", "{hostile}", "{sound}"),
    "plan": ("plan", "--like", "{hostile}"),
    "bisect": ("bisect", "--from", "{hostile}"),
}


def data(**changes: Any) -> dict[str, Any]:
    return builders.run().model_dump(mode="json", by_alias=True) | changes


def with_time(value: Any) -> dict[str, Any]:
    found = data()
    found["starts"][0]["series"][0]["ttft_ms"][0] = value
    return found


def with_a_point_twice() -> dict[str, Any]:
    found = data()
    series = found["starts"][0]["series"]
    series.append(series[0])
    return found


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "cut short": json.dumps(data()).encode()[:5000],
    "a list": b"[]",
    "HTML": b"<html><script>alert(1)</script></html>",
    "no UTF-8": b"\xff\xfe{}",
    "deep": b"[" * 100_000,
    "digits": b'{"schema": "append-prefill/run/2", "seed": ' + b"9" * 5000 + b"}",
    "another schema": json.dumps(data(schema="append-prefill/run/99")).encode(),
    "escapes for a schema": json.dumps(data(schema="\x1b[31m<b>" + "x" * 1_000_000)).encode(),
    "NaN": json.dumps(with_time(float("nan"))).encode(),
    "negative": json.dumps(with_time(-1.0)).encode(),
    "a word for a time": json.dumps(with_time("\x1b[2J<script>")).encode(),
    "times in ns": json.dumps(with_time(2e10)).encode(),
    "a key with escapes": json.dumps(data(**{"\x1b[2J": 1})).encode(),
    "a point twice in a launch": json.dumps(with_a_point_twice()).encode(),
    "two launches of one index": json.dumps(data(starts=data()["starts"][:1] * 2)).encode(),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sound.json").write_text(builders.run().model_dump_json(by_alias=True))
    return tmp_path


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_named_in_a_line(folder, capsys, command, hostile) -> None:
    path = folder / "hostile.json"
    path.write_bytes(HOSTILE[hostile])
    given = [w.format(hostile=path, sound=folder / "sound.json") for w in COMMANDS[command]]
    assert main(given) == 4
    said = capsys.readouterr().err
    assert "hostile.json" in said
    assert len(said) < 2000
    assert "Traceback" not in said
    assert "\x1b" not in said


def test_the_sound_one_is_one() -> None:
    Run.model_validate(data())
