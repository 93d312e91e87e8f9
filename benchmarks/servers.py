"""What the benchmarks that start servers share: engine, device and prompts of a profile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from append_prefill.engines.base import Device, Engine
from append_prefill.engines.devices import cpu_device, list_devices
from append_prefill.engines.resolve import resolve_engine
from append_prefill.workload.profile import Profile
from append_prefill.workload.prompts import PromptSource


def engine_of(option: str, value: str, profile: Profile, server_args: Sequence[str] = ()) -> Engine:
    """The engine that `option` names, with the profile's own model."""
    return resolve_engine(
        option,
        value,
        profile=profile,
        server_args={"--server-arg": server_args},
        model=None,
        dummy_weights=None,
        root=Path.cwd(),
    )


def device_of(profile: Profile) -> Device:
    """The CPU, or the first GPU."""
    return cpu_device() if profile.device == "cpu" else list_devices()[0]


def prompts_of(profile: Profile, seed: int) -> PromptSource:
    """Prompts in the vocabulary of the profile's model."""
    return PromptSource((seed,), int((profile.model.config or {})["vocab_size"]))
