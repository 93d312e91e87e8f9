"""A server process of the suite's own: launch, poll until it answers, watch, stop for certain."""

from __future__ import annotations

import atexit
import contextlib
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
import psutil

from append_prefill.engines import _supervisor
from append_prefill.engines.base import Device, RunningServer, ServerDescription
from append_prefill.engines.describe import describe_server
from append_prefill.engines.devices import memory_used_bytes
from append_prefill.errors import InfrastructureError, ServerDiedError

_LOG_TAIL_LINES = 40
_LOG_LINE_CHARACTERS = 400  # SGLang logs all its arguments in one line of many thousands
_POLL_S = 0.1
# SGLang's workers go within a second of SIGTERM on a CPU; on a GPU they also give back memory
# and communicators, which takes seconds for a large pool.
_GRACE_S = {"cpu": 3.0, "cuda": 15.0}
# The supervisor's own limit for SIGKILL is 20 s after the grace; past it it is stuck itself.
_STOP_MARGIN_S = 30.0
_MEMORY_LIMIT_S = 60.0
# A context of another process may come or go meanwhile; a model or KV pool is far larger.
_MEMORY_SLACK_BYTES = 512 * 2**20
# Below Linux's ephemeral ports (32768 on), so that no outgoing connection can take the port
# between the check and the server's bind.
_PORTS = range(20000, 32000)
# Ids of SGLang's own warm-up, which the suite's prompts never use.
_PROBE_IDS = (10, 11, 12)
_PROBE_LIMIT_S = 120.0
# What SGLang's workers call themselves, from 0.4 on: sglang::scheduler, sglang::detokenizer. Other
# children (resource trackers, compilers) keep their command line and work on no request.
_WORKER_TITLE = "sglang::"


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on."""
    draw = random.SystemRandom()
    for _ in range(200):
        port = draw.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise InfrastructureError(f"no free port between {_PORTS.start} and {_PORTS.stop}")


class ServerProcess:
    """A server that the suite started. Made by `launch_server`."""

    def __init__(
        self,
        supervisor: subprocess.Popen[bytes],
        *,
        base_url: str,
        server_args: Sequence[str],
        log_path: Path,
        device: Device,
        info_paths: Sequence[str],
        versions: Mapping[str, str | None],
        memory_before_bytes: int | None,
        probe: Callable[[httpx.Client], bool],
        start_limit_s: float,
    ) -> None:
        self.base_url = base_url
        self.api_key: str | None = None
        self.ready_s: float | None = None
        self.server_args = list(server_args)
        self.log_path: Path | None = log_path
        self.device = device
        self._log = log_path
        self._supervisor = supervisor
        self._info_paths = info_paths
        self._versions = versions
        self._memory_before_bytes = memory_before_bytes
        self._probe, self._start_limit_s = probe, start_limit_s
        self._launched = time.monotonic()
        self._http = httpx.Client(base_url=base_url, trust_env=False, timeout=5.0)
        atexit.register(self.stop)

    def pids(self) -> set[int]:
        """The supervisor and every process below it; empty once stopped."""
        if self._supervisor.poll() is not None:
            return set()
        return {self._supervisor.pid} | _supervisor.descendants(self._supervisor.pid)

    def busy_pids(self) -> dict[str, int]:
        """`http` for the server's first process, then each worker by its own title."""
        supervisor = self._supervisor.pid
        children = _supervisor.children(supervisor) if self._supervisor.poll() is None else []
        found = {"http": children[0]} if children else {}
        for pid in _supervisor.descendants(supervisor) if children else ():
            title = _title(pid)
            if title.startswith(_WORKER_TITLE):
                found[title.removeprefix(_WORKER_TITLE)] = pid
        return found

    def describe(self) -> ServerDescription:
        """What the server resolved. Raises InfrastructureError if it does not say."""
        return describe_server(self.base_url, self._info_paths, versions=self._versions)

    def check_alive(self) -> None:
        """Raises ServerDiedError, with the last lines of the log, if the server is gone."""
        status = self._supervisor.poll()
        if status is not None:
            raise self._died(f"the server ended with status {status}")

    def poll_ready(self) -> bool:
        """Ask once whether it has generated; sets `ready_s` (seconds since the launch).

        Raises ServerDiedError if it ended, takes longer than its limit, or what answers on its port
        is another program: while a server loads, its port is free for anybody to take.
        """
        if self.ready_s is not None:
            return True
        self.check_alive()
        answered = self._probe(self._http)
        took = time.monotonic() - self._launched
        if answered and not self._owns_port():
            raise self._died(f"another program answers at {self.base_url}, not this server")
        if answered:
            self.ready_s = took
        elif took > self._start_limit_s:
            raise self._died(f"the server was not ready within {self._start_limit_s:g} s")
        return answered

    def stop(self) -> None:
        """SIGTERM, bounded wait, SIGKILL; returns when no process of it is left.

        Raises InfrastructureError if one is left all the same.
        """
        atexit.unregister(self.stop)
        self._http.close()
        if self._supervisor.stdin is not None and not self._supervisor.stdin.closed:
            self._supervisor.stdin.close()
        limit_s = _GRACE_S[self.device.kind] + _STOP_MARGIN_S
        try:
            self._supervisor.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            left = sorted(self.pids())
            raise InfrastructureError(
                f"the server is still there {limit_s:g} s after it was told to stop: "
                f"processes {left}"
            ) from error

    def await_memory(self) -> None:
        """Return once a GPU holds no more than before the launch.

        Not part of `stop`: of two servers that are up together each holds memory the other one
        would wait for. Raises InfrastructureError if the memory does not come back.
        """
        before = self._memory_before_bytes
        if before is None:
            return
        limit = time.monotonic() + _MEMORY_LIMIT_S
        while (used := memory_used_bytes(self.device) or 0) > before + _MEMORY_SLACK_BYTES:
            if time.monotonic() > limit:
                raise InfrastructureError(
                    f"{self.device.name}: {used / 2**30:.1f} GiB in use {_MEMORY_LIMIT_S:g} s "
                    f"after the server was stopped, {before / 2**30:.1f} GiB before it was started"
                )
            time.sleep(_POLL_S)

    def _owns_port(self) -> bool:
        port = httpx.URL(self.base_url).port
        for pid in self.pids():
            with contextlib.suppress(psutil.Error):
                for connection in psutil.Process(pid).net_connections(kind="tcp"):
                    listens = connection.status == psutil.CONN_LISTEN and connection.laddr
                    if listens and connection.laddr.port == port:
                        return True
        return False

    def _died(self, problem: str) -> ServerDiedError:
        return ServerDiedError(problem, log_tail(self._log), str(self._log))


def launch_server(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    port: int,
    server_args: Sequence[str],
    log_path: Path,
    device: Device,
    ready_path: str,
    info_paths: Sequence[str],
    versions: Mapping[str, str | None],
    start_limit_s: float,
    freeze_gc: bool = False,
    probe_fields: Mapping[str, object] | None = None,
) -> ServerProcess:
    """Run `argv` under a supervisor with its own TMPDIR; returns at once.

    `ready_path` is the cheap endpoint that is polled; then one request of three tokens proves
    that the scheduler works, with `probe_fields` in it. `info_paths` are for `describe`.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    # Short: sockets are made in it, and their paths are limited to 107 bytes.
    scratch = tempfile.mkdtemp(prefix="append-prefill-")
    before = memory_used_bytes(device)
    with log_path.open("wb") as log:
        supervisor = subprocess.Popen(
            [
                *(sys.executable, "-I", _supervisor.__file__),
                *(str(_GRACE_S[device.kind]), scratch),
                *argv,
            ],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**env, "TMPDIR": scratch},
            # Ctrl-C goes to the terminal's group: the suite decides, not the keyboard.
            start_new_session=True,
        )

    def ready(client: httpx.Client) -> bool:
        return (
            _answers(client, ready_path)
            and _generates(client, probe_fields or {})
            and (not freeze_gc or _freezes(client))
        )

    return ServerProcess(
        supervisor,
        base_url=f"http://127.0.0.1:{port}",
        server_args=server_args,
        log_path=log_path,
        device=device,
        info_paths=info_paths,
        versions=versions,
        memory_before_bytes=before,
        probe=ready,
        start_limit_s=start_limit_s,
    )


def await_ready(servers: Sequence[RunningServer]) -> None:
    """Return once every server answers; they start side by side.

    Raises ServerDiedError for the first that does not; stopping them is the caller's.
    """
    waiting = list(servers)
    while waiting := [server for server in waiting if not server.poll_ready()]:
        time.sleep(_POLL_S)


def log_tail(path: Path) -> str:
    """The last lines of a log, each shortened; empty if there is none."""
    if not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
    return "\n".join(
        line if len(line) <= _LOG_LINE_CHARACTERS else line[:_LOG_LINE_CHARACTERS] + " …"
        for line in lines
    )


def _title(pid: int) -> str:
    """A process's command line up to its first argument; empty once it is gone."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return line.split(b"\0", 1)[0].decode(errors="replace").strip()


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False  # not listening yet


def _generates(client: httpx.Client, fields: Mapping[str, object]) -> bool:
    # Not /health: it sleeps a second for every try, and holds no more than this does.
    body = {
        "input_ids": _PROBE_IDS,
        "sampling_params": {"max_new_tokens": 2, "temperature": 0, "ignore_eos": True},
        **fields,
    }
    try:
        answer = client.post("/generate", json=body, timeout=_PROBE_LIMIT_S)
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK


def _freezes(client: httpx.Client) -> bool:
    try:
        return client.post("/freeze_gc", timeout=_PROBE_LIMIT_S).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
