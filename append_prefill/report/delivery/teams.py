"""A message for Microsoft Teams: an Adaptive Card in the envelope that a workflow's webhook takes.

Foreign text is only ever in text runs, which know no Markdown; a `TextBlock` would read it as such.
"""

from __future__ import annotations

from typing import Any

from append_prefill.records.run import Run
from append_prefill.report.delivery.account import Account, account_of
from append_prefill.report.words import Tone

VERSION = "1.5"
"""Of the Adaptive Card schema, the newest that Teams shows on every device."""

MESSAGE_BYTES = 28_000
"""What Teams takes from a webhook is 28 KB."""

_COLOURS: dict[Tone, str] = {
    "bad": "attention",
    "infra": "attention",
    "unsure": "warning",
    "good": "good",
    "better": "good",
    "plain": "default",
}


def to_teams(run: Run, baseline: Run | None = None) -> dict[str, Any]:
    """The message with the one card."""
    account = account_of(run, baseline)
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": VERSION,
        "fallbackText": f"{account.title}: {account.sentence}",
        "body": _body(account),
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "attachments": [attachment]}


def _body(account: Account) -> list[dict[str, Any]]:
    title = {"size": "large", "weight": "bolder", "color": _COLOURS[account.verdict.tone]}
    body = [_text((account.title, title)), _text((account.sentence, {}))]
    body += [
        _text((f"{what} ", {"weight": "bolder"}), (value, {})) for what, value in account.numbers
    ]
    if account.differences:
        body.append(_text(("What differs, reference → candidate", {"weight": "bolder"})))
        body += [
            _text((f"{row.field}: {row.reference} → {row.candidate}", {}))
            for row in account.differences
        ]
    if account.further:
        body.append(_text((f"and {account.further} more, see the report", {})))
    body += [
        _text((note, {"isSubtle": True, "size": "small"}))
        for note in (*account.warnings, account.exit_meaning)
    ]
    return body


def _text(*runs: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    inlines = [{"type": "TextRun", "text": text, **style} for text, style in runs]
    return {"type": "RichTextBlock", "inlines": inlines}
