"""An experiment in other traffic than the default: what a profile's `[[traffic]]` may say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from append_prefill.errors import UsageError
from append_prefill.workload.boundary import TEXT_TOKENS_MIN
from append_prefill.workload.conversation import Conversation, Turn
from append_prefill.workload.experiment import Argument, Id, Strict
from append_prefill.workload.points import Point
from append_prefill.workload.traces.spec import TURNS_MAX, TraceSpec, load
from append_prefill.workload.traffic import Condition, ContextKind, Form, State, Traffic

CONDITIONS_MAX = 200
"""Append-prefills of one experiment. They are compared by one joint test, which works on a square
of them: 200 take it a second, and ten conversations of an agent have as many turns."""


COMPANY_MAX = 64
"""Requests at once. Each is a connection and a thread of the server's attention; SGLang's own
benchmarks go to some dozens a GPU, and beyond that a queue is measured."""

REQUESTS_MAX = 256
"""Requests of one window of arrivals: their contexts are all cached before the first is sent."""

WINDOW_TOKENS = 32
"""Tokens of a request that decodes over which its time per token is taken: the study's length of an
answer. A stall of one append-prefill then counts as what it adds to such an answer, and a median
over single tokens, of which it holds up one in 32, would not see it at all."""

DECODE_TOKENS = 5 * WINDOW_TOKENS
"""What a request that decodes generates: a window before, one with an append-prefill, one with a
full prefill, and as much again, since a prefill can take longer than a window."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What is measured in one go, both servers of a pair taking turns: one or more samples.

    A single append-prefill of `points[0]`, `size` of them in company, or all turns of a
    `conversation`, whose append-prefills `points` then are. `heavy`: as its experiment.
    """

    experiment: str
    traffic: Traffic
    points: tuple[Point, ...]
    conversation: Conversation | None = None
    size: int = 1
    heavy: bool = False

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Those of its samples, in order."""
        return tuple(Condition(self.traffic, point) for point in self.points)

    @property
    def total_tokens(self) -> int:
        """The longest sequence that is in the KV cache at its end, but for a point's output."""
        if self.conversation is not None:
            return self.conversation.total_tokens
        return max(point.total_tokens for point in self.points)

    @property
    def samples(self) -> int:
        """How many it has."""
        return self.size if self.conversation is None else len(self.points)

    def held_tokens(self, output_tokens: int) -> int:
        """What must fit into the KV cache at once, `output_tokens` being a point's output."""
        if self.conversation is not None:
            return self.total_tokens
        point = self.points[0]
        held = self.size * (point.total_tokens + output_tokens)
        if self.traffic.company_kind == "beside":
            # The decodes, whose prompts are a token longer than the context, and the full prefill.
            held += int(self.traffic.company_size) * (point.context_tokens + 1 + DECODE_TOKENS)
            held += point.total_tokens + output_tokens
        return held


class ConversationPlan(Strict):
    """A conversation of equal turns: a first prompt, then `append_tokens` new tokens a turn."""

    turns: int = Field(ge=2, le=TURNS_MAX)
    first_tokens: int = Field(ge=1)
    append_tokens: int = Field(ge=1)
    reply_tokens: int = Field(ge=1)

    @property
    def as_conversation(self) -> Conversation:
        rest = [Turn(self.append_tokens, self.reply_tokens)] * (self.turns - 1)
        return Conversation((Turn(self.first_tokens, self.reply_tokens), *rest))


class TrafficExperiment(Strict):
    """Points, a conversation, or those of a trace, in one traffic.

    `talks` are the trace's conversations, put in by `with_trace`: a profile does not spell them.

    `requests`: how many arrive in a window of `rate:r`, and of no other company.
    `every`: it is taken in every so many blocks of a launch. `heavy`: only where it is asked for
    (`-m "append_prefill and load"`). `must_catch`: what a pass promises not to hide, relative; a
    few points of what scatters more than a lone request cannot promise what all points together do,
    and the slow-downs known of such traffic are of tens of per cent. `argument` says why it is this
    traffic.
    """

    id: Id
    title: str
    context: ContextKind = "primed"
    form: Form = "ids"
    company: str = "alone"
    state: State = "fresh"
    points: tuple[tuple[int, int], ...] = ()
    conversation: ConversationPlan | None = None
    trace: TraceSpec | None = None
    talks: tuple[Conversation, ...] = Field(default=(), exclude=True)
    requests: int | None = Field(default=None, ge=2, le=REQUESTS_MAX)
    every: int = Field(default=1, ge=1)
    must_catch: float = Field(default=0.10, gt=0)
    heavy: bool = False
    argument: Argument

    @field_validator("points")
    @classmethod
    def _are_points(cls, points: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        for context, append in points:
            Point(context, append)
        if len(set(points)) != len(points):
            raise ValueError("a point is there twice")
        return points

    @model_validator(mode="after")
    def _can_be_measured(self) -> TrafficExperiment:
        if self.traffic.is_default:
            raise ValueError(
                f"{self.id}: this is the default traffic, a primed prompt of ids sent alone to a "
                "fresh server, which belongs to [[experiments]]"
            )
        if problem := self._company_problem():
            raise ValueError(f"{self.id}: {problem}")
        talks = self.traffic.context != "primed"
        sources = [self.conversation, self.trace]
        if talks and (sources.count(None) != 1 or self.points):
            raise ValueError(
                f"{self.id}: a {self.context} context takes a conversation or a trace, and no "
                "points"
            )
        if not talks and (sources.count(None) != 2 or not self.points):
            raise ValueError(f"{self.id}: a primed context takes points, and no conversation")
        few = [point for point in self.points if min(point) < TEXT_TOKENS_MIN]
        if self.form != "ids" and few:
            raise ValueError(
                f"{self.id}: the letters at the boundary and a chat's markers take tokens, so a "
                f"point of {self.form} has {TEXT_TOKENS_MIN} or more of either, not {list(few[0])}"
            )
        if self.context == "session" and self.form != "ids":
            raise ValueError(f"{self.id}: a session is sent ids, not {self.form}")
        return self

    def with_trace(self, folder: Path, total_tokens: int) -> TrafficExperiment:
        """The experiment with its trace's conversations; itself where it has none.

        `folder`: what the trace's file is relative to; none is longer than `total_tokens`. Raises
        UsageError where the trace cannot be read, or is too large to be compared.
        """
        if self.trace is None:
            return self
        talks = load(self.trace, folder=folder, total_tokens=total_tokens).conversations
        turns = sum(len(talk.turns) - 1 for talk in talks)
        if turns > CONDITIONS_MAX:
            raise UsageError(
                "--profile",
                self.id,
                f"has a trace with {turns} append-prefills, more than the {CONDITIONS_MAX} that "
                "one experiment can hold.",
                "Take fewer conversations (conversations) or turns (turns_max) of it.",
            )
        return self.model_copy(update={"talks": tuple(talks)})

    def _company_problem(self) -> str | None:
        """Why its company, or a server that is not fresh, cannot be measured so."""
        traffic = self.traffic
        usual = traffic.context == "primed" and traffic.form == "ids"
        if not usual and (traffic.company != "alone" or traffic.state != "fresh"):
            return f"{traffic.label}: company, and any state but fresh, take primed prompts of ids"
        if traffic.company != "alone" and traffic.state != "fresh":
            return f"{traffic.label}: a server that is not fresh is measured alone"
        at_once = traffic.company_kind in ("together", "beside")
        if at_once and traffic.company_size > COMPANY_MAX:
            return f"{traffic.company}: at most {COMPANY_MAX} requests at once"
        arrives = traffic.company_kind == "rate"
        if arrives != (self.requests is not None):
            return "requests says how many arrive in a window of rate:R, which has to have it"
        return None

    @property
    def traffic(self) -> Traffic:
        """What all of its samples are taken in. Raises ValueError for a company that is none."""
        return Traffic(self.context, self.form, self.company, self.state)

    @property
    def units(self) -> tuple[Unit, ...]:
        """What is measured of it."""
        talks = self._conversations
        if talks:
            return tuple(
                Unit(
                    self.id,
                    self.traffic,
                    tuple(point for _, point in talk.points()),
                    talk,
                    heavy=self.heavy,
                )
                for talk in talks
            )
        size = int(self.traffic.company_size) if self.traffic.company_kind == "together" else 1
        size = self.requests or size
        return tuple(
            Unit(self.id, self.traffic, (point,), size=size, heavy=self.heavy)
            for point in self.as_points
        )

    @property
    def as_points(self) -> tuple[Point, ...]:
        """Its points, in the profile's order; empty for a conversation."""
        return tuple(Point(*point) for point in self.points)

    @property
    def samples(self) -> int:
        """Of all its units."""
        return sum(unit.samples for unit in self.units)

    @property
    def _conversations(self) -> tuple[Conversation, ...]:
        if self.conversation is not None:
            return (self.conversation.as_conversation,)
        return self.talks

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Those of all its samples, each once: turns of two conversations may be alike."""
        return tuple(
            dict.fromkeys(condition for unit in self.units for condition in unit.conditions)
        )

    def turn_of(self, point: Point) -> int | None:
        """The first turn whose append-prefill the point is; None for one of no conversation."""
        numbers = (n for talk in self._conversations for n, p in talk.points() if p == point)
        return next(numbers, None)
