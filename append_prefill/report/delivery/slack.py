"""A message for Slack: Block Kit, as an incoming webhook or `chat.postMessage` takes it.

Foreign text is only ever in `plain_text` elements, which know neither links nor mentions.
"""

from __future__ import annotations

from typing import Any

from append_prefill.records.run import Run
from append_prefill.report import format as fmt
from append_prefill.report.delivery.account import account_of, status_line

# Slack's limits, https://docs.slack.dev/reference/block-kit/blocks: header 150, a section's text
# 3,000, ten fields of 2,000, ten elements of a context, 50 blocks. The account keeps below each.
HEADER_CHARACTERS = 150
# Of the line for notifications; Slack cuts it at 4,000 in a message that is sent as text alone.
_NOTICE_CHARACTERS = 1500


def to_slack(run: Run, baseline: Run | None = None) -> dict[str, Any]:
    """The message; `text` is what a notification and a screen reader say."""
    account = account_of(run, baseline)
    blocks = [
        {"type": "header", "text": _plain(fmt.shorten(account.title, HEADER_CHARACTERS))},
        {"type": "section", "text": _plain(account.sentence)},
        {"type": "section", "fields": [_plain(f"{k}\n{v}") for k, v in account.numbers]},
    ]
    if account.differences:
        more = [f"and {account.further} more, see the report"] if account.further else []
        rows = [f"{r.field}: {r.reference} → {r.candidate}" for r in account.differences]
        said = "\n".join(["What differs, reference → candidate:", *rows, *more])
        blocks.append({"type": "section", "text": _plain(said)})
    notes = [*account.warnings, account.exit_meaning]
    blocks.append({"type": "context", "elements": [_plain(note) for note in notes]})
    notice = fmt.shorten(status_line(run, baseline).strip(), _NOTICE_CHARACTERS)
    return {"text": _escaped(notice), "blocks": blocks}


def _plain(text: str) -> dict[str, Any]:
    # emoji: a name between colons stays one.
    return {"type": "plain_text", "text": text, "emoji": False}


def _escaped(text: str) -> str:
    """As Slack asks for in `text`: without what begins a link, a mention or an entity."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
