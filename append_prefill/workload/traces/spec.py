"""What a profile says of a trace: `[experiments.trace]`."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from append_prefill.errors import UsageError
from append_prefill.workload.traces.read import read_trace
from append_prefill.workload.traces.rows import OPTION
from append_prefill.workload.traces.shapes import ShapeName, generated
from append_prefill.workload.traces.trace import Trace, drawn, fitted, scaled

CONVERSATIONS = 20
"""Unless more are asked for: some 600 turns of an agent, so that the 99th percentile of what is
drawn is a turn that is there."""

TURNS_MAX = 50
"""Turns of a conversation at most, unless more are asked for: with 30 in the middle of published
agentic traces, most conversations are whole."""

SCALE_MAX = 1000.0
"""Of tokens and of waits: the shortest prompts then fill a long context, and a second of waiting is
a quarter of an hour. Beyond is a slip of the keyboard."""


class TraceSpec(BaseModel):
    """A trace out of a file, or drawn from a published shape (`generator`).

    `conversations` of it, drawn from `seed` where a file has more; each with `turns_max` turns at
    most. `token_scale` multiplies every number of tokens, so that a small model can replay the
    shape of a long one; `time_scale` every wait, 0 leaving none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    file: str | None = None
    generator: ShapeName | None = None
    conversations: int = Field(default=CONVERSATIONS, ge=1)
    turns_max: int = Field(default=TURNS_MAX, ge=2)
    token_scale: float = Field(default=1.0, gt=0, le=SCALE_MAX)
    time_scale: float = Field(default=1.0, ge=0, le=SCALE_MAX)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _has_one_source(self) -> TraceSpec:
        if (self.file is None) == (self.generator is None):
            raise ValueError("a trace has a file or a generator")
        return self


def load(spec: TraceSpec, *, folder: Path, total_tokens: int | None = None) -> Trace:
    """The conversations of a spec, none longer than `total_tokens`, and what was cut.

    `folder`: what `file` is relative to. Raises UsageError where the file is not to be read as a
    trace, or no conversation fits.
    """
    if spec.generator is not None:
        trace = generated(spec.generator, spec.conversations, spec.seed)
        name: object = spec.generator
    else:
        name = path = folder / str(spec.file)
        trace = drawn(read_trace(path), spec.conversations, spec.seed)
    trace = scaled(trace, tokens=spec.token_scale, time=spec.time_scale)
    whole = trace.conversations
    trace = fitted(trace, turns_max=spec.turns_max, total_tokens=total_tokens)
    if not trace.conversations:
        shortest = min(
            sum(turn.append_tokens + turn.reply_tokens for turn in conversation.turns[:2])
            for conversation in whole
        )
        raise UsageError(
            OPTION,
            name,
            f"has no conversation whose first two turns fit {total_tokens} tokens; the shortest "
            f"takes {shortest}.",
            "Scale it down (token_scale, --token-scale).",
        )
    return trace
