"""Waking at a deadline to within some tens of microseconds."""

from __future__ import annotations

import time

# time.sleep wakes late by the kernel's timer slack (50 µs) and a scheduling delay of up to some
# 100 µs on an idle machine. Stop sleeping this much early and spin the rest: short enough that a
# client in the same process waits for the interpreter lock no longer than that.
SPIN_NS = 200_000


def sleep_until(deadline_ns: int) -> None:
    """Return at `deadline_ns` on `time.perf_counter_ns`'s clock; at once where it has passed."""
    while (left_ns := deadline_ns - time.perf_counter_ns()) > SPIN_NS:
        time.sleep((left_ns - SPIN_NS) / 1e9)
    while time.perf_counter_ns() < deadline_ns:
        pass
