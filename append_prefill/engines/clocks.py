"""A GPU whose SM clock does not move while it is measured, where its owner allows that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from append_prefill.engines import _clock_keeper
from append_prefill.engines.base import Device
from append_prefill.errors import UsageError

OPTION = "--lock-clocks"

LOCK_SHARE = 0.75
"""Of the highest SM clock. What is locked must be held under the power cap, or the cap moves the
clock all the same: with prefills of the study's sizes an H200's went down to 0.80 of its highest
(1575 of 1980 MHz; `sm_mhz` in reports/sample-h200-versions)."""

# Driver calls that take milliseconds, and the start of an interpreter.
_LIMIT_S = 60.0


@contextmanager
def locked_clocks(device: Device) -> Iterator[int]:
    """Inside, the device's SM clock is locked; gives it in MHz.

    Another process holds the lock and undoes it when this one ends, killed or not. NVML does not
    tell whether somebody had locked the clock before: such a lock is gone afterwards. Raises
    UsageError where there is no clock to lock or no permission to do it.
    """
    if not device.id.startswith("GPU-"):
        raise UsageError(
            OPTION,
            device.name,
            "has no clock of its own to lock.",
            "Measure on a whole NVIDIA GPU, or leave the option out.",
        )
    keeper = subprocess.Popen(
        [sys.executable, "-P", _clock_keeper.__file__, device.id, str(LOCK_SHARE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C goes to the terminal's group: the clock is unlocked when measuring has ended.
        start_new_session=True,
    )
    try:
        assert keeper.stdout is not None
        answer = keeper.stdout.readline().strip()
        if not answer.isdigit():
            reason = answer.removeprefix("error: ") or "no answer"
            raise UsageError(
                OPTION,
                device.name,
                f"cannot be locked by this user: {reason}.",
                "Run as root, or have the owner lock it (nvidia-smi -i GPU -lgc MHZ) and leave "
                "the option out.",
            )
        yield int(answer)
    finally:
        keeper.communicate(timeout=_LIMIT_S)


def lockable_mhz(device: Device) -> int:
    """The clock that a run would be locked at, tried and undone. Raises as `locked_clocks`."""
    with locked_clocks(device) as mhz:
        return mhz
