"""Messages of a chat, in OpenAI's spelling (`role`, `content`) or ShareGPT's (`from`, `value`)."""

from __future__ import annotations

import json
from typing import Any

from pydantic import AliasChoices, Field

from append_prefill.workload.traces.rows import Fields

_REPLYING = {"assistant", "gpt", "chatgpt", "model"}
"""Roles whose messages the model made."""


class Part(Fields):
    """A part of a message's content; one that is no text has none."""

    text: str = ""


class Message(Fields):
    """One message; its text counts, and the tool calls that a template writes out."""

    role: str = Field(validation_alias=AliasChoices("role", "from"))
    content: str | list[Part] | None = Field(
        default=None, validation_alias=AliasChoices("content", "value")
    )
    tool_calls: list[dict[str, Any]] | None = None

    @property
    def is_reply(self) -> bool:
        return self.role in _REPLYING

    @property
    def characters(self) -> int:
        text = self.content or ""
        count = len(text) if isinstance(text, str) else sum(len(part.text) for part in text)
        return count + (len(json.dumps(self.tool_calls)) if self.tool_calls else 0)
