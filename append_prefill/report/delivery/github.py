"""Markdown for GitHub: a job's summary, and a comment on a pull request that a bot can update."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from append_prefill.records.run import Run
from append_prefill.report.delivery.account import Account, account_of
from append_prefill.report.history.note import HistoryNote
from append_prefill.report.markdown import Part, escape, joined, parts_of, table

MARKER = "<!-- append-prefill -->"
"""By this line a bot finds the comment it wrote before."""

COMMENT_BYTES = 65_536
"""What GitHub takes is that many characters. Bytes are never fewer, so this holds either way."""

SUMMARY_BYTES = 1_048_576
"""GitHub's limit for what one step may add to a job's summary."""

_LEFT_OUT = "<sub>Too long to be shown here, see the report: {}.</sub>"
# Room for that sentence with the name of every part in it.
_RESERVE_BYTES = 300
_FOLDED = {
    "findings": "Findings",
    "points": "Points",
    "traffic": "Other traffic",
    "routing": "Where to prefill",
}
# `code` of our own; a backtick of somebody else's is escaped.
_CODE = re.compile(r"(?<!\\)(`[^`]*`)")
# GitHub looks for names and numbers after the Markdown is read, so a backslash does not hide them.
_CALL = re.compile(r"([@#])(?=\w)")


def to_github_summary(
    run: Run, baseline: Run | None = None, history: HistoryNote | None = None
) -> str:
    """For `$GITHUB_STEP_SUMMARY`: `summary.md`, without the path of a page on the runner."""
    account = account_of(run, baseline)
    verdict, *rest = parts_of(run, history=history)
    return _fitted([verdict, _differences(account), *rest], _short(account), SUMMARY_BYTES)


def to_pr_comment(run: Run, baseline: Run | None = None, history: HistoryNote | None = None) -> str:
    """For a comment: `MARKER`, verdict and sentence, then tables to unfold; it notifies nobody."""
    account = account_of(run, baseline)
    verdict, *rest = parts_of(run, history=history)
    marked = replace(verdict, text=f"{MARKER}\n{verdict.text}")
    parts = [marked, _differences(account), *(_folded(part) for part in rest)]
    return _fitted(
        [replace(part, text=_without_calls(part.text)) for part in parts],
        f"{MARKER}\n{_without_calls(_short(account))}",
        COMMENT_BYTES,
    )


def _fitted(parts: Sequence[Part], short: str, limit_bytes: int) -> str:
    """The parts that fit, the others by name; `short` is for a first part that does not."""
    kept, left_out = [], []
    room = limit_bytes - _RESERVE_BYTES - len(short.encode())
    for part in parts:
        taken = len(part.text.encode()) + 2
        if taken <= room:
            kept.append(part)
            room -= taken
        else:
            left_out.append(part.name)
    if parts[0].name in left_out:
        kept.insert(0, Part(parts[0].name, short))
    if left_out:
        kept.append(Part("left out", _LEFT_OUT.format(", ".join(left_out))))
    return joined(kept)


def _short(account: Account) -> str:
    return f"## {account.title}\n\n**{escape(account.sentence)}**"


def _differences(account: Account) -> Part:
    if not account.differences:
        return Part("differences", "")
    rows = [
        [escape(cell) for cell in (row.field, row.reference, row.candidate)]
        for row in account.differences
    ]
    more = f"\n\n<sub>and {account.further} more, see the report</sub>" if account.further else ""
    header = ["What differs", "Reference", "Candidate"]
    return Part("differences", f"{table(header, set(), rows)}{more}")


def _folded(part: Part) -> Part:
    title = _FOLDED.get(part.name)
    if title is None or not part.text:
        return part
    folded = f"<details><summary>{title}</summary>\n\n{part.text}\n\n</details>"
    return replace(part, text=folded)


def _without_calls(text: str) -> str:
    """`text` so that no `@name` is told of it and no `#1` is linked with it; code stays."""
    pieces = _CODE.split(text)
    return "".join(
        piece if at % 2 else _CALL.sub("\\1\N{ZERO WIDTH SPACE}", piece)
        for at, piece in enumerate(pieces)
    )
