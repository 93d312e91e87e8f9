"""How long launches and blocks take: as in a stored run, or assumed until one tells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import mean

from append_prefill.analysis.split import Costs
from append_prefill.probe.warmup import HEAVY_WARMUP_ROUNDS, is_heavy
from append_prefill.records.launch import Start, TrafficSeries
from append_prefill.records.run import Run
from append_prefill.workload.points import Point
from append_prefill.workload.profile import DeviceKind

STOP_S = 1.6
"""From a pair's last block to the next pair's launch: 1.5 to 1.8 s on two cores, 1.2 to 1.5 with an
H100 (the launches' `started_at` in benchmarks/data)."""


SHORT_TOKENS = 2048
"""Up to here, where the study's points lie, a sample takes what is assumed; beyond, tokens cost."""


@dataclass(frozen=True, slots=True)
class Long:
    """Tokens beyond `SHORT_TOKENS` a block, all samples' together: of those that each round of the
    warm-up has, and of the `heavy` ones that only the first rounds have.
    """

    tokens: int = 0
    heavy_tokens: int = 0


def long_of(points: Iterable[Point]) -> Long:
    """Of a plan's points."""
    beyond = {point: max(0, point.total_tokens - SHORT_TOKENS) for point in points}
    heavy = sum(tokens for point, tokens in beyond.items() if is_heavy(point))
    return Long(sum(beyond.values()) - heavy, heavy)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: until a launch is ready, a sample of its warm-up, and one of its blocks, priming
    included. `warmup_rounds`: passes over all points before the first block. `long_token_s`: of a
    token beyond `SHORT_TOKENS`, 0 where samples are priced as a run has shown them.
    """

    ready_s: float
    warmup_rounds: float
    warmup_sample_s: float
    sample_s: float
    source: str
    long_token_s: float = 0.0

    def costs(
        self,
        of_block: float,
        sides: int,
        *,
        together: bool,
        states_s: float = 0.0,
        beyond: Long = Long(),
    ) -> Costs:
        """Of a plan's launches, with `of_block` samples a block. `together`: those of a pair come
        up side by side. `states_s`: what coming into states that are not fresh takes one of them.

        They are warmed up one after the other, and their blocks take turns, by whole blocks or by
        samples: either way both sides' samples follow each other on the one clock.
        """
        waits = 1 if together else sides
        warmup_s = self.warmup_rounds * of_block * self.warmup_sample_s
        in_warmup = self.warmup_rounds * beyond.tokens + HEAVY_WARMUP_ROUNDS * beyond.heavy_tokens
        warmup_s += self.long_token_s * in_warmup
        long_s = self.long_token_s * (beyond.tokens + beyond.heavy_tokens)
        return Costs(
            launch_s=waits * (self.ready_s + STOP_S) + sides * (warmup_s + states_s),
            # A block throws its first request away: it pays for the flush before it.
            round_s=sides * ((of_block + 1) * self.sample_s + long_s),
        )


_SOURCE = "assumed: no stored run of this protocol and model"

# Used until a stored run tells. On an H100 a block of 18 samples and the request before them took
# 1.1 s a server, and 0.5.17 was ready after 54 to 66 s (H200: 36 to 49, 106 where it had to compile
# first); on two cores a block of 21 took 0.76 s and launches 17 to 28 s (benchmarks/data,
# baselines). Warm-up took 6 to 12 rounds, 7.3 in the mean of six launches on an H200, 8.2 on a CPU.
# A long token: blocks of llama-3.1-8b-long took 43 s a server on an H100 with 594,240 tokens beyond
# the short ones (benchmarks/data/h100-x4-2026-11), of cpu-nano-long 10.6 s on two cores (28,512).
_ASSUMED = {
    "cuda": Pace(60.0, 8.0, 0.059, 0.059, _SOURCE, 0.000069),
    "cpu": Pace(25.0, 8.0, 0.035, 0.035, _SOURCE, 0.00031),
}


def pace_of(like: Run | None, device: DeviceKind) -> Pace:
    """That of a stored run's launches; what is assumed without one that tells all of it."""
    measured = None if like is None else _measured(like.starts)
    if like is None or measured is None:
        return _ASSUMED[device]
    source = f"as in the run of {like.created_at:%Y-%m-%d} on {like.identity.get('device')}"
    return Pace(*measured, source)


def _measured(starts: Sequence[Start]) -> tuple[float, float, float, float] | None:
    """The numbers of a `Pace`; None if these launches do not tell them."""
    rounds, in_warmup, in_blocks = [], 0.0, 0.0
    warmup_s = blocks_s = 0.0
    for start in starts:
        if start.ready_s is None or start.measured_s is None or start.warmup is None:
            continue
        blocks = max((b + 1 for s in start.series for b in s.block), default=0)
        if not blocks:
            continue
        rounds.append(float(start.warmup.rounds))
        # Traffic is not taken in every block: its share is what its samples are of a point's.
        of_block = len(start.series) + sum(_of_block(s, blocks) for s in start.traffic)
        in_warmup += start.warmup.rounds * of_block
        in_blocks += blocks * (of_block + 1)
        warmup_s += start.warmup.seconds_s
        # In an interleaved pair half of the time is the other server's. Its warm-up is in there,
        # too, which evens out over both sides.
        own_s = start.measured_s - (start.settle_s or 0.0) - _ways_s(start)
        own_s = own_s / 2 if start.interleaved else own_s
        if start.aged is not None and not start.stages:  # suites that aged one after the other
            own_s -= start.aged.seconds_s
        blocks_s += own_s - start.warmup.seconds_s
    if not in_warmup or blocks_s <= 0:
        return None
    return _ready_s(starts), mean(rounds), warmup_s / in_warmup, blocks_s / in_blocks


def _ways_s(start: Start) -> float:
    """Seconds in which the servers of its pair came into states, both together."""
    return sum({stage.state: stage.after_s for stage in start.stages}.values())


def _of_block(series: TrafficSeries, blocks: int) -> float:
    return (len(series.ttft_ms) + sum(void.count for void in series.void)) / blocks


def _ready_s(starts: Sequence[Start]) -> float:
    """Until a launch is ready, or both of a pair that came up together, in the mean."""

    def together(start: Start) -> tuple[str, str, int, str]:
        return start.host, start.device, start.pair, "" if start.interleaved else start.side

    waits = [
        max((s.ready_s for s in group if s.ready_s is not None), default=None)
        for _, group in groupby(sorted(starts, key=together), key=together)
    ]
    return mean(wait for wait in waits if wait is not None)
