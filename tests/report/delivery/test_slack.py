"""Slack's message, held against the limits that its own SDK and documentation name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from slack_sdk.models.blocks import Block

from append_prefill.report.delivery.slack import to_slack
from append_prefill.report.headline import headline_of
from tests.report import samples
from tests.report.delivery.messages import RUNS

# https://docs.slack.dev/reference/block-kit/blocks
BLOCKS, SECTION, FIELDS, FIELD, ELEMENTS, HEADER = 50, 3000, 10, 2000, 10, 150


def problems_of(message: dict[str, Any]) -> list[str]:
    """What Slack would refuse; its SDK checks most, and not how long fields and elements are."""
    found = []
    blocks = message["blocks"]
    if not 0 < len(blocks) <= BLOCKS:
        found.append(f"{len(blocks)} blocks")
    for block in Block.parse_all(blocks):
        block.validate_json()
    for block in blocks:
        texts = [
            (block.get("text"), HEADER if block["type"] == "header" else SECTION),
            *((field, FIELD) for field in block.get("fields", [])),
            *((element, SECTION) for element in block.get("elements", [])),
        ]
        for text, limit in texts:
            if text is not None and not 0 < len(text["text"]) <= limit:
                found.append(f"{block['type']}: {len(text['text'])} characters")
            if text is not None and text["type"] != "plain_text":
                found.append("formatted text")
        if len(block.get("fields", [])) > FIELDS or len(block.get("elements", [])) > ELEMENTS:
            found.append("too many of them")
    return found


@pytest.mark.parametrize("name", RUNS)
def test_it_is_what_slack_takes(name: str) -> None:
    message = json.loads(json.dumps(to_slack(RUNS[name]), allow_nan=False))
    assert set(message) == {"text", "blocks"}
    assert problems_of(message) == []
    # Of the line for notifications, whose text may be formatted.
    assert 0 < len(message["text"]) <= 4000
    assert "<" not in message["text"]
    assert message["blocks"][1]["text"]["text"][:40] in headline_of(RUNS[name]).sentence.replace(
        "\x1b", "\N{REPLACEMENT CHARACTER}"
    )


def test_the_checks_can_fail() -> None:
    good = to_slack(samples.regression())
    long = {"type": "plain_text", "text": "x" * 3001}
    for block in (
        {"type": "section", "fields": [long]},
        {"type": "context", "elements": [long]},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "<!here>"}]},
    ):
        assert problems_of({"blocks": [*good["blocks"], block]})
    assert problems_of({"blocks": good["blocks"] * 20})
    with pytest.raises(Exception, match="cannot exceed"):
        problems_of({"blocks": [{"type": "section", "text": long}]})


def test_it_names_what_differs() -> None:
    texts = json.dumps(to_slack(samples.regression()), ensure_ascii=False)
    assert "SGLang: 0.5.22 → 0.5.23" in texts
    assert "What differs" not in json.dumps(to_slack(samples.broken()))
