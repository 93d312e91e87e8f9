"""How fast this GPU copies: run by the server's own interpreter, for it has torch.

    CUDA_VISIBLE_DEVICES=GPU-... python _links.py SIZE_BYTES

Prints one JSON object of GB/s (1e9 bytes moved a second): `host_to_device` and `device_to_host`
over pinned memory, `on_device` (bytes of the copy once, though they are read and written).
"""

import json
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch  # type: ignore[import-not-found, unused-ignore]

REPEATS = 12
DISCARDED = 2  # the first copies map pages and wake clocks


def gb_per_s(target: Any, source: Any, wait: Callable[[], None]) -> float:
    """The median over repeated copies, each timed by the device's own events."""
    speeds = []
    for _ in range(REPEATS):
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        target.copy_(source, non_blocking=True)
        ended.record()
        wait()
        speeds.append(source.numel() / (begun.elapsed_time(ended) * 1e6))
    return float(statistics.median(speeds[DISCARDED:]))


def main() -> None:
    size_bytes = int(sys.argv[1])
    wait = torch.cuda.synchronize
    host = torch.empty(size_bytes, dtype=torch.uint8, pin_memory=True)
    one = torch.empty(size_bytes, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(one)
    speeds = {
        "host_to_device": gb_per_s(one, host, wait),
        "device_to_host": gb_per_s(host, one, wait),
        "on_device": gb_per_s(other, one, wait),
    }
    print(json.dumps({name: round(speed, 3) for name, speed in speeds.items()}))


if __name__ == "__main__":
    main()
