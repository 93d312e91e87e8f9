"""Locks a GPU's SM clock, and unlocks it when whoever asked is gone.

Started by `clocks.py` as `python -P _clock_keeper.py UUID SHARE`, with a pipe on standard input
that only the suite holds open. Prints the clock in MHz, or `error:` and NVML's reason. The pipe
ends when the suite is done and when it dies, however it dies; both end the lock.
"""

from __future__ import annotations

import sys

import pynvml


def main(arguments: list[str]) -> int:
    uuid, share = arguments[0], float(arguments[1])
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        highest_mhz = pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM)
        mhz = round(share * highest_mhz)
        pynvml.nvmlDeviceSetGpuLockedClocks(handle, mhz, mhz)
    except pynvml.NVMLError as error:
        print(f"error: {error}", flush=True)
        return 1
    try:
        print(mhz, flush=True)
        sys.stdin.read()
    finally:
        pynvml.nvmlDeviceResetGpuLockedClocks(handle)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
