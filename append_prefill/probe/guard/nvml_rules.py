"""What NVML's numbers around a block mean: which make it invalid, at which limits, and why.

Pure: `nvml` reads the numbers, `reading_of` turns them into the record and the reasons why it is
invalid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from append_prefill.probe.guard.gauge import Reading

REASONS: dict[int, tuple[str, bool]] = {
    # bit: (name, whether it makes the block invalid)
    # Nothing was running at that moment: the idle time between two requests.
    0x001: ("idle", False),
    # An administrator's clock limit. It does not move within a block, and locked clocks measure
    # better than free ones.
    0x002: ("applications-clocks", False),
    # The power cap at work. On large appends that is how the card runs as specified; the cap is
    # in the identity, so both sides meet the same one, and a version that draws more power is
    # really slower. A block left out for it would hide that.
    0x004: ("sw-power-cap", False),
    # The hardware halves the clock or worse (heat, power brake, current spikes): not the software.
    0x008: ("hw-slowdown", True),
    # The clock follows another GPU of a sync group, whose load is not ours.
    0x010: ("sync-boost", True),
    # Heat depends on the room and on the neighbours, and is different tomorrow.
    0x020: ("sw-thermal-slowdown", True),
    0x040: ("hw-thermal-slowdown", True),
    # The power supply asked the card to slow down.
    0x080: ("hw-power-brake", True),
    # Steady settings and limits of the board that always hold at the top clock (old drivers).
    0x100: ("display-clock", False),
    0x200: ("board-limit", False),
    0x400: ("voltage-reliability", False),
}

CLOCK_SPREAD_MAX = 0.05
"""(90th - 10th percentile) / median of the SM clock over the ticks in which the GPU was busy.

A compute-bound prefill takes time as 1 / clock. At 5 % between those percentiles the clock's
standard deviation is 2 % (5 / 2.56), about what samples scatter by anyway; above, the clock is the
largest noise there is. A clock held by its governor moves in 15-MHz steps, 1-2 % in all. Spread
under an active power cap makes no block invalid (see `sw-power-cap`).
"""

CLOCK_TICKS_MIN = 5
"""Busy ticks it takes for two percentiles to be more than two readings; one second."""

FOREIGN_MEMORY_MAX_BYTES = 300 * 2**20
"""Memory that no visible process explains. A CUDA context alone takes 400-550 MiB on the cards
this suite is for, so a hidden co-tenant is above; the driver's own use beyond its reserve, and our
allocator's rounding between two reads, stay in the tens of MiB."""

HIDDEN_GROWTH_MAX_BYTES = 512 * 2**20
"""Where processes are hidden, the change of memory in use over a block. The server's pool is
allocated at its launch and its activations by the warm-up; the largest activation that a point can
still add (8192 tokens x 14336 x 2 bytes) is 224 MiB, twice that leaves room for the allocator."""

THERMAL_SHARE_MAX = 0.01
"""Share of a block that the driver's own counter gives as thermally slowed. It sees what falls
between two ticks; a hundredth of the samples cannot move a median."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Numbers read over and over within a block; None where this card or driver has none."""

    sm_mhz: int | None
    power_w: float | None
    reasons: int | None


@dataclass(frozen=True, slots=True)
class Edge:
    """Numbers read before and after a block only; None where there are none."""

    temperature_c: int | None
    power_cap_w: float | None
    ecc_uncorrected: int | None
    ecc_corrected: int | None
    thermal_ns: int | None
    used_bytes: int | None


@dataclass(slots=True)
class Tenants:
    """Processes seen on the device over a block."""

    own: set[int] = field(default_factory=set)
    foreign: dict[int, str] = field(default_factory=dict)
    own_seen: bool = False
    unexplained_bytes: int | None = None


def reading_of(
    ticks: Sequence[Moment], tick_s: float, tenants: Tenants, before: Edge, after: Edge
) -> Reading:
    """The record of a block, and why it does not count if it does not.

    `ticks` are `tick_s` seconds apart and fill the block between the two edges.
    """
    seen: Counter[str] = Counter()
    for tick in ticks:
        seen.update(_names(tick.reasons))
    busy = [t.sm_mhz for t in ticks if t.sm_mhz and not (t.reasons or 0) & 0x001]
    spread = _spread(busy)
    powers = [t.power_w for t in ticks if t.power_w is not None]
    values: dict[str, Any] = {
        "ticks": len(ticks),
        "busy_ticks": len(busy),
        "sm_mhz": [min(busy), float(np.median(busy)), max(busy)] if busy else None,
        "sm_spread": spread,
        "clock_reasons": dict(seen),
        "power_w_max": max(powers, default=None),
        "power_cap_w": after.power_cap_w,
        "temperature_c": [before.temperature_c, after.temperature_c],
        "memory_used_bytes": [before.used_bytes, after.used_bytes],
        "memory_unexplained_bytes": tenants.unexplained_bytes,
        "own_processes_visible": tenants.own_seen,
        "other_pids": sorted(tenants.foreign),
        "ecc_corrected": _grown(before.ecc_corrected, after.ecc_corrected),
        "ecc_uncorrected": _grown(before.ecc_uncorrected, after.ecc_uncorrected),
    }
    voids = [
        f"clocks held down by {name} in {seen[name]} of {len(ticks)} readings"
        for name, bad in REASONS.values()
        if bad and seen[name]
    ]
    thermal_ns = _grown(before.thermal_ns, after.thermal_ns)
    if thermal_ns is not None and ticks:
        share = thermal_ns / 1e9 / (len(ticks) * tick_s)
        values["thermal_share"] = round(share, 4)
        if share > THERMAL_SHARE_MAX:
            voids.append(
                f"thermally slowed for {share:.1%} of the block (limit {THERMAL_SHARE_MAX:.0%})"
            )
    if spread is not None and spread > CLOCK_SPREAD_MAX and not seen["sw-power-cap"]:
        voids.append(
            f"the SM clock spread {spread:.1%} ({min(busy)} to {max(busy)} MHz, limit "
            f"{CLOCK_SPREAD_MAX:.0%})"
        )
    if before.power_cap_w != after.power_cap_w:
        # The cap is part of the identity: a block across a change belongs to neither.
        voids.append(f"the power cap moved from {before.power_cap_w} to {after.power_cap_w} W")
    if values["ecc_uncorrected"]:
        # Corrected errors cost one access each and are only recorded; an uncorrected one ends
        # a process or remaps memory.
        voids.append(f"{values['ecc_uncorrected']} uncorrected ECC errors")
    voids += _cotenants(tenants, before, after)
    return Reading(values, "; ".join(voids) or None)


def _cotenants(tenants: Tenants, before: Edge, after: Edge) -> list[str]:
    """Processes that are not ours, or where a container hides them, what their memory shows."""
    # If ours are listed under their own ids, so are all others, and an unknown id is foreign.
    # If they are not (a container's namespace, a server we only attached to), the ids cannot
    # be told apart.
    if tenants.own_seen and tenants.foreign:
        listed = ", ".join(f"{name} (pid {pid})" for pid, name in sorted(tenants.foreign.items()))
        return [f"the device is shared with {listed}"]
    if tenants.own_seen:
        unexplained = tenants.unexplained_bytes
        if unexplained is not None and unexplained > FOREIGN_MEMORY_MAX_BYTES:
            return [
                f"{unexplained / 2**20:.0f} MiB of device memory belong to no visible process "
                f"(limit {FOREIGN_MEMORY_MAX_BYTES / 2**20:.0f})"
            ]
        return []
    if before.used_bytes is None or after.used_bytes is None:
        return []
    moved = abs(after.used_bytes - before.used_bytes)
    if moved > HIDDEN_GROWTH_MAX_BYTES:
        return [
            f"processes are hidden here and device memory in use moved by {moved / 2**20:.0f} "
            f"MiB in the block (limit {HIDDEN_GROWTH_MAX_BYTES / 2**20:.0f})"
        ]
    return []


def _names(bits: int | None) -> list[str]:
    """Names of the bits set; one this suite does not know is recorded and makes nothing invalid."""
    if bits is None:
        return []
    set_bits = [1 << n for n in range(bits.bit_length()) if bits >> n & 1]
    return [REASONS[bit][0] if bit in REASONS else f"unknown-{bit:#x}" for bit in set_bits]


def _spread(clocks: list[int]) -> float | None:
    if len(clocks) < CLOCK_TICKS_MIN:
        return None
    low, middle, high = np.percentile(clocks, [10, 50, 90])
    return round(float((high - low) / middle), 4)


def _grown(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
