"""Search one version for cliffs: a launch to look, fresh launches to confirm.

What is looked at is chosen by its own noise, so none of it is evidence: a cliff is what fresh
launches show of the two points of an edge, at a false-alarm rate for the whole search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from append_prefill.analysis.cliffs.expected import (
    LOG_BOUND,
    SUSPICIOUS_SE,
    Box,
    Expected,
    design_points,
    expected_of,
)
from append_prefill.analysis.cliffs.jump import Jump, contrasts_of, holm, jump_of
from append_prefill.analysis.steps import Sizes
from append_prefill.analysis.summary import FloatArray
from append_prefill.analysis.surface_form import PLAIN
from append_prefill.errors import InfrastructureError
from append_prefill.run.cliffs.edges import SAMPLES_MAX, SURE_SE, Located, Sharp, locate
from append_prefill.run.cliffs.explore import explore
from append_prefill.run.cliffs.prober import (
    REQUESTS_A_SAMPLE,
    OutOfBudgetError,
    Prober,
    Take,
)
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Limits

CONFIRM_LAUNCHES = 5
"""The fewest that a t test at a hundredth of a per cent or two still has power in: at four degrees
of freedom and a rate of 0.003 the estimate has to be 5.2 standard errors beyond the bound."""

CONFIRM_SAMPLES = 40
"""Per point and launch. There are few points, and a launch takes far longer than they do."""

WORTH = 0.8
"""Part of the bound (on the log scale) that an edge has to jump by in the search's own samples, to
be worth fresh launches."""

SUSPECTS_MAX = 12
"""A server with more cliffs than that is described by none of them; the search ends there."""


class Servers(Protocol):
    """What a search measures: one launch freely, then fresh ones at given points."""

    def explore(self, design: Sequence[Point], then: Callable[[Take, Sizes], None]) -> None:
        """Launch, warm up on the design, call `then` with what takes samples and what the server
        tells of its chunks and graphs.
        """

    def fresh(self, points: Sequence[Point], samples: int, launches: int) -> FloatArray:
        """Log statistics of fresh launches, shape (launches, points), NaN where there is none."""


@dataclass
class Place:
    """A suspect: what drew attention, what was located there, and what fresh launches said.

    `outside`: the excess of what is not slow, as far as is known. `requests`: how many were sent
    by then.
    """

    point: Point
    excess: float
    outside: float = 0.0
    requests: int = 0
    located: Located | None = None
    jump: Jump | None = None
    confirmed: bool = False

    @property
    def sharp(self) -> Sharp | None:
        """Its sharpest edge, if that is worth fresh launches."""
        edges = self.located.edges if self.located is not None else ()
        return edges[0] if edges and edges[0].jump >= WORTH * LOG_BOUND else None


@dataclass
class Search:
    """One search; what it knows stays here, whatever ends it.

    `spent` takes the requests so far, `sample_requests` of a sample; `kept` are the slow points of
    cliffs known before, which Hypothesis begins with.
    """

    servers: Servers
    limits: Limits
    seed: int
    rate: float
    spent: Callable[[int], bool]
    tell: Callable[[str], None]
    kept: Sequence[Point] = ()
    sample_requests: int = REQUESTS_A_SAMPLE
    places: list[Place] = field(default_factory=list)
    _seen: set[Point] = field(default_factory=set)
    _sizes: Sizes = PLAIN
    _fitted: tuple[list[Box], Expected] | None = None
    prober: Prober | None = None
    launches: int = 0

    def run(self) -> None:
        """Look until the budget is spent, then confirm. Raises InfrastructureError."""
        self.servers.explore(design_points(self.limits), self._look)
        self.launches = 1
        self._confirm()

    def _look(self, take: Take, sizes: Sizes) -> None:
        self._sizes = sizes
        try:
            self._look_on(take)
        except OutOfBudgetError:
            return

    def _look_on(self, take: Take) -> None:
        chunk_tokens = self._sizes.chunk_tokens
        design = design_points(self.limits, self._sizes)
        prober = Prober(take, design, self.spent, self.seed, self.sample_requests)
        self.prober = prober
        number = 0
        while len(self.places) < SUSPECTS_MAX:
            expected = self._settled_design(prober)
            found: dict[Point, float] = {}
            try:
                explore(
                    prober,
                    expected,
                    self.limits,
                    round_seed=self.seed * 1000 + number,
                    chunk_tokens=chunk_tokens,
                    first=self.kept if number == 0 else (),
                    suspects=found,
                )
            except OutOfBudgetError:
                # Of what is left the worst: it may all be of one place, and nobody went to see.
                left = [Place(p, e) for p, e in found.items() if not self._is_known(p)]
                self.places += [max(left, key=lambda place: place.excess)] if left else []
                raise
            number += 1
            for point, excess in sorted(found.items(), key=lambda entry: -entry[1]):
                if len(self.places) < SUSPECTS_MAX and not self._is_known(point):
                    self._visit(prober, expected, Place(point, excess))
                    expected = self._expected(prober)

    def _is_known(self, point: Point) -> bool:
        return any(box.has(point) for box in self._boxes())

    def _boxes(self) -> list[Box]:
        """What is known to be slow, and by how much."""
        return [
            Box(
                place.located.context_tokens,
                place.located.append_tokens,
                # Where it lies in another cliff as well, its edge has only its own part.
                place.excess - place.outside
                if place.sharp is None
                else min(place.sharp.jump, place.excess - place.outside),
            )
            for place in self.places
            if place.located is not None
        ]

    def _expected(self, prober: Prober) -> Expected:
        boxes = self._boxes()
        if self._fitted is not None and self._fitted[0] == boxes:
            return self._fitted[1]
        expected = expected_of(prober.design, boxes, prober.design_se, self._sizes)
        if expected is None:
            raise InfrastructureError(
                "The reference design does not tell what a token costs: too few of its points gave "
                "a valid sample, or the profile's limits are too narrow."
            )
        self._fitted = boxes, expected
        return expected

    def _settled_design(self, prober: Prober) -> Expected:
        """What is expected, once each point of the design that is too slow has been visited.

        Of two neighbours with a step between them either may be what the surface went through, so
        the slower one is visited, and is outside where it is as fast as the other.
        """
        least = max(LOG_BOUND, SUSPICIOUS_SE * math.sqrt(2) * prober.design_se)
        expected = self._expected(prober)
        while len(self.places) < SUSPECTS_MAX:
            slow = [point for point in expected.slow if point not in self._seen]
            steep = [pair for pair in expected.steep(least) if pair[1] not in self._seen]
            if not slow and not steep:
                break
            point = slow[0] if slow else steep[0][1]
            outside = 0.0 if slow else expected.residuals[steep[0][0]]
            self._seen.add(point)
            place = Place(point, expected.residuals[point], outside)
            self._visit(prober, expected, place)
            if not slow and place.sharp is None and place in self.places:
                # Two neighbours differ and TTFT does not jump: the surface is corrected for that.
                self.places.remove(place)
            expected = self._expected(prober)
        return expected

    def _visit(self, prober: Prober, expected: Expected, place: Place) -> None:
        """See what is at a suspect; it is none if fresh samples do not show it."""
        prober.forget(place.point)
        value = prober.log_ms(place.point, SAMPLES_MAX)
        if value is None:
            return
        place.excess = value - expected.log_ms(place.point)
        least = max(WORTH * LOG_BOUND, SURE_SE * prober.se(SAMPLES_MAX))
        if place.excess - place.outside < least:
            return
        self.places.append(place)
        place.requests = prober.requests
        self.tell(f"{place.point.label} takes {_per_cent(place.excess)} more than expected")
        place.located = locate(
            prober, expected, self.limits, place.point, inside=place.excess, outside=place.outside
        )
        sharp = place.sharp
        if sharp is None:
            self.tell("  and TTFT does not jump around it")
        else:
            fast, slow = sharp.edge.points
            self.tell(f"  TTFT jumps by {_per_cent(sharp.jump)} from {fast.label} to {slow.label}")

    def _confirm(self) -> None:
        tried = [(place, place.sharp.edge) for place in self.places if place.sharp is not None]
        if not tried:
            return
        points = sorted({point for _, edge in tried for point in edge.points})
        self.tell(
            f"confirming {len(tried)} edge(s) on {CONFIRM_LAUNCHES} fresh launches, "
            f"{len(points)} points"
        )
        table = self.servers.fresh(points, CONFIRM_SAMPLES, CONFIRM_LAUNCHES)
        self.launches += len(table)
        for place, edge in tried:
            columns = [points.index(point) for point in edge.points]
            place.jump = jump_of(contrasts_of(table[:, columns], edge))
        # A suspect that no launches tell of is not confirmed, and counts among those tried.
        p_values = [1.0 if p.jump is None or p.jump.p is None else p.jump.p for p, _ in tried]
        for (place, _), confirmed in zip(tried, holm(p_values, self.rate), strict=True):
            place.confirmed = confirmed


def _per_cent(log_ratio: float) -> str:
    return f"{100 * math.expm1(log_ratio):.0f} %"
