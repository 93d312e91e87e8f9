"""Samples of one launch at any point, freed from what the machine's level does meanwhile."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from statistics import median

import numpy as np

from append_prefill.analysis.cliffs.expected import LOG_BOUND
from append_prefill.workload.points import Point

Take = Callable[[Point], float | None]
"""One sample: TTFT in ms, None where it proves nothing."""

DESIGN_SAMPLES, DESIGN_SAMPLES_MAX = 8, 32
"""Per point of the reference design, the least and the most: as many as leave its median a quarter
of the bound uncertain."""

UNIT_SAMPLES = 4
"""The least where a sample is the median of several requests: what it takes more, it scatters less,
and thirty points of four still tell how far."""

REQUESTS_A_SAMPLE = 2
"""A prime and the append, where it is alone."""

LEVEL_OF = 25
"""Samples of the design that the level at hand is the median of: it errs by a quarter of a sample's
scatter, and follows a machine that gets slower within a hundred samples, one or two seconds."""

LEVEL_EVERY = 3
"""Samples between two of the design."""

MEDIAN_SE = math.sqrt(math.pi / 2)
"""Of a median of n normal samples, over their standard deviation, times sqrt(n)."""


class OutOfBudgetError(Exception):
    """The minutes, or the requests, are spent."""


class Prober:
    """Measures points of one launch. All values are logs of ms, at the level of the design.

    `spent` says whether the budget is; `seed` orders the design; a sample is `sample_requests`.
    """

    def __init__(
        self,
        take: Take,
        design: Sequence[Point],
        spent: Callable[[int], bool],
        seed: int,
        sample_requests: int = REQUESTS_A_SAMPLE,
    ):
        self._take, self._spent, self._sample_requests = take, spent, sample_requests
        self.requests = 0
        self.samples: dict[Point, list[float]] = {}
        self._level: deque[float] = deque(maxlen=LEVEL_OF)
        rng = np.random.default_rng([seed, 0xC11F])
        passes: dict[Point, list[float]] = {point: [] for point in design}
        self.noise_sd, self.design_samples = math.nan, 0
        least = DESIGN_SAMPLES if sample_requests == REQUESTS_A_SAMPLE else UNIT_SAMPLES
        while self.design_samples < least or (
            self.design_samples < DESIGN_SAMPLES_MAX and self.design_se > LOG_BOUND / 4
        ):
            for index in rng.permutation(len(design)):
                value = self._one(design[index])
                if value is not None:
                    passes[design[index]].append(value)
            self.design_samples += 1
            self.noise_sd = _scatter(passes.values())
        self.design = {point: median(values) for point, values in passes.items() if values}
        anchors = [list(self.design)[i] for i in rng.permutation(len(self.design))]
        self._anchors = itertools.cycle(anchors)
        self._until_level = 0

    @property
    def points(self) -> int:
        """How many were looked at, the design's included."""
        return len({*self.design, *self.samples})

    @property
    def design_se(self) -> float:
        """Standard error of a median of the design's."""
        return self.se(self.design_samples)

    def se(self, samples: int) -> float:
        """Standard error of the median of so many."""
        return MEDIAN_SE * self.noise_sd / math.sqrt(samples)

    def log_ms(self, point: Point, samples: int) -> float | None:
        """Median of at least so many samples of a point; None where half of them prove nothing.

        What was taken before counts. Raises OutOfBudgetError.
        """
        taken = self.samples.setdefault(point, [])
        for _ in range(2 * samples):
            if len(taken) >= samples:
                return median(taken)
            if self._until_level == 0:
                self._look_at_level()
            self._until_level -= 1
            value = self._one(point)
            if value is not None:
                taken.append(value - median(self._level))
        return None

    def forget(self, point: Point) -> None:
        """Let its samples so far not count: they are why the point is looked at."""
        self.samples[point] = []

    def _look_at_level(self) -> None:
        """What the design's points take now, over what they took."""
        while True:
            anchor = next(self._anchors)
            value = self._one(anchor)
            if value is not None:
                self._level.append(value - self.design[anchor])
                if len(self._level) == LEVEL_OF:
                    break
        self._until_level = LEVEL_EVERY

    def _one(self, point: Point) -> float | None:
        if self._spent(self.requests):
            raise OutOfBudgetError
        self.requests += self._sample_requests
        ttft_ms = self._take(point)
        return None if ttft_ms is None else math.log(ttft_ms)


def _scatter(groups: Iterable[Sequence[float]]) -> float:
    """Standard deviation within groups, by their median absolute deviation."""
    groups = [group for group in groups if len(group) > 1]
    deviations = [abs(value - median(group)) for group in groups for value in group]
    if not deviations:
        return math.nan
    # A group's own median is nearer to its values than the true one.
    size = float(np.mean([len(group) for group in groups]))
    return 1.4826 * median(deviations) * math.sqrt(size / (size - 1))
