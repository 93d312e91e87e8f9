"""Conversations for the properties of traces, and files of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from append_prefill.workload.conversation import Conversation, Turn


def conversations(opening_min: int = 1) -> st.SearchStrategy[Conversation]:
    """Of waits in whole milliseconds, which the Mooncake format is written in."""
    tokens = st.one_of(st.integers(1, 40), st.integers(1, 3000))
    waits_s = st.integers(0, 10_000).map(lambda ms: ms / 1000)
    return st.builds(
        lambda opening, later: Conversation((opening, *later)),
        st.builds(Turn, st.integers(opening_min, opening_min + 3000), tokens),
        st.lists(st.builds(Turn, tokens, tokens, waits_s), min_size=1, max_size=8),
    )


def lines_of(rows: Iterable[Any]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def written(folder: Path, text: str) -> Path:
    path = folder / "trace.jsonl"
    path.write_text(text, encoding="utf-8")
    return path
