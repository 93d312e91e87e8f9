"""What a search for cliffs finds, in how many requests, and how often it finds what is not there.

    python -m benchmarks.cliffs

Nothing is started and nothing waits: a sample is the simulated server's own cost model with its
noise, and `append-prefill cliffs`'s own search asks for them. The plane is that of the profile
cpu-nano, with a floor of 8 ms. Three cliffs are put in: a narrow band of m behind a graph's size,
a band of L, and a corner. A cliff is found where one that was confirmed has its slow point inside
and its fast one outside. Counted over seeds: searches that found all three within so many requests
of the searching launch, those after which the last of the three was first visited, and searches
that confirmed something else; then the same plane without cliffs, and one with steps that the
search is not to name. Of `company` a sample is eight requests at once, and counts by their median.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pool
from statistics import median

import numpy as np

from append_prefill.analysis.cliffs.expected import BOUND
from append_prefill.analysis.steps import Sizes
from append_prefill.analysis.summary import FloatArray, faster_half
from append_prefill.planted.cost import GRAPH_BUCKETS, Cost, Draws
from append_prefill.planted.faults import Faults, parse_faults
from append_prefill.run.cliffs.prober import REQUESTS_A_SAMPLE, Take
from append_prefill.run.cliffs.search import Search
from append_prefill.run.cliffs.servers import UNITS_MIN
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Limits

PROFILE = "cpu-nano"
REQUESTS = {"quiet": 4000, "stairs": 4000, "noisy": 20_000, "company": 60_000}
SIZES = {"company": 8}
"""How many requests a sample has at once, where it is more than one."""
RATE = 0.01
SEEDS = 200

PLANTED = ("0..2048:257..288:1.5", "900..1100:1..1536:1.35", "1500..2048:700..1536:1.6")
PLANES: dict[str, Cost] = {
    "quiet": Cost(
        floor_ms=8, new_token_us=9, cached_token_us=0.5, form="sum", start_sd=0.02, within_sd=0.03
    ),
    # A shared CPU's: samples scatter by 17 %, one in a hundred is an outlier.
    "noisy": Cost(
        floor_ms=8, new_token_us=9, cached_token_us=0.5, form="sum", start_sd=0.08,
        within_sd=0.17, outlier_rate=0.01, lag1=0.2,
    ),
    # Drawn as a roofline and padded to the sizes of graphs, on a machine that gets slower.
    "stairs": Cost(
        floor_ms=8, new_token_us=20, cached_token_us=0.5, form="max", prefill_graph=True,
        start_sd=0.02, within_sd=0.03, drift_per_hour=1.0,
    ),
    # The shared CPU with eight at once: of what a sample scatters by half is all eight's.
    "company": Cost(
        floor_ms=30, new_token_us=70, cached_token_us=4, form="sum", start_sd=0.08,
        within_sd=0.17, outlier_rate=0.01, lag1=0.5,
    ),
}  # fmt: skip


@dataclass
class Simulated:
    """`Servers` of the cost model. `placement_sd`: of a launch at each point, which no repetition
    within the launch averages out."""

    cost: Cost
    faults: Faults
    seed: int
    size: int = 1
    placement_sd: float = 0.01
    launches: int = field(default=0)

    def explore(self, _: Sequence[Point], then: Callable[[Take, Sizes], None]) -> None:
        graph = self.cost.prefill_graph
        then(self._launch(), Sizes(bucket_tokens=GRAPH_BUCKETS if graph else ()))

    def fresh(self, points: Sequence[Point], samples: int, launches: int) -> FloatArray:
        rows = []
        for _ in range(launches):
            take = self._launch()
            columns: list[list[float]] = [[] for _ in points]
            for _ in range(samples if self.size == 1 else max(UNITS_MIN, samples // self.size)):
                for column, point in zip(columns, points, strict=True):
                    column.append(np.log(take(point)))
            rows.append(faster_half(np.array(columns)))
        return np.array(rows)

    def mean_ms(self, point: Point) -> float:
        slow = self.faults.prefill_factor(
            prompt_tokens=point.total_tokens, cached_tokens=point.context_tokens, page_tokens=1
        )
        return self.cost.ttft_ms(point.append_tokens, point.context_tokens) * slow

    def _launch(self) -> Callable[[Point], float]:
        one = self._one_launch()
        if self.size == 1:
            return one
        return lambda point: median(one(point) for _ in range(self.size))

    def _one_launch(self) -> Callable[[Point], float]:
        self.launches += 1
        number = self.seed * 100 + self.launches
        draws, taken_s = Draws(self.cost, number), 0.0
        rng, placed = np.random.default_rng([number, 7]), {}

        def take(point: Point) -> float:
            nonlocal taken_s
            if point not in placed:
                placed[point] = float(np.exp(self.placement_sd * rng.standard_normal()))
            mean_ms = self.mean_ms(point)
            factor = draws.next(elapsed_s=taken_s, generating=True).prefill
            # The prime and the pause take about as long again.
            taken_s += 2 * mean_ms / 1000
            return mean_ms * factor * placed[point]

        return take


def limits() -> Limits:
    return load_profile(PROFILE).limits


def searched(plane: str, planted: Sequence[str], seed: int, requests: int | None = None) -> Search:
    """One search, whole."""
    faults = parse_faults([f"slow-in={one}" for one in planted])
    size = SIZES.get(plane, 1)
    search = Search(
        servers=Simulated(PLANES[plane], faults, seed, size),
        limits=limits(),
        seed=seed,
        rate=RATE,
        spent=lambda sent: sent >= (requests or REQUESTS[plane]),
        tell=lambda _: None,
        sample_requests=REQUESTS_A_SAMPLE * size,
    )
    search.run()
    return search


def found_by(search: Search, planted: Sequence[str]) -> tuple[list[int | None], int]:
    """Per cliff the requests until it was visited (None: not confirmed); false alarms.

    An edge counts for a cliff where the slow point is inside it and the fast one is not. A false
    alarm is one that was confirmed where the noiseless plane does not jump by more than the bound.
    """
    servers = search.servers
    cliffs = [parse_faults([f"slow-in={one}"]).slow_in[0] for one in planted]
    visited: list[int | None] = [None] * len(cliffs)
    others = 0
    for place in search.places:
        if not place.confirmed or place.sharp is None:
            continue
        fast, slow = place.sharp.edge.points
        mine = [
            n
            for n, (contexts, appends, _) in enumerate(cliffs)
            if (slow.context_tokens in contexts and slow.append_tokens in appends)
            and not (fast.context_tokens in contexts and fast.append_tokens in appends)
        ]
        true = servers.mean_ms(slow) / servers.mean_ms(fast) / place.sharp.edge.expected_ratio
        others += true <= 1 + BOUND
        for n in mine:
            if visited[n] is None:
                visited[n] = place.requests
    return visited, others


def _one(asked: tuple[str, tuple[str, ...], int]) -> tuple[list[int | None], int, int]:
    search = searched(*asked)
    visited, others = found_by(search, asked[1])
    tried = sum(place.sharp is not None for place in search.places)
    return visited, others, tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--planes", nargs="+", choices=list(PLANES), default=list(PLANES))
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    print(f"{args.seeds} searches each, at a false-alarm rate of {RATE:g}")
    print("plane   requests  cliffs  all found  each found  requests p50, p95  false  suspects")
    with Pool(args.workers) as pool:
        for plane in args.planes:
            for planted in (PLANTED, ()):
                asked = [(plane, planted, seed) for seed in range(args.seeds)]
                rows = pool.map(_one, asked, chunksize=5)
                last = [max(v) for v, _, _ in rows if v and None not in v]
                each = " ".join(
                    f"{np.mean([v[n] is not None for v, _, _ in rows]):6.1%}"
                    for n in range(len(planted))
                )
                spent = f"{np.median(last):.0f}, {np.quantile(last, 0.95):.0f}" if last else "-"
                whole = f"{len(last) / len(rows):9.1%}" if planted else " " * 9
                wrong = sum(others > 0 for _, others, _ in rows)
                tried = np.mean([tried for _, _, tried in rows])
                print(
                    f"{plane:7} {REQUESTS[plane]:8} {len(planted):6}  {whole}  {each}  {spent} "
                    f"{wrong:3} of {len(rows)}  {tried:6.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
