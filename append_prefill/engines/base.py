"""What every engine gives: a server that can be started, described, watched and stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class Device:
    """Where a server runs. `id` is `GPU-<uuid>`, `MIG-<uuid>` or `cpu`; memory in bytes."""

    kind: Literal["cuda", "cpu"]
    id: str
    name: str
    memory_bytes: int


@dataclass(frozen=True)
class ServerDescription:
    """What a server resolved, read from its own endpoints; None is unknown, never a guess.

    `versions` has the keys sglang, torch, kernels, flashinfer, transformers, cuda and python.
    `prefill_graph` is `off` or the name of the backend (`breakable`, `tc_piecewise`, ...);
    `prefill_graph_tokens` the numbers of new tokens it captures graphs for, empty where it is off.
    `raw` is the server's whole answer without the fields that may hold a secret.
    """

    versions: dict[str, str | None]
    page_size_tokens: int
    chunked_prefill_tokens: int | None
    kv_capacity_tokens: int | None
    context_length_tokens: int | None
    attention_backend: str | None
    prefill_graph: str | None
    radix_cache: bool | None
    raw: dict[str, Any]
    prefill_graph_tokens: list[int] | None = None


class RunningServer(Protocol):
    """A server, launched or attached to. `ready_s` is None until it answers, and for one the
    suite did not start; `held_s` is None for one that was not held (see `HeldServer`).
    """

    base_url: str
    api_key: str | None
    ready_s: float | None
    held_s: float | None
    server_args: list[str]
    log_path: Path | None

    def pids(self) -> set[int]:
        """Every process of this server, on this machine; empty for one that is attached to."""
        ...

    def busy_pids(self) -> dict[str, int]:
        """By role, the processes whose main thread works on every request; {} if not ours."""
        ...

    def poll_ready(self) -> bool:
        """Whether it answers. Raises ServerDiedError if it ended or is past its limit."""
        ...

    def describe(self) -> ServerDescription:
        """Ask the server what it resolved. Raises InfrastructureError if it does not say."""
        ...

    def check_alive(self, *, suspected: bool = False) -> None:
        """Raises ServerDiedError, with the last lines of the log, if the server is gone.

        `suspected`: a connection broke, and one that is about to end is given the time to.
        """
        ...

    def begin_stop(self) -> None:
        """Tell it to end; `stop` then waits for that. Several end side by side so."""
        ...

    def stop(self) -> None:
        """End it and wait until no process of it is left; may be called twice."""
        ...

    def await_memory(self) -> None:
        """After `stop`: return once the device has its memory back; else InfrastructureError."""
        ...


class HeldServer(Protocol):
    """A server that was launched and waits, once it has imported everything, until it is let go.

    Until then it has neither touched its device nor taken a port, and takes no CPU time.
    """

    @property
    def reached(self) -> bool:
        """Whether it has come to where it waits, or would have waited."""
        ...

    def poll_held(self) -> bool:
        """Whether it waits, and none of its processes works any more.

        Raises ServerDiedError if it ended, or has not come to that within its limit.
        """
        ...

    def let_go(self, log_path: Path) -> RunningServer:
        """Its turn has come: from here on it logs to `log_path` and is as any other server.

        `held_s` is set if it has waited: `ready_s` then counts from here, not from the launch.
        Raises ServerDiedError if it ended.
        """
        ...

    def pids(self) -> set[int]:
        """As of `RunningServer`."""
        ...

    def begin_stop(self) -> None:
        """As of `RunningServer`."""
        ...

    def stop(self) -> None:
        """As of `RunningServer`."""
        ...


class Engine(Protocol):
    """A way to get a server. `label` is what progress calls it: what the user does, else the
    version, `simulated`, or a URL.

    `replicable` is False where a launch cannot be repeated (a server that is already running).
    """

    @property
    def label(self) -> str: ...

    @property
    def version(self) -> str | None: ...

    @property
    def replicable(self) -> bool: ...

    @property
    def warnings(self) -> list[str]:
        """What the record should say of it: a version the suite does not know."""
        ...

    def check(self) -> None:
        """Raises UsageError for all that can be known to be wrong before a server starts."""
        ...

    def model_identity(self) -> dict[str, Any]:
        """`name`, `config_sha256`, `dtype` and `weights` (`dummy` or `real`) of the model."""
        ...

    def build(self) -> dict[str, Any]:
        """What is known of what would be launched now, beside its versions: part of the subject.

        `commit` of an SGLang that was installed from git (None: not so, or git does not say) and
        `environment`, variables that this side alone is given. Empty where nothing can be known.
        """
        ...

    def kv_links(self, device: Device) -> dict[str, float] | None:
        """GB/s of the links a KV cache can travel (see `links`); None where there is no GPU.

        For a device that is idle. Raises InfrastructureError if they cannot be measured.
        """
        ...

    def compile_key(self, device: Device) -> str | None:
        """What the kernels depend on that a first launch compiles; None where none are."""
        ...

    def start(self, device: Device, log_path: Path) -> RunningServer:
        """Launch on `device`, log to `log_path`; returns at once (see `waiting.await_ready`)."""
        ...

    def hold(self, device: Device, log_path: Path) -> HeldServer | None:
        """As `start`, but to be held until its turn; None where that cannot be."""
        ...
