"""A device that no other run, and no other worker of this one, measures on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from append_prefill.engines.base import Device
from append_prefill.engines.devices import DeviceLock
from append_prefill.errors import InfrastructureError

# How often a worker that found every device taken looks again.
POLL_S = 1.0


@contextmanager
def free_device(
    devices: Sequence[Device],
    worker: int,
    *,
    give_up: Callable[[], bool],
    limit_s: float,
    tell: Callable[[str], None],
) -> Iterator[Device | None]:
    """One of the devices, locked, or None if `give_up` said so while waiting for one.

    Workers, numbered from 0, begin with different devices. Raises InfrastructureError if none came
    free within `limit_s`.
    """
    first = worker % len(devices)
    waiting_since: float | None = None
    while True:
        refusals = []
        for device in (*devices[first:], *devices[:first]):
            lock = DeviceLock(device)
            try:
                lock.acquire()
            except InfrastructureError as error:
                refusals.append(str(error))
                continue
            try:
                yield device
            finally:
                lock.release()
            return
        if give_up():
            yield None
            return
        if waiting_since is None:
            waiting_since = time.monotonic()
            tell(f"waiting for a device. {' '.join(refusals)}")
        waited_s = time.monotonic() - waiting_since
        if waited_s > limit_s:
            raise InfrastructureError(
                f"No device came free in {waited_s / 60:.0f} minutes. {' '.join(refusals)}"
            )
        time.sleep(POLL_S)
