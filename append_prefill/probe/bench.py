"""What all launches on one device share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from append_prefill.engines.base import Device
from append_prefill.probe.guard.watch import Guard
from append_prefill.probe.placement.topology import Topology
from append_prefill.probe.plan import Plan
from append_prefill.workload.profile import Profile


@dataclass(frozen=True)
class Bench:
    """The device and what is measured on it. `folder` is the run's, `tell` takes a line of
    progress.

    `vocab_size` bounds the prompts' token ids, `topology` has the cores to place threads on.
    """

    profile: Profile
    plan: Plan
    device: Device
    guard: Guard
    folder: Path
    vocab_size: int
    tell: Callable[[str], None]
    topology: Topology
