"""What disaggregation adds to an append-prefill's TTFT: a P/D pair beside one server alone.

    .tox/sglang-0.5.15.post1/bin/python -m pip install mooncake-transfer-engine-non-cuda
    python -m benchmarks.pd_pair --sglang 0.5.15.post1 --backend mooncake_tcp

Three servers of one version on one device: one alone, one that prefills, one that decodes and is
sent the KV cache. At every point both ways prime L tokens and then time L + m, the pair's first
token being the decode server's. Blocks go over all points in random order, both ways alternating;
printed are medians, and the difference within a block with its quartiles. `KV MB` is what had to
be moved, all L + m tokens, since the decode server keeps no prefix cache; `GB/s` is the speed if
moving it were all of the difference, so the link was at least that fast.

On a GPU the backends are mooncake-transfer-engine-cuda13 and nixl with nixl-cu13, and three servers
share the memory: give each its part with --server-arg, for example
--server-arg=--max-total-tokens --server-arg=32768.
"""

from __future__ import annotations

import argparse
import random
import statistics
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from append_prefill.analysis.transfer import kv_bytes_per_token
from append_prefill.engines.base import RunningServer
from append_prefill.engines.devices import DeviceLock
from append_prefill.engines.ports import free_port
from append_prefill.engines.waiting import await_ready
from append_prefill.probe.client import TimedClient
from append_prefill.probe.timing import Timing
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile
from append_prefill.workload.prompts import PromptSource
from benchmarks.servers import device_of, engine_of, prompts_of

WARM_BLOCKS = 3
ROLES = ("alone", "prefill", "decode")


class Ways:
    """Both ways to serve a request: one server, or a prefill and a decode server."""

    def __init__(self, servers: dict[str, RunningServer], bootstrap_port: int) -> None:
        self._clients = {role: TimedClient(server.base_url) for role, server in servers.items()}
        self._bootstrap_port = bootstrap_port
        self._pool = ThreadPoolExecutor(1)
        self._rooms = random.Random(1)

    def close(self) -> None:
        self._pool.shutdown()
        for client in self._clients.values():
            client.close()

    def flush(self) -> None:
        for client in self._clients.values():
            client.flush_cache()

    def alone(self, ids: list[int]) -> Timing:
        return self._clients["alone"].generate(ids, max_new_tokens=2)

    def pair(self, ids: list[int]) -> Timing:
        """The decode server's timing; the prefill server gets the request at the same time."""
        fields = {
            "bootstrap_host": "127.0.0.1",
            "bootstrap_port": self._bootstrap_port,
            "bootstrap_room": self._rooms.getrandbits(62),
        }

        def send(role: str) -> Timing:
            return self._clients[role].generate(ids, max_new_tokens=2, fields=fields)

        prefill = self._pool.submit(send, "prefill")
        timing = send("decode")
        error = prefill.result().error
        if error is not None:
            raise SystemExit(f"the prefill server: {error}")
        return timing


def measure(
    ways: Ways, points: list[Point], prompts: PromptSource, blocks: int
) -> dict[Point, list[tuple[float, float]]]:
    """TTFT in ms alone and by the pair, one of each a block."""
    draw = random.Random(1)
    taken: dict[Point, list[tuple[float, float]]] = {point: [] for point in points}
    for block in range(-WARM_BLOCKS, blocks):
        ways.flush()
        for point in draw.sample(points, len(points)):
            found = {}
            for way in draw.sample((ways.alone, ways.pair), 2):
                context, new = prompts.draw(point)
                way(context)
                timing = way(context + new)
                if timing.ttft_ms is None or timing.cached_tokens != point.context_tokens:
                    raise SystemExit(
                        f"invalid at {point.label}: {timing.error or timing.cached_tokens}"
                    )
                found[way.__name__] = timing.ttft_ms
            if block >= 0:
                taken[point].append((found["alone"], found["pair"]))
    return taken


def show(taken: dict[Point, list[tuple[float, float]]], kv_bytes: int | None) -> None:
    table = Table(title="TTFT of one server alone, and of a prefill and a decode server")
    for heading in ("L", "m", "alone ms", "pair ms", "more ms", "from", "to", "KV MB", "GB/s"):
        table.add_column(heading, justify="right")
    for point, figures in taken.items():
        more = sorted(pair - alone for alone, pair in figures)
        quarter = len(more) // 4
        middle = statistics.median(more)
        columns = [statistics.median(column) for column in zip(*figures, strict=True)]
        row = [*columns, middle, more[quarter], more[-1 - quarter]]
        moved = None if kv_bytes is None else kv_bytes * point.total_tokens / 1e6
        speed = None if moved is None or middle <= 0 else moved / middle
        table.add_row(
            str(point.context_tokens),
            str(point.append_tokens),
            *(f"{value:.2f}" for value in row),
            *("–" if value is None else f"{value:.3g}" for value in (moved, speed)),
        )
    Console().print(table)


def start_all(options: argparse.Namespace, profile: Profile, stack: ExitStack) -> Ways:
    device = device_of(profile)
    options.logs.mkdir(parents=True, exist_ok=True)
    stack.enter_context(DeviceLock(device))
    port = free_port()
    servers: dict[str, RunningServer] = {}
    for role in ROLES:
        half = ["--disaggregation-mode", role, "--disaggregation-transfer-backend", options.backend]
        half += ["--disaggregation-bootstrap-port", str(port)]
        own = [*options.server_arg, *([] if role == "alone" else half)]
        engine = engine_of("--sglang", options.sglang, profile, own)
        servers[role] = engine.start(device, options.logs / f"{role}.log")
        stack.callback(servers[role].stop)
    await_ready(list(servers.values()))
    ways = Ways(servers, port)
    stack.callback(ways.close)
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sglang", required=True)
    parser.add_argument("--profile", default="cpu-nano")
    parser.add_argument("--backend", default="mooncake_tcp", help="--disaggregation-transfer-...")
    parser.add_argument("--server-arg", action="append", default=[], help="for all three servers")
    parser.add_argument("--contexts", type=int, nargs="+", default=[64, 512, 2048])
    parser.add_argument("--append", type=int, default=64, help="new tokens")
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--logs", type=Path, default=Path("reports/pd-pair"), help="the servers'")
    options = parser.parse_args()
    profile = load_profile(options.profile)
    points = [Point(context, options.append) for context in options.contexts]
    config = profile.model.config or {}
    with ExitStack() as stack:
        ways = start_all(options, profile, stack)
        prompts = prompts_of(profile, 7)
        show(measure(ways, points, prompts, options.blocks), kv_bytes_per_token(config))


if __name__ == "__main__":
    main()
