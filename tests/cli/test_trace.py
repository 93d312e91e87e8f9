"""`append-prefill trace`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from append_prefill.cli.main import main


def test_what_is_generated_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.jsonl"
    generate = ["trace", "generate", "agentic", "--conversations", "5", "--token-scale", "0.03"]
    assert main([*generate, "--total-tokens", "4096", "--out", str(path), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["conversations"] == 5
    assert made["source"] == "agentic"
    assert main(["trace", "show", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    for quantity in ("turns", "append_tokens", "reply_tokens", "cache_rate"):
        assert shown[quantity] == made[quantity]


def test_a_table_says_what_was_cut(capsys: pytest.CaptureFixture[str]) -> None:
    generate = ["trace", "generate", "agentic", "--conversations", "3", "--turns-max", "2"]
    assert main(generate) == 0
    out = capsys.readouterr().out
    assert "agentic: 3 conversations, 6 turns, cache rate" in out
    assert "m, new tokens of a turn" in out
    assert "turns cut." in out
    assert "conversations too long" not in out


def test_a_file_of_texts_says_that_it_is_estimated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text('{"turns": [{"text": "a"}, {"text": "b"}]}\n')
    assert main(["trace", "show", str(path)]) == 0
    assert "one in four characters" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "none.jsonl"], "--trace none.jsonl: cannot be read"),
        (["generate", "chat", "--conversations", "0"], "--conversations 0: "),
        (["generate", "chat", "--turns-max", "1"], "--turns-max 1: "),
        (["generate", "chat", "--token-scale", "0"], "--token-scale 0.0: "),
        (["generate", "chat", "--time-scale", "nan"], "--time-scale nan: "),
        (["generate", "chat", "--seed", "-1"], "--seed -1: "),
        (["generate", "chat", "--out", "/none/trace.jsonl"], "--out /none/trace.jsonl: cannot"),
        (["generate", "agentic", "--total-tokens", "4096"], "--trace agentic: has no conversation"),
    ],
)
def test_what_cannot_be_honoured_is_named(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", *arguments]) == 4
    assert said in capsys.readouterr().err
