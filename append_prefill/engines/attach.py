"""A server that somebody else runs (`--sglang-url`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from append_prefill.engines.base import Device, ServerDescription
from append_prefill.engines.describe import client_of, describe_server, json_object
from append_prefill.engines.model import config_digest, dtype_of, read_config
from append_prefill.engines.versions import MODEL_INFO_PATHS, SERVER_INFO_PATHS
from append_prefill.errors import ServerDiedError, UsageError

API_KEY_VARIABLE = "APPEND_PREFILL_API_KEY"
_OPTION = "--sglang-url"
_TIMEOUT_S = 10.0


@dataclass
class AttachedEngine:
    """Measures a running server. Its launches cannot be repeated; the record says so."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    called: str | None = None
    _model: dict[str, Any] | None = field(default=None, repr=False)
    _description: ServerDescription | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        return self.called or self.url

    @property
    def version(self) -> str | None:
        """What the server says it is; None before `check`."""
        return None if self._description is None else self._description.versions["sglang"]

    @property
    def replicable(self) -> bool:
        return False

    @property
    def warnings(self) -> list[str]:
        return [
            "A running server was measured: its launches cannot be replicated, so the intervals "
            "leave out how launches differ and are too narrow. Its environment variables are not "
            "known and taken to be the profile's."
        ]

    def check(self) -> None:
        """Raises UsageError if nothing answers at the URL, or what answers is not SGLang."""
        self._model = self._ask()
        self._description = AttachedServer(self.url, self.api_key).describe()

    def model_identity(self) -> dict[str, Any]:
        """What the server tells of its model; config and dtype only if its files are here too."""
        model = self._model if self._model is not None else self._ask()
        path = str(model.get("model_path") or "")
        config = read_config(Path(path)) if (Path(path) / "config.json").is_file() else None
        raw = {} if self._description is None else self._description.raw
        load_format = model.get("load_format") or raw.get("load_format")
        weights = None if load_format is None else "dummy" if load_format == "dummy" else "real"
        return {
            "name": model.get("served_model_name") or Path(path).name or None,
            "config_sha256": None if config is None else config_digest(config),
            "dtype": None if config is None else dtype_of(config),
            "weights": weights,
        }

    def resolved_args(self, options: Iterable[str]) -> list[str]:
        """What the server resolved these options (without dashes) to, as arguments.

        An option that it does not tell is left out.
        """
        raw = {} if self._description is None else self._description.raw
        told = {option: raw.get(option.replace("-", "_")) for option in options}
        return [part for k, v in told.items() if v is not None for part in (f"--{k}", str(v))]

    def build(self) -> dict[str, Any]:
        """Unknown: nothing of its environment can be seen from here."""
        return {}

    def kv_links(self, device: Device) -> None:
        """Unknown: the server's device may be anywhere, and is not idle."""

    def compile_key(self, device: Device) -> None:
        """It has been running for long."""

    def start(self, device: Device, log_path: Path) -> AttachedServer:  # noqa: ARG002
        """Attach; nothing is started, and nothing is written to `log_path`."""
        server = AttachedServer(self.url, self.api_key)
        server.check_alive()
        return server

    def hold(self, device: Device, log_path: Path) -> None:
        """It is running already."""

    def _ask(self) -> dict[str, Any]:
        try:
            with _client(self.url, self.api_key) as client:
                for path in MODEL_INFO_PATHS:
                    answer = client.get(path)
                    if answer.status_code == httpx.codes.OK:
                        return json_object(answer, path)
        except httpx.HTTPError as error:
            raise UsageError(
                _OPTION,
                self.url,
                f"does not answer ({type(error).__name__}: {error}).",
                "Start the server, or repair the address; to have one started use --sglang.",
            ) from error
        except ValueError as error:
            raise self._not_sglang(str(error)) from error
        if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise UsageError(
                _OPTION,
                self.url,
                f"refuses the request ({answer.status_code}).",
                f"Put the server's API key into ${API_KEY_VARIABLE}.",
            )
        raise self._not_sglang(f"{path} gives status {answer.status_code}")

    def _not_sglang(self, problem: str) -> UsageError:
        return UsageError(
            _OPTION,
            self.url,
            f"answers, but not as an SGLang server ({problem}).",
            "Give the base URL of the server itself, without /v1.",
        )


@dataclass
class AttachedServer:
    """A server of somebody else's: `stop` leaves it alone."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    ready_s: float | None = None
    held_s: float | None = None
    server_args: list[str] = field(default_factory=list)
    log_path: Path | None = None

    def busy_pids(self) -> dict[str, int]:
        """None: a server of somebody else's stays where its owner put it."""
        return {}

    def pids(self) -> set[int]:
        """Its processes if it listens on this machine, else none: they are not foreign load."""
        url = httpx.URL(self.base_url)
        if url.host not in {"127.0.0.1", "localhost", "::1"}:
            return set()
        port = url.port or 80
        listening: set[int] = {
            c.pid
            for c in psutil.net_connections(kind="tcp")
            if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port and c.pid
        }
        found = set(listening)
        for pid in listening:
            with contextlib.suppress(psutil.NoSuchProcess):
                # SGLang's workers are children of what listens; a launcher above is not measured.
                found |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
        return found

    def describe(self) -> ServerDescription:
        return describe_server(self.base_url, SERVER_INFO_PATHS, versions={}, api_key=self.api_key)

    def check_alive(self, *, suspected: bool = False) -> None:  # noqa: ARG002
        """Raises ServerDiedError if it does not answer its cheapest endpoint."""
        try:
            with _client(self.base_url, self.api_key) as client:
                answers = any(client.get(path).is_success for path in MODEL_INFO_PATHS)
        except httpx.HTTPError as error:
            raise ServerDiedError(
                f"{self.base_url} no longer answers ({type(error).__name__})", "", "not ours"
            ) from error
        if not answers:
            raise ServerDiedError(f"{self.base_url} answers with an error", "", "not ours")

    def poll_ready(self) -> bool:
        """Whether it answers with a description. Raises ServerDiedError if it does not."""
        self.check_alive()
        return True

    def begin_stop(self) -> None:
        """It is not the suite's to end."""

    def stop(self) -> None:
        """Leaves it running: it is not the suite's to end."""

    def await_memory(self) -> None:
        """It keeps its memory."""


def _client(url: str, api_key: str | None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return client_of(url, headers=headers, timeout=_TIMEOUT_S)
