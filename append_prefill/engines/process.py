"""A server process of the suite's own: launch, poll until it answers, watch, stop for certain."""

from __future__ import annotations

import atexit
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
import psutil

from append_prefill.engines import _supervisor
from append_prefill.engines.base import Device, ServerDescription
from append_prefill.engines.describe import client_of, describe_server
from append_prefill.engines.devices import memory_used_bytes
from append_prefill.engines.gate import Gate, Quiet
from append_prefill.engines.ports import give_back
from append_prefill.engines.readiness import ready_probe
from append_prefill.errors import InfrastructureError, ServerDiedError

_LOG_TAIL_LINES = 40
_LOG_LINE_CHARACTERS = 400  # SGLang logs all its arguments in one line of many thousands
_POLL_S = 0.1
# SGLang's workers go within a second of SIGTERM on a CPU; on a GPU they also give back memory
# and communicators, which takes seconds for a large pool.
_GRACE_S = {"cpu": 3.0, "cuda": 15.0}
# From a broken connection to the end of the process that broke it: the system closes its sockets as
# it ends, and tells its parent right after that. What is still there after it is no corpse.
_DEATH_S = 2.0
# The supervisor's own limit for SIGKILL is 20 s after the grace; past it it is stuck itself.
_STOP_MARGIN_S = 30.0
_MEMORY_LIMIT_S = 60.0
# A context of another process may come or go meanwhile; a model or KV pool is far larger.
_MEMORY_SLACK_BYTES = 512 * 2**20
# What SGLang's workers call themselves, from 0.4 on: sglang::scheduler, sglang::detokenizer. Other
# children (resource trackers, compilers) keep their command line and work on no request.
_WORKER_TITLE = "sglang::"


class ServerProcess:
    """A server that the suite started. Made by `launch_server`."""

    def __init__(
        self,
        supervisor: subprocess.Popen[bytes],
        *,
        port: int,
        more_ports: Sequence[int],
        server_args: Sequence[str],
        log_path: Path,
        device: Device,
        info_paths: Sequence[str],
        versions: Mapping[str, str | None],
        probe: Callable[[httpx.Client], bool],
        start_limit_s: float,
        gate: Gate | None,
        memory_before_bytes: int | None,
    ) -> None:
        self.base_url = f"http://127.0.0.1:{port}"
        self.api_key: str | None = None
        self.ready_s: float | None = None
        self.held_s: float | None = None
        self._leader: int | None = None
        self.server_args = list(server_args)
        self.log_path: Path | None = log_path
        self.device = device
        self._log = log_path
        self._supervisor = supervisor
        self._port, self._more_ports = port, more_ports
        self._info_paths = info_paths
        self._versions = versions
        self._memory_before_bytes = memory_before_bytes
        self._probe, self._start_limit_s = probe, start_limit_s
        self._gate = gate
        self._quiet = Quiet()
        self._awaited: float | None = None
        self._began = time.monotonic()
        self._http = client_of(self.base_url, timeout=5.0)
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

    def check_alive(self, *, suspected: bool = False) -> None:
        """See `base.RunningServer`."""
        if suspected:
            self._await_death()
        status = self._supervisor.poll()
        if status is not None:
            when = "" if self.ready_s is None else ", once it was ready"
            raise self._died(f"the server ended with status {_status_words(status)}{when}")

    def _await_death(self) -> None:
        """Return once the server has ended, or shows no sign of it."""
        limit = time.monotonic() + _DEATH_S
        # Its first process goes at once; the supervisor then ends what is left before it ends.
        until = limit + _GRACE_S[self.device.kind]
        while self._supervisor.poll() is None and time.monotonic() < until:
            if time.monotonic() > limit and self._leader in _supervisor.children(
                self._supervisor.pid
            ):
                return
            time.sleep(_POLL_S)

    @property
    def reached(self) -> bool:
        """See `base.HeldServer`."""
        return self._gate is not None and self._gate.reached

    def poll_held(self) -> bool:
        """See `base.HeldServer`. It takes two calls, since quiet is judged by CPU times."""
        self.check_alive()
        self._awaited = self._awaited or time.monotonic()
        held = self.reached and self._quiet.poll(self.pids())
        if not held and time.monotonic() - self._awaited > self._start_limit_s:
            raise self._died(f"the server was not held within {self._start_limit_s:g} s")
        return held

    def let_go(self, log_path: Path) -> ServerProcess:
        """See `base.HeldServer`."""
        self.check_alive()
        self._log = self.log_path = self._log.rename(log_path)
        if self._gate is None:
            return self
        if self._gate.reached:
            self.held_s = time.monotonic() - self._began
            self._began = time.monotonic()
            self._memory_before_bytes = memory_used_bytes(self.device)
        try:
            self._gate.open()
        except FileNotFoundError as error:  # its folder went with it
            raise self._died("the server ended while it was held") from error
        return self

    def poll_ready(self) -> bool:
        """Ask once whether it has generated; sets `ready_s`, seconds since its launch.

        Since it was let go, if it was held. Raises ServerDiedError if it ended, takes longer than
        its limit, or what answers on its port is another program: while a server loads, its port
        is free for anybody to take.
        """
        if self.ready_s is not None:
            return True
        self.check_alive()
        answered = self._probe(self._http)
        took = time.monotonic() - self._began
        if answered and not self._owns_port():
            raise self._died(f"another program answers at {self.base_url}, not this server")
        if answered:
            self.ready_s = took
            self._leader = next(iter(_supervisor.children(self._supervisor.pid)), None)
        elif took > self._start_limit_s:
            raise self._died(f"the server was not ready within {self._start_limit_s:g} s")
        return answered

    def begin_stop(self) -> None:
        """Tell it to stop, and do not wait for that."""
        self._http.close()
        if self._supervisor.stdin is not None and not self._supervisor.stdin.closed:
            self._supervisor.stdin.close()

    def stop(self) -> None:
        """SIGTERM, bounded wait, SIGKILL; returns when no process of it is left.

        Raises InfrastructureError if one is left all the same.
        """
        atexit.unregister(self.stop)
        self.begin_stop()
        limit_s = _GRACE_S[self.device.kind] + _STOP_MARGIN_S
        try:
            self._supervisor.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            left = sorted(self.pids())
            raise InfrastructureError(
                f"the server is still there {limit_s:g} s after it was told to stop: "
                f"processes {left}"
            ) from error
        for port in (self._port, *self._more_ports):
            give_back(port)
        if self._gate is not None:
            self._gate.close()

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
        for pid in self.pids():
            with contextlib.suppress(psutil.Error):
                for connection in psutil.Process(pid).net_connections(kind="tcp"):
                    listens = connection.status == psutil.CONN_LISTEN and connection.laddr
                    if listens and connection.laddr.port == self._port:
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
    more_ports: Sequence[int] = (),
    gate_at: str | None = None,
) -> ServerProcess:
    """Run `argv` under a supervisor with its own TMPDIR; returns at once.

    `ready_path` is the cheap endpoint that is polled; then one request of three tokens proves
    that the scheduler works, with `probe_fields` in it. `info_paths` are for `describe`. `port` and
    `more_ports` are given back once the server is gone. Whoever calls `gate_at` in it waits until
    the server is let go.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    # Short: sockets are made in it, and their paths are limited to 107 bytes.
    scratch = tempfile.mkdtemp(prefix="append-prefill-")
    gate = None if gate_at is None else Gate(Path(scratch), gate_at)
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
            env={**(env if gate is None else gate.env(env)), "TMPDIR": scratch},
            # Ctrl-C goes to the terminal's group: the suite decides, not the keyboard.
            start_new_session=True,
        )
    return ServerProcess(
        supervisor,
        port=port,
        more_ports=more_ports,
        server_args=server_args,
        log_path=log_path,
        device=device,
        info_paths=info_paths,
        versions=versions,
        probe=ready_probe(ready_path, fields=probe_fields or {}, freeze_gc=freeze_gc),
        start_limit_s=start_limit_s,
        gate=gate,
        memory_before_bytes=before,
    )


def _status_words(status: int) -> str:
    """A supervisor's status: 137 is "137 (SIGKILL)"."""
    try:
        return f"{status} ({signal.Signals(status - 128).name})"
    except ValueError:
        return str(status)


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
