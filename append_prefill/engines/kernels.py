"""The GPU's kernels while a server works, by SGLang's own torch profiler.

`/start_profile` and `/stop_profile` are in every release that the suite knows; each scheduler
writes one Chrome trace. Only the device's side is asked for: with the host's, every operator is
recorded too, and a request takes several times as long.
"""

from __future__ import annotations

import contextlib
import gzip
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson

from append_prefill.errors import InfrastructureError

DEVICE_EVENTS = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
"""The categories of what runs on a GPU, in torch's traces."""

_TRACES = "*.trace.json.gz"
_ANSWER_LIMIT_S = 120.0  # it answers once the traces are written
_WRITTEN_LIMIT_S = 30.0
_POLL_S = 0.1


@contextlib.contextmanager
def traced(
    base_url: str,
    folder: Path,
    *,
    activities: Sequence[str] = ("GPU",),
    categories: frozenset[str] = DEVICE_EVENTS,
) -> Iterator[dict[str, float]]:
    """Inside, kernels are recorded; afterwards the dict has the ms of each, over all devices.

    Raises InfrastructureError where the server does not do it, or leaves no trace in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.glob(_TRACES))
    found: dict[str, float] = {}
    body = {
        "output_dir": str(folder.absolute()),
        "activities": list(activities),
        "with_stack": False,  # which SGLang asks for where nothing is said
    }
    _post(base_url, "/start_profile", body)
    try:
        yield found
    finally:
        _post(base_url, "/stop_profile", None)
    for trace in _written(folder, before):
        for name, ms in kernels_in(trace, categories).items():
            found[name] = found.get(name, 0.0) + ms


def kernels_in(trace: Mapping[str, Any], categories: frozenset[str]) -> dict[str, float]:
    """Ms by name, of a trace's complete events in these categories (`dur` is in microseconds)."""
    found: defaultdict[str, float] = defaultdict(float)
    for event in trace.get("traceEvents", ()):
        if event.get("ph") == "X" and event.get("cat") in categories:
            found[str(event["name"])] += float(event["dur"]) / 1000
    return dict(found)


def _written(folder: Path, before: set[Path]) -> list[Mapping[str, Any]]:
    """The new traces, once none of them grows any more and each can be read.

    One that stands still need not be whole yet: it is compressed and written piece by piece.
    """
    limit_s = time.monotonic() + _WRITTEN_LIMIT_S
    sizes: dict[Path, int] = {}
    problem = "there is none"
    while time.monotonic() < limit_s:
        now = {path: path.stat().st_size for path in set(folder.glob(_TRACES)) - before}
        if now and now == sizes:
            try:
                return [_read(path) for path in sorted(now)]
            except ValueError as error:
                problem = str(error)
        sizes = now
        time.sleep(_POLL_S)
    raise InfrastructureError(
        f"the torch profiler left no whole trace in {folder} within {_WRITTEN_LIMIT_S:g} s: "
        f"{problem}"
    )


def _read(path: Path) -> Mapping[str, Any]:
    """Raises ValueError for a file that is no whole trace."""
    try:
        trace: dict[str, Any] = orjson.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, zlib.error, orjson.JSONDecodeError) as error:
        raise ValueError(f"{path.name} is none: {error}") from error
    return trace


def _post(base_url: str, path: str, body: object) -> None:
    try:
        answer = httpx.post(
            f"{base_url}{path}", json=body, timeout=_ANSWER_LIMIT_S, trust_env=False
        )
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise InfrastructureError(f"POST {path}: {error}") from error
