"""What a server says of its KV pool, beside what the geometry gives.

    python -m benchmarks.kv_pool --sglang 0.5.23 qwen3-30b-a3b deepseek-v2-lite gemma-3-4b

A server per profile, one after the other, on the CPU. Of the geometry only what the KV cache does
not depend on is made small (widths, experts, vocabulary), so layers, heads, latents and windows are
the profile's own and a 30 B model takes megabytes. The pool is pinned to some 2 GB, for the server
says its size in GiB with two or three decimals. A server allocates it before it computes: of a
model whose attention the CPU does not have it dies at its first request, and its log tells.
`differs` is the server's over the formula's, less one: rounding makes up to 0.3 % with two
decimals, 0.03 % with three.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from rich.console import Console
from rich.table import Table

from append_prefill.analysis.transfer import KvSize, kv_size
from append_prefill.engines.describe import KvPool, json_object, kv_pool_in
from append_prefill.engines.devices import DeviceLock
from append_prefill.engines.versions import traits_of
from append_prefill.engines.waiting import await_ready
from append_prefill.errors import ServerDiedError
from append_prefill.workload.loading import load_profile
from append_prefill.workload.profile import Profile
from benchmarks.servers import device_of, engine_of

POOL_BYTES = 2_000_000_000
# Beside the pinned pool for every token, that for windows follows from the version's own default.
WINDOW_TOKENS = re.compile(r"SWAKVPool mem usage: .*swa size: (\d+)")
LATENT_POOL = re.compile(r"KV Cache is allocated.*#tokens: (\d+), KV size: ([\d.]+) GB")
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "moe_intermediate_size": 64,
    "num_experts": 8,
    "n_routed_experts": 8,
    "num_local_experts": 8,
    "vocab_size": 1024,
}


def main() -> None:
    """Start them and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profiles", nargs="+", help="shipped names or files")
    parser.add_argument("--sglang", required=True, help="version or interpreter")
    options = parser.parse_args()
    table = Table(title="KV pool: the server's report beside the formula")
    for column in ("profile", "bytes a token", "bytes in the window", "server GiB", "differs"):
        table.add_column(column, justify="left" if column == "profile" else "right")
    for name in options.profiles:
        profile = small(load_profile(name))
        size = kv_size(profile.model.config or {})
        pool, window_tokens = reported(options.sglang, profile)
        expected = expected_gib(size, pool.tokens, window_tokens)
        table.add_row(
            name,
            f"{size.token_bytes:,}",
            f"{size.window_token_bytes:,}",
            f"{pool.gib:g}",
            f"{pool.gib / expected - 1:+.2%}",
        )
    Console().print(table)


def small(profile: Profile) -> Profile:
    """The profile for a CPU: its geometry without what the KV cache does not depend on."""
    config = dict(profile.model.config or {})
    config |= {key: value for key, value in SMALL.items() if key in config}
    cpu = load_profile("cpu-nano")
    tokens = POOL_BYTES // kv_size(config).token_bytes
    args = ("--dtype", "bfloat16", "--chunked-prefill-size", "1024")
    server = cpu.server.model_copy(update={"args": (*args, "--max-total-tokens", str(tokens))})
    model = profile.model.model_copy(update={"name": f"{profile.model.name}-kv", "config": config})
    return cpu.model_copy(update={"name": profile.name, "model": model, "server": server})


def reported(sglang: str, profile: Profile) -> tuple[KvPool, int]:
    """What a fresh server says of its pool, and for how many tokens it keeps windows."""
    engine, device = engine_of("--sglang", sglang, profile), device_of(profile)
    with DeviceLock(device, timeout_s=1800), TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        server = engine.start(device, log)
        pool = None
        try:
            await_ready([server])
            path = traits_of(str(engine.version)).server_info_path
            answer = httpx.get(f"{server.base_url}{path}", trust_env=False, timeout=60)
            pool = kv_pool_in(json_object(answer, path))
        except ServerDiedError:
            print(f"{profile.name}: the server died, its log is read")
        finally:
            server.stop()
        text = log.read_text(encoding="utf-8", errors="replace")
    latent, told = LATENT_POOL.search(text), WINDOW_TOKENS.search(text)
    if pool is None and latent is not None:
        pool = KvPool(float(latent[2]), int(latent[1]))
    if pool is None:
        raise SystemExit(f"{engine.label} says nothing of its KV pool:\n{text[-2000:]}")
    return pool, int(told[1]) if told else 0


def expected_gib(size: KvSize, tokens: int, window_tokens: int) -> float:
    """What pools of that many tokens take by the geometry."""
    return (size.token_bytes * tokens + size.window_token_bytes * window_tokens) / 2**30


if __name__ == "__main__":
    main()
