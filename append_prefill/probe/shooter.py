"""Takes what a block has to take from one server: append-prefills, and units of other traffic."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace

from append_prefill.engines.base import ServerDescription
from append_prefill.engines.versions import NEWEST, traits_of, uncached_tail_in
from append_prefill.probe.beside import take_beside
from append_prefill.probe.call import Crowd
from append_prefill.probe.client import TimedClient
from append_prefill.probe.plan import Task
from append_prefill.probe.sample import Sample, take_sample
from append_prefill.probe.texts import take_text
from append_prefill.probe.together import due_times_s, take_due
from append_prefill.probe.turns import Kept, take_turns
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic_experiment import Unit

UNTOLD = "the server does not tell a chat's cached tokens (--enable-cache-report)"
"""Why a chat proves nothing: without the report none cached and not told look the same."""


class Shooter:
    """Takes samples from one server, which `description` describes. One thread at a time.

    `crowd`: the connections of what comes in company, whose arrivals are drawn from `seed`.
    """

    def __init__(
        self,
        client: TimedClient,
        crowd: Crowd,
        prompts: PromptSource,
        description: ServerDescription,
        profile: Profile,
        *,
        seed: Sequence[int],
    ) -> None:
        self.client = client
        self._crowd, self._prompts, self._plan = crowd, prompts, profile.plan
        self._seed = seed
        self._page_tokens = description.page_size_tokens
        version = description.versions["sglang"]
        self._has_sessions = traits_of(version or NEWEST).streaming_sessions
        self._tells_cached = description.raw.get("enable_cache_report") is not False
        tail = uncached_tail_in(description.raw, version)
        self._kept = Kept(description.page_size_tokens, tail)

    def __call__(self, task: Task, output_tokens: int | None = None) -> list[Sample]:
        """The samples of a task; `output_tokens` of a point, by default the plan's."""
        return [sample for step in self.steps(task, output_tokens) for sample in step]

    def steps(
        self, task: Task, output_tokens: int | None = None
    ) -> Generator[list[Sample], None, None]:
        """The same in steps between which another server can have its own: a conversation's turns.

        All else is one step. A conversation takes seconds, in which the cores of a shared host
        become slower or faster: for one side alone, where the other's comes after it.
        """
        if isinstance(task, Point):
            yield [self._alone(task, output_tokens or self._plan.output_tokens)]
        elif (refused := self._refused(task)) is not None:
            yield refused
        elif task.conversation is not None:
            yield from take_turns(
                self.client, self._prompts, task, kept=self._kept, pause=self._pause
            )
        else:
            yield self._at_once(task)

    def _alone(self, point: Point, output_tokens: int) -> Sample:
        return take_sample(
            self.client,
            self._prompts,
            point,
            page_tokens=self._page_tokens,
            output_tokens=output_tokens,
        )

    def _refused(self, unit: Unit) -> list[Sample] | None:
        """What there is of a unit that this server cannot be sent; None if it can."""
        if unit.traffic.context == "session" and not self._has_sessions:
            return []  # the version has none, which is no fault of a sample
        if unit.traffic.form == "chat" and not self._tells_cached:
            return [Sample(point, UNTOLD, unit.traffic) for point in unit.points]
        return None

    def _at_once(self, unit: Unit) -> list[Sample]:
        if unit.traffic.company == "alone":
            return [self._single(unit)]
        # All of its contexts fit into an empty cache; the primes pay for its having been emptied.
        self.client.flush_cache()
        if unit.traffic.company_kind == "beside":
            return take_beside(
                self.client,
                self._crowd,
                self._prompts,
                unit,
                page_tokens=self._page_tokens,
                output_tokens=self._plan.output_tokens,
                pause=self._pause,
            )
        return take_due(
            self.client,
            self._crowd,
            self._prompts,
            unit,
            due_times_s(unit, self._seed),
            page_tokens=self._page_tokens,
            output_tokens=self._plan.output_tokens,
            pause=self._pause,
        )

    def _single(self, unit: Unit) -> Sample:
        """A text or chat, or ids to an aged server."""
        if unit.traffic.form == "ids":
            sample = self._alone(unit.points[0], self._plan.output_tokens)
            return replace(sample, traffic=unit.traffic)
        return take_text(
            self.client,
            self._prompts,
            unit.points[0],
            unit.traffic,
            page_tokens=self._page_tokens,
            output_tokens=self._plan.output_tokens,
        )

    def _pause(self, after_s: float) -> None:
        # Past the reply, the scheduler still frees what the request held.
        time.sleep(max(after_s, self._plan.idle_ms / 1000))
