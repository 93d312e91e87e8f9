"""Engines that the suite starts itself: a real SGLang, and the simulated server."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from append_prefill.engines.base import Device
from append_prefill.engines.command import chosen_args, launch_argv, launch_env
from append_prefill.engines.describe import VERSION_KEYS
from append_prefill.engines.environments import Interpreter
from append_prefill.engines.given import recordable
from append_prefill.engines.links import measure_links
from append_prefill.engines.model import ResolvedModel, config_digest, dtype_of
from append_prefill.engines.ports import free_port
from append_prefill.engines.process import ServerProcess, launch_server
from append_prefill.engines.versions import (
    LONE_HALF,
    NEWEST,
    SCHEDULER_MAIN,
    SESSIONS_ARG,
    VersionTraits,
    cpu_stubs,
    parse_version,
    shown,
    traits_of,
)
from append_prefill.errors import UsageError
from append_prefill.records.identity import without_secrets
from append_prefill.workload.profile import Profile

# Chosen by the suite, once a server; a user's own would break the run or leave loopback.
_RESERVED = ("--port", "--host", "--model-path", "--model", "--api-key")


@dataclass(frozen=True)
class SglangEngine:
    """SGLang in an interpreter of its own; every launch is a fresh replicate.

    Not tied to a device until `start`. `warnings` are for the record: a version the suite does
    not know. `extra_args` are the user's, by the option that brought them, in the order of the
    command line; `called` is what the user calls this side.
    """

    option: str
    interpreter: Interpreter
    profile: Profile
    model: ResolvedModel
    extra_args: Mapping[str, Sequence[str]] = field(default_factory=dict)
    called: str | None = None

    @property
    def label(self) -> str:
        return self.called or self.version

    @property
    def version(self) -> str:
        return str(self.interpreter.sglang)

    @property
    def replicable(self) -> bool:
        return True

    @property
    def traits(self) -> VersionTraits:
        return traits_of(self.version)

    @property
    def warnings(self) -> list[str]:
        return [self.traits.warning] if self.traits.warning else []

    def check(self) -> None:
        """Raises UsageError for arguments the suite sets itself and a Python that is too old."""
        _check_reserved(self.extra_args)
        python = str(self.interpreter.versions["python"])
        if not self.traits.requires_python.contains(python):
            raise UsageError(
                self.option,
                self.interpreter.path,
                f"holds Python {python}; SGLang {self.version} needs "
                f"{self.traits.requires_python}.",
                "Give an interpreter that fits.",
            )

    def model_identity(self) -> dict[str, Any]:
        return self.model.identity()

    def build(self) -> dict[str, Any]:
        return {
            "commit": self.interpreter.origin.commit_now(),
            "environment": recordable(self.interpreter.environment),
        }

    def kv_links(self, device: Device) -> dict[str, float] | None:
        if device.kind == "cpu":
            return None
        return measure_links(self.interpreter.path, self._env(device))

    def compile_key(self, device: Device) -> str | None:
        if device.kind == "cpu":
            return None
        parts = [
            str(self.interpreter.path),
            self.interpreter.versions,
            self.build(),
            self._chosen(device),
            self.model.config_sha256,
            device.name,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    def _chosen(self, device: Device) -> list[str]:
        own = list(self.profile.server.args)
        # Where the version has them; elsewhere the argument is not known, and nothing is measured.
        if self.traits.streaming_sessions and self.profile.has_sessions:
            own.append(SESSIONS_ARG)
        extra = [argument for given in self.extra_args.values() for argument in given]
        return chosen_args(device, self.model.launch_args(), [*own, *extra])

    def start(self, device: Device, log_path: Path) -> ServerProcess:
        return self._launch(device, log_path, gate_at=None)

    def hold(self, device: Device, log_path: Path) -> ServerProcess:
        return self._launch(device, log_path, gate_at=SCHEDULER_MAIN)

    def _launch(self, device: Device, log_path: Path, *, gate_at: str | None) -> ServerProcess:
        traits = self.traits
        port, distributed_port = free_port(), free_port()
        chosen = self._chosen(device)
        argv = launch_argv(
            self.interpreter.path,
            model=self.model.path,
            port=port,
            distributed_port=distributed_port,
            chosen=chosen,
        )
        half = any(arg.partition("=")[0] == "--disaggregation-mode" for arg in chosen)
        return launch_server(
            argv,
            self._env(device),
            port=port,
            server_args=chosen,
            log_path=log_path,
            device=device,
            ready_path=traits.model_info_path,
            info_paths=(traits.server_info_path,),
            versions=self.interpreter.versions,
            start_limit_s=self.profile.server.start_limit_s,
            # What the version does after the warm-up that was skipped; older ones never do.
            freeze_gc=traits.freezes_gc,
            probe_fields=LONE_HALF if half else {},
            more_ports=(distributed_port,),
            gate_at=gate_at,
        )

    def _env(self, device: Device) -> dict[str, str]:
        return launch_env(
            device=device,
            stubs=self._stubs(device),
            profile_env=self.profile.server.env,
        )

    def _stubs(self, device: Device) -> tuple[str, ...]:
        # A CPU build of the kernels, where somebody made one, is better than a stub.
        if device.kind == "cuda" or self.interpreter.versions["kernels"] is not None:
            return ()
        return cpu_stubs(self.version)


@dataclass(frozen=True)
class PlantedEngine:
    """The server of `append_prefill.planted`: SGLang's protocol, a known cost model."""

    options: dict[str, str]
    profile: Profile
    extra_args: Mapping[str, Sequence[str]] = field(default_factory=dict)
    called: str | None = None

    @property
    def label(self) -> str:
        return f"simulated {self.called}" if self.called else "simulated"

    @property
    def version(self) -> str | None:
        """The SGLang version whose protocol it is told to speak; None: the newest known."""
        return self.options.get("sglang-version")

    @property
    def devices(self) -> int:
        """How many may run at once: the pretended devices, `simulated:devices=8`."""
        return int(self.options.get(_DEVICES, "1"))

    @property
    def replicable(self) -> bool:
        return True

    @property
    def warnings(self) -> list[str]:
        return []

    def check(self) -> None:
        """Raises UsageError for an argument of SGLang's and a version that is none."""
        if self.version is not None and parse_version(self.version) is None:
            raise UsageError(
                "--sglang",
                f"simulated:sglang-version={shown(self.version)}",
                "is not a version of SGLang.",
                "Give one, as in simulated:sglang-version=0.5.23.",
            )
        for option, arguments in self.extra_args.items():
            if arguments:
                raise UsageError(
                    option,
                    " ".join(without_secrets(arguments)),
                    "the simulated server takes no argument of SGLang's.",
                    "Write its options as --sglang simulated:key=value,key=value.",
                )

    def model_identity(self) -> dict[str, Any]:
        model = self.profile.model
        config = model.config or {}
        return {
            "name": model.name,
            "config_sha256": config_digest(config),
            "dtype": dtype_of(config),
            "weights": "planted",
        }

    def build(self) -> dict[str, Any]:
        """It is part of this suite, and nothing is set for it."""
        return {}

    def kv_links(self, device: Device) -> None:
        """It has none."""

    def compile_key(self, device: Device) -> None:
        """It compiles nothing."""

    def start(self, device: Device, log_path: Path) -> ServerProcess:  # noqa: ARG002
        return self._launch(log_path, gate_at=None)

    def hold(self, device: Device, log_path: Path) -> ServerProcess:  # noqa: ARG002
        return self._launch(log_path, gate_at=_GATE_AT)

    def _launch(self, log_path: Path, *, gate_at: str | None) -> ServerProcess:
        port = free_port()
        server_args = [
            part for k, v in self.options.items() if k != _DEVICES for part in (f"--{k}", v)
        ]
        argv = [
            *(sys.executable, "-m", "append_prefill.planted"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *server_args,
        ]
        # It uses no GPU, so it neither waits for one nor hides it.
        env = launch_env(device=_NO_GPU, stubs=(), profile_env={})
        versions = dict.fromkeys(VERSION_KEYS) | {"python": platform.python_version()}
        traits = traits_of(self.version or NEWEST)
        return launch_server(
            argv,
            env,
            port=port,
            server_args=server_args,
            log_path=log_path,
            device=_NO_GPU,
            ready_path=traits.model_info_path,
            info_paths=(traits.server_info_path,),
            versions=versions,
            start_limit_s=self.profile.server.start_limit_s,
            freeze_gc=traits.freezes_gc,
            gate_at=gate_at,
        )


_NO_GPU = Device("cpu", "cpu", "planted", 0)
_DEVICES = "devices"
# Among the first things that its process does, before it takes a port or handles a signal.
_GATE_AT = "append_prefill.planted.faults:parse_faults"


def _check_reserved(given: Mapping[str, Sequence[str]]) -> None:
    for option, argument in ((o, argument) for o, some in given.items() for argument in some):
        name = argument.partition("=")[0]
        if name in _RESERVED:
            raise UsageError(
                option,
                without_secrets([argument])[0],
                f"the suite sets {name} itself.",
                "Use --model for the model; ports and addresses are chosen for each launch.",
            )
