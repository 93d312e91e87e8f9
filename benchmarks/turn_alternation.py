"""Should the turns of two conversations alternate? One version against itself, both ways.

    python -m benchmarks.turn_alternation --sglang ENV --profile cpu-nano --out FILE
    python -m benchmarks.turn_alternation --read FILE

Two servers of one version are up together and hold the profile's conversation `turns`, in rounds:
in one round the sides' turns alternate, in the next one conversation follows the other. Which side
comes first changes from one round of a kind to the next. Prints by how much the ratio of the two
conversations' TTFT scatters from round to round, each way, and the ratio of the two scatters with
its 95 % interval (an F test: rounds are taken as independent, one pair of servers after another).
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from scipy import stats

from append_prefill.engines.devices import DeviceLock
from append_prefill.engines.versions import uncached_tail_in
from append_prefill.engines.waiting import await_ready
from append_prefill.probe.client import TimedClient
from append_prefill.probe.runner import in_turns
from append_prefill.probe.sample import Times
from append_prefill.probe.turns import Kept, take_turns
from append_prefill.workload.loading import load_profile
from append_prefill.workload.profile import Profile
from benchmarks.servers import device_of, engine_of, prompts_of

Way = Literal["alternating", "one after the other"]
WAYS: tuple[Way, Way] = ("alternating", "one after the other")
WARM_UP = 3
# Another run has the device for as long as it measures.
LOCK_S = 1800
CONFIDENCE = 0.95

Round = Mapping[str, Any]


def measure_pair(value: str, profile: Profile, pair: int, rounds: int) -> list[Round]:
    """Launch two servers; of each round the way, the side that began, and each side's TTFT in ms,
    turn by turn.
    """
    engine, device = engine_of("--sglang", value, profile), device_of(profile)
    (unit,) = next(e for e in profile.traffic if e.id == "turns").units
    idle_s = profile.plan.idle_ms / 1000
    with TemporaryDirectory() as folder, ExitStack() as stack:
        servers = [engine.start(device, Path(folder) / f"{side}.log") for side in (0, 1)]
        for server in servers:
            stack.callback(server.stop)
        await_ready(servers)
        clients = [stack.enter_context(TimedClient(s.base_url, s.api_key)) for s in servers]
        prompts = [prompts_of(profile, 2 * pair + side) for side in (0, 1)]
        described = [server.describe() for server in servers]
        kept = [
            Kept(d.page_size_tokens, uncached_tail_in(d.raw, d.versions["sglang"]))
            for d in described
        ]

        def converse(side: int, times_ms: list[float]) -> Generator[None, None, None]:
            def pause(after_s: float) -> None:
                time.sleep(max(after_s, idle_s))

            turns = take_turns(clients[side], prompts[side], unit, kept=kept[side], pause=pause)
            for samples in turns:
                times_ms += [s.result.ttft_ms for s in samples if isinstance(s.result, Times)]
                yield

        found: list[Round] = []
        for number in range(-WARM_UP, rounds):
            way = WAYS[number % 2]
            first = number // 2 % 2
            times: list[list[float]] = [[], []]
            sides = [converse(side, times[side]) for side in (first, 1 - first)]
            for together in [sides] if way == WAYS[0] else [[side] for side in sides]:
                in_turns(together)
            for client in clients:
                client.flush_cache()
            if number >= 0:
                found.append({"pair": pair, "way": way, "first": first, "ttft_ms": times})
        return found


def log_ratios(rounds: Sequence[Round], way: Way) -> list[list[float]]:
    """Of each pair, round by round: the mean over the turns of ln(side 1 / side 0)."""
    pairs: dict[int, list[float]] = {}
    for one in rounds:
        if one["way"] == way:
            zero, other = (np.log(np.array(times)) for times in one["ttft_ms"])
            pairs.setdefault(one["pair"], []).append(float(np.mean(other - zero)))
    return list(pairs.values())


def scatter(pairs: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The standard deviation within pairs, pooled, and its degrees of freedom."""
    squares = sum(float(np.sum((np.array(p) - np.mean(p)) ** 2)) for p in pairs)
    df = sum(len(p) - 1 for p in pairs)
    return float(np.sqrt(squares / df)), df


def lines(rounds: Sequence[Round]) -> list[str]:
    """What is printed of a measurement."""
    told, sds = [], []
    for way in WAYS:
        pairs = log_ratios(rounds, way)
        sd, df = scatter(pairs)
        level = float(np.mean([np.mean(p) for p in pairs]))
        sds.append((sd, df))
        count = sum(map(len, pairs))
        told.append(
            f"{way:<20} {100 * sd:5.1f} % over {count} rounds of {len(pairs)} pairs, "
            f"level {100 * level:+.1f} %"
        )
    (own, own_df), (other, other_df) = sds
    ratio = other / own
    tail = (1 - CONFIDENCE) / 2
    low = ratio / float(np.sqrt(stats.f.ppf(1 - tail, other_df, own_df)))
    high = ratio / float(np.sqrt(stats.f.ppf(tail, other_df, own_df)))
    told.append(f"one after the other scatters {ratio:.2f} times as far ({low:.2f} to {high:.2f})")
    return told


def read(path: Path) -> list[Round]:
    """The rounds of a file that `--out` wrote."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rounds: list[Round] = json.load(file)
    return rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sglang", metavar="ENV", default="simulated")
    parser.add_argument("--profile", default="cpu-nano")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40, help="of a pair, both ways together")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the rounds, gzipped JSON")
    parser.add_argument("--read", type=Path, metavar="FILE", help="print those of a file")
    options = parser.parse_args()
    if options.read is not None:
        rounds = read(options.read)
    else:
        profile, rounds = load_profile(options.profile), []
        with DeviceLock(device_of(profile), timeout_s=LOCK_S):
            for pair in range(options.pairs):
                rounds += measure_pair(options.sglang, profile, pair, options.rounds)
        if options.out is not None:
            with gzip.open(options.out, "wt", encoding="utf-8") as file:
                json.dump(rounds, file)
    print("\n".join(lines(rounds)))


if __name__ == "__main__":
    main()
