"""Is it better to have both servers up and alternate their blocks?

    python benchmarks/interleave.py --sglang 0.5.23 --against 0.5.5.post3 --pairs 4

Starts both servers of each pair, alternates their blocks (ABBA), and prints how far the levels of
one version scatter from pair to pair and how far the ratio of the two does. The first is the noise
of launches that follow one another, the second that of launches measured together.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from append_prefill.analysis.summary import faster_half
from append_prefill.engines.base import Engine
from append_prefill.engines.devices import DeviceLock
from append_prefill.engines.waiting import await_ready
from append_prefill.probe.client import TimedClient
from append_prefill.probe.plan import Plan, abba
from append_prefill.probe.planning import make_plan
from append_prefill.probe.sample import take_sample
from append_prefill.workload.loading import load_profile
from append_prefill.workload.profile import Profile
from append_prefill.workload.prompts import PromptSource
from benchmarks.servers import device_of, engine_of, prompts_of

SIDES = ("candidate", "reference")


def one_block(client: TimedClient, prompts: PromptSource, plan: Plan, pair: int, block: int):
    """TTFT in ms by point."""
    client.flush_cache()
    order = plan.order(pair, block)
    for point in (order[-1], *order):
        sample = take_sample(client, prompts, point, page_tokens=1, output_tokens=2)
        if isinstance(sample.result, str):
            raise SystemExit(f"{point.label} is invalid: {sample.result}")
        yield point, sample.ttft_ms


def measure(engines: dict[str, Engine], profile: Profile, plan: Plan, pair: int, blocks: int):
    """Log level (mean over points of the statistic that is compared) by side."""
    device = device_of(profile)
    with ExitStack() as stack, DeviceLock(device), tempfile.TemporaryDirectory() as logs:
        clients, prompts, servers = {}, {}, {}
        for side, engine in engines.items():
            servers[side] = engine.start(device, Path(logs) / f"{side}.log")
            stack.callback(servers[side].stop)
        await_ready(list(servers.values()))
        for side, server in servers.items():
            clients[side] = stack.enter_context(TimedClient(server.base_url))
            prompts[side] = prompts_of(profile, pair)
        taken = {side: {} for side in SIDES}
        warm_up = profile.plan.warmup_rounds_max // 3
        for block in range(-warm_up, blocks):
            for side in abba(SIDES, block):
                times = one_block(clients[side], prompts[side], plan, pair, block + warm_up)
                for point, ttft_ms in times:
                    if block >= 0:
                        taken[side].setdefault(point, []).append(ttft_ms)
    return {
        side: statistics.mean(float(faster_half(np.log(values))) for values in by.values())
        for side, by in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sglang", required=True)
    parser.add_argument("--against", required=True)
    parser.add_argument("--profile", default="cpu-nano")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=16)
    options = parser.parse_args()
    profile = load_profile(options.profile)
    plan = make_plan(profile, seed=5, sides=SIDES)
    engines = {
        side: engine_of(f"--{name}", value, profile)
        for side, name, value in (
            ("candidate", "sglang", options.sglang),
            ("reference", "against", options.against),
        )
    }
    levels = []
    for pair in range(options.pairs):
        found = measure(engines, profile, plan, pair, options.blocks)
        levels.append(found)
        a, b = (math.exp(found[side]) for side in SIDES)
        print(f"pair {pair + 1}: {a:.2f} ms and {b:.2f} ms, ratio {a / b:.3f}", flush=True)
    spread = {side: statistics.stdev(found[side] for found in levels) for side in SIDES}
    ratio = statistics.stdev(found["candidate"] - found["reference"] for found in levels)
    print(
        f"levels scatter by {100 * spread['candidate']:.1f} % and "
        f"{100 * spread['reference']:.1f} %, their ratio by {100 * ratio:.1f} %"
    )


if __name__ == "__main__":
    main()
