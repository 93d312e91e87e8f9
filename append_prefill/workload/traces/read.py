"""A user's file as a trace; its format is told by its content."""

from __future__ import annotations

from pathlib import Path

from append_prefill.errors import UsageError
from append_prefill.workload.traces.chats import read_agentic, read_chats, read_sessions
from append_prefill.workload.traces.mooncake import read_mooncake
from append_prefill.workload.traces.rows import OPTION, Row, rows_of
from append_prefill.workload.traces.trace import Trace

_KNOWN = (
    "Known are the Mooncake format (input_length), AIPerf's multi-turn (turns), SGLang's "
    "agentic-trace (conversations of turns with messages), and chats (messages or conversations)."
)
# Keys that a chat does not have: one may have a timestamp, and its messages as `conversation`.
_OF_MOONCAKE = {
    "input_length",
    "text_input",
    "hash_ids",
    "message_mode",
    "session_id",
    "output_length",
}


def read_trace(path: Path) -> Trace:
    """The conversations of a file.

    Raises UsageError, with the line where there is one, for a file that cannot be read, of no
    known format, malformed, or without a conversation of two turns.
    """
    rows = rows_of(path)
    if not rows:
        raise UsageError(OPTION, path, "has no entries.", _KNOWN)
    trace = _read(rows)
    if not trace.conversations:
        single = trace.left_out.single_requests
        raise UsageError(
            OPTION,
            path,
            f"has no conversation of two turns, only {single} requests on their own "
            f"({trace.source}).",
            "Requests belong together by session_id, or by hash_ids of which one begins with "
            "the full blocks of an earlier one.",
        )
    return trace


def _read(rows: list[Row]) -> Trace:
    first = rows[0]
    keys = set(first.value) if isinstance(first.value, dict) else set()
    if len(rows) == 1 and _is_agentic(first):
        return read_agentic(first)
    if "turns" in keys:
        return read_sessions(rows)
    if keys & _OF_MOONCAKE:
        return read_mooncake(rows)
    if not keys & {"messages", "conversations", "conversation"}:
        first.refuse("is of no known format.", _KNOWN)
    return read_chats(rows)


def _is_agentic(row: Row) -> bool:
    """ShareGPT has messages where the agentic trace has lists of turns."""
    conversations = row.value.get("conversations") if isinstance(row.value, dict) else None
    return isinstance(conversations, list) and all(isinstance(c, list) for c in conversations)
