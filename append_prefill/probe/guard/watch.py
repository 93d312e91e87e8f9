"""The state guard: was the device ours, cool and steady while a block was measured?

Identity (what selects a baseline) and state (what makes a block invalid) are kept apart:
`identity()` is read once a run, `watch()` wraps every block. What makes it so is a sentence with
its numbers; the limits and their arguments stand in `host` and `nvml_rules`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from append_prefill.engines.base import Device
from append_prefill.probe.guard.gauge import Gauge, OwnPids, Reading
from append_prefill.probe.guard.host import HostGauge
from append_prefill.probe.guard.nvml import NvmlGauge
from append_prefill.records.grounds import Side
from append_prefill.records.launch import BlockState


class Watch:
    """Context manager around one block; `state` is there once the block is left.

    >>> with guard.watch(block=0, side="candidate", own_pids=server.pids) as watch:
    ...     measure()
    >>> watch.state.void
    """

    def __init__(self, gauges: Sequence[Gauge], block: int, side: Side, own_pids: OwnPids) -> None:
        self._gauges, self._own_pids = gauges, own_pids
        self._block, self._side = block, side
        self._begun: list[Gauge] = []
        self._state: BlockState | None = None

    @property
    def state(self) -> BlockState:
        """The device around the block. Raises RuntimeError inside the `with`."""
        if self._state is None:
            raise RuntimeError("a block's state is known once the block has been left")
        return self._state

    def __enter__(self) -> Self:
        try:
            for gauge in self._gauges:
                gauge.begin(self._own_pids)
                self._begun.append(gauge)
        except BaseException:
            self._finish()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        readings = self._finish()
        voids = [reading.void for reading in readings.values() if reading.void]
        self._state = BlockState(
            block=self._block,
            side=self._side,
            void="; ".join(voids) or None,
            readings={name: reading.values for name, reading in readings.items()},
        )

    def _finish(self) -> dict[str, Reading]:
        """End every gauge that began, last first; one that raises keeps none from ending."""
        readings: dict[str, Reading] = {}

        def end(gauge: Gauge) -> None:
            readings[gauge.name] = gauge.end(self._own_pids)

        with ExitStack() as stack:
            for gauge in self._begun:
                stack.callback(end, gauge)
        return readings


class Guard:
    """The gauges of one device."""

    def __init__(self, gauges: Sequence[Gauge]) -> None:
        self._gauges = tuple(gauges)

    def identity(self) -> dict[str, Any]:
        """What must be equal for two runs to be comparable; a value nobody can read is None.

        Keys on a GPU: device_kind, device, memory_bytes, compute_capability, driver, power_cap_w,
        mig, host_cpu, host_governor. On a CPU: device_kind, device, cpu_family, logical_cores,
        physical_cores, governor.
        """
        return {key: value for gauge in self._gauges for key, value in gauge.identity().items()}

    def watch(self, block: int, side: Side, own_pids: OwnPids) -> Watch:
        """Watch the device around a block.

        `own_pids` gives the processes of every server of this run, asked before, during and after
        the block; the calling process and all children are counted as own without being named.
        """
        return Watch(self._gauges, block, side, own_pids)


def guard_for(device: Device) -> Guard:
    """The guard of a device: the host always (a prefill's floor is host work), NVML on a GPU."""
    if device.kind == "cpu":
        return Guard([HostGauge(measured=True)])
    return Guard([NvmlGauge(device), HostGauge(measured=False)])
