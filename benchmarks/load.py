"""What company and length do to an append-prefill: others beside it, decodes, long contexts.

    python -m benchmarks.load --sglang 0.5.17 --profile llama-3.1-8b --contexts 4096 16384 32768

One server, one point. `context`: L longer than the point's. `together`: k append-prefills sent at
once, each with its own primed context; their median. `beside decodes`: one append-prefill while k
requests decode. All over one append-prefill alone. Blocks of all settings alternate in random
order, so drift falls on all alike; the printed ratios are medians over blocks of the ratio within
a block, with their quartiles.

The suite itself measures requests that are alone and short; this says how far that carries.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from append_prefill.engines.devices import DeviceLock
from append_prefill.engines.waiting import await_ready
from append_prefill.probe.client import TimedClient
from append_prefill.workload.points import Point
from append_prefill.workload.profile import load_profile
from append_prefill.workload.prompts import PromptSource
from benchmarks.servers import device_of, engine_of, prompts_of

TOGETHER = (1, 2, 4, 8, 16)
DECODES = (0, 1, 4, 16)
DECODE_TOKENS = 200  # 1-2 s: longer than an append-prefill, checked below
SETTLE_S = 0.3


class Load:
    """One server, as many connections as a block needs, prompts that never repeat."""

    def __init__(self, url: str, prompts: PromptSource, point: Point, connections: int) -> None:
        self._prompts, self._point = prompts, point
        self._url = url
        self._clients = [TimedClient(url) for _ in range(connections)]

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def flush(self) -> None:
        self._clients[0].flush_cache()

    def together(self, count: int, context_tokens: int | None = None) -> float:
        """Median TTFT in ms of `count` append-prefills that leave at the same moment."""
        point = Point(context_tokens or self._point.context_tokens, self._point.append_tokens)
        drawn = [self._prompts.draw(point) for _ in range(count)]
        clients = self._clients[:count]
        for client, (context, _) in zip(clients, drawn, strict=True):
            if client.prime(context).error is not None:
                raise SystemExit("a prime failed")
        gate = threading.Barrier(count)

        def shoot(client: TimedClient, ids: list[int]) -> float:
            gate.wait()
            timing = client.generate(ids, max_new_tokens=2)
            if timing.ttft_ms is None or timing.cached_tokens != point.context_tokens:
                raise SystemExit(f"invalid: {timing.error or timing.cached_tokens}")
            return timing.ttft_ms

        with ThreadPoolExecutor(count) as pool:
            times = pool.map(shoot, clients, [context + new for context, new in drawn])
            return statistics.median(times)

    @contextmanager
    def decoding(self, count: int) -> Iterator[None]:
        """`count` requests that decode meanwhile."""
        streams = [
            (TimedClient(self._url), self._prompts.draw(self._point)[0]) for _ in range(count)
        ]
        threads = [threading.Thread(target=_decode, args=stream) for stream in streams]
        for thread in threads:
            thread.start()
        time.sleep(SETTLE_S if count else 0)
        try:
            yield
            if not all(thread.is_alive() for thread in threads):
                raise SystemExit(
                    "a decode ended before the append-prefill did: raise DECODE_TOKENS"
                )
        finally:
            for thread in threads:
                thread.join()


def _decode(client: TimedClient, ids: list[int]) -> None:
    with client:
        client.generate(ids, max_new_tokens=DECODE_TOKENS)


def measure(
    load: Load, contexts: list[int], blocks: int, draw: random.Random
) -> dict[tuple[str, int], list[float]]:
    """TTFT in ms by setting, one value a block."""
    settings: list[tuple[str, int]] = [("together", k) for k in TOGETHER]
    settings += [("beside decodes", k) for k in DECODES]
    settings += [("context", length) for length in contexts]
    taken: dict[tuple[str, int], list[float]] = {setting: [] for setting in settings}
    for block in range(-2, blocks):  # two to warm up the shapes
        for kind, count in draw.sample(settings, len(settings)):
            load.flush()
            if kind == "together":
                figure = load.together(count)
            elif kind == "context":
                figure = load.together(1, count)
            else:
                with load.decoding(count):
                    figure = load.together(1)
            if block >= 0:
                taken[kind, count].append(figure)
    return taken


def show(taken: dict[tuple[str, int], list[float]], point: Point) -> None:
    table = Table(title=f"TTFT at {point.label}")
    for heading in ("setting", "k or L", "median ms", "over alone", "from", "to"):
        table.add_column(heading, justify="left" if heading == "setting" else "right")
    for (kind, count), figures in taken.items():
        alone = taken["together", 1]
        ratios = sorted(a / b for a, b in zip(figures, alone, strict=True))
        quarter = len(ratios) // 4
        ratio, low, high = statistics.median(ratios), ratios[quarter], ratios[-1 - quarter]
        median = statistics.median(figures)
        table.add_row(kind, str(count), *(f"{x:.2f}" for x in (median, ratio, low, high)))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sglang", required=True)
    parser.add_argument("--profile", default="cpu-nano")
    parser.add_argument("--context", type=int, default=512, help="tokens in the cache")
    parser.add_argument("--contexts", type=int, nargs="*", default=[], help="longer ones")
    parser.add_argument("--append", type=int, default=128, help="new tokens")
    parser.add_argument("--blocks", type=int, default=12)
    options = parser.parse_args()
    profile = load_profile(options.profile)
    engine = engine_of("--sglang", options.sglang, profile)
    device = device_of(profile)
    point = Point(options.context, options.append)
    prompts = prompts_of(profile, 7)
    with ExitStack() as stack, tempfile.TemporaryDirectory() as logs, DeviceLock(device):
        server = engine.start(device, Path(logs) / "server.log")
        stack.callback(server.stop)
        await_ready([server])
        load = Load(server.base_url, prompts, point, max(TOGETHER))
        stack.callback(load.close)
        show(measure(load, options.contexts, options.blocks, random.Random(1)), point)


if __name__ == "__main__":
    main()
