"""Whether a server that was launched works yet: three requests, from cheap to conclusive."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx

# Ids of SGLang's own warm-up, which the suite's prompts never use.
_PROBE_IDS = (10, 11, 12)
_PROBE_LIMIT_S = 120.0


def ready_probe(
    path: str, *, fields: Mapping[str, object], freeze_gc: bool
) -> Callable[[httpx.Client], bool]:
    """Asks once: does it answer at `path`, a cheap endpoint, and generate three tokens?

    `fields` go into that request. `freeze_gc`: then have its garbage collector frozen.
    """

    def ready(client: httpx.Client) -> bool:
        return (
            _answers(client, path)
            and _generates(client, fields)
            and (not freeze_gc or _freezes(client))
        )

    return ready


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False  # not listening yet


def _generates(client: httpx.Client, fields: Mapping[str, object]) -> bool:
    # Not /health: it sleeps a second for every try, and holds no more than this does.
    body = {
        "input_ids": _PROBE_IDS,
        "sampling_params": {"max_new_tokens": 2, "temperature": 0, "ignore_eos": True},
        **fields,
    }
    try:
        answer = client.post("/generate", json=body, timeout=_PROBE_LIMIT_S)
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK


def _freezes(client: httpx.Client) -> bool:
    try:
        return client.post("/freeze_gc", timeout=_PROBE_LIMIT_S).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
