"""Hypothesis drives (L, m) to where most is measured over what is expected.

Timing is not deterministic, so nothing that is timed fails the test: what it sees it keeps, by
point, and whatever ends the search passes Hypothesis by, which would take an exception for a
failure and try to have it again.
"""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import HealthCheck, Phase, example, given, seed, settings, target

from append_prefill.analysis.cliffs.expected import LOG_BOUND, SUSPICIOUS_SE, Expected
from append_prefill.run.cliffs.edges import SAMPLES_MAX, excess_of
from append_prefill.run.cliffs.prober import Prober
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Limits
from append_prefill.workload.strategies import spread_points

POINTS_A_ROUND = 120
"""Points that Hypothesis draws, and climbs from in the second half, before what it found is looked
at: enough to climb a few times, and few enough that a cliff which draws all of them is soon
known."""

SAMPLES = (2, 4, 8, SAMPLES_MAX)
"""Of a point, each step only where the one before leaves open whether it is beyond the bound."""

ACCEPTED_FROM = 4
"""Samples from which a point is suspected: of two, one may be an outlier."""


class _PassingByError(BaseException):
    """Carries what ended the search; Hypothesis lets it through at once."""

    def __init__(self, ended: Exception) -> None:
        self.ended = ended
        super().__init__()


def explore(
    prober: Prober,
    expected: Expected,
    limits: Limits,
    *,
    round_seed: int,
    chunk_tokens: int | None,
    first: Iterable[Point] = (),
    suspects: dict[Point, float],
) -> None:
    """One round; adds to `suspects`, by their excess. `first` are looked at before all others.

    Raises OutOfBudgetError, and InfrastructureError where the server is gone.
    """

    @settings(
        max_examples=POINTS_A_ROUND,
        phases=(Phase.explicit, Phase.generate, Phase.target),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @seed(round_seed)
    @given(spread_points(limits, chunk_tokens))
    def worst(point: Point) -> None:
        try:
            excess = screened(prober, expected, point, suspects)
        except Exception as error:  # noqa: BLE001 (raised again behind Hypothesis)
            raise _PassingByError(error) from None
        if excess is not None:
            target(excess)

    for point in first:
        worst = example(point)(worst)
    try:
        worst()
    except _PassingByError as passing:
        raise passing.ended from None


def screened(
    prober: Prober, expected: Expected, point: Point, suspects: dict[Point, float]
) -> float | None:
    """The excess of a point, with as many samples as it takes; noted where it is suspicious."""
    excess = None
    for samples in SAMPLES:
        excess = excess_of(prober, expected, point, samples)
        if excess is None:
            return None
        se = prober.se(samples)
        if samples >= ACCEPTED_FROM and excess > max(LOG_BOUND, SUSPICIOUS_SE * se):
            suspects[point] = excess
            break
        if excess < LOG_BOUND - se:
            break
    return excess
