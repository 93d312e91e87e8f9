"""Waits for servers that were launched side by side: until they are ready, or held."""

from __future__ import annotations

import time
from collections.abc import Sequence

from append_prefill.engines.base import HeldServer, RunningServer

_POLL_S = 0.1


def await_ready(servers: Sequence[RunningServer]) -> None:
    """Return once every server answers; they start side by side.

    Raises ServerDiedError for the first that does not; stopping them is the caller's.
    """
    waiting = list(servers)
    while waiting := [server for server in waiting if not server.poll_ready()]:
        time.sleep(_POLL_S)


def await_held(servers: Sequence[HeldServer]) -> None:
    """Return once every server waits at its gate and works no more.

    Raises ServerDiedError for the first that does not come to that.
    """
    waiting = list(servers)
    while waiting := [server for server in waiting if not server.poll_held()]:
        time.sleep(_POLL_S)


def await_reached(gated: Sequence[HeldServer], servers: Sequence[RunningServer]) -> bool:
    """Whether `servers`, whose gates are open, come by them: False once they are ready without.

    `gated` are the same servers. Raises ServerDiedError for the first that comes to neither.
    """
    while not all(server.reached for server in gated):
        if all(server.poll_ready() for server in servers):
            return all(server.reached for server in gated)
        time.sleep(_POLL_S)
    return True
