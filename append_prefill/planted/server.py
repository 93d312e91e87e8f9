"""The simulated server, in threads: accepts, routes and answers; a thread a connection."""

from __future__ import annotations

import contextlib
import secrets
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Literal, Self

from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.generate import Answerer, Served
from append_prefill.planted.meaning import refuse_meaningless
from append_prefill.planted.protocol import Settings
from append_prefill.planted.routes import Launch, Routes
from append_prefill.planted.scheduler import Scheduler
from append_prefill.planted.wire import BadRequestError, Connection

State = Literal["loading", "warming", "ready"]

# Connection threads end as soon as their socket does; more than this means one is stuck.
_JOIN_S = 2.0


def log(line: str) -> None:
    """A log line in the shape of SGLang's, at once."""
    sys.stdout.write(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {line}\n")
    sys.stdout.flush()


class PlantedServer:
    """A server with known costs and faults on demand.

    >>> with PlantedServer(Cost(floor_ms=5), Faults(retraction=0.1)) as server:
    ...     httpx.get(f"{server.base_url}/server_info")

    `start_seed` fixes this launch's noise (None: drawn, and readable as `start_seed`).
    `drift_from_unix_s` is when the drift was zero (None: at readiness); give several starts the
    same to drift on through them. `port` 0 takes a free one. `served` holds the truth about the
    last 10,000 requests, in order. `on_death` is what the fault `die-after` does; by default the
    listener and all connections break, as when a process is killed.

    Raises ValueError for costs, faults and settings that mean nothing together. `start()` raises
    OSError if the port is taken and RuntimeError for the fault `refuse-start`.
    """

    def __init__(
        self,
        cost: Cost | None = None,
        faults: Faults | None = None,
        settings: Settings | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        start_seed: int | None = None,
        drift_from_unix_s: float | None = None,
        on_death: Callable[[], None] | None = None,
    ) -> None:
        self.cost = cost if cost is not None else Cost()
        self.faults = faults if faults is not None else Faults()
        self.settings = settings if settings is not None else Settings()
        refuse_meaningless(self.cost, self.faults, self.settings)
        self.host = host
        self.start_seed = secrets.randbits(31) if start_seed is None else start_seed
        self.scheduler = Scheduler(
            self.cost, self.faults, self.settings, self.start_seed, drift_from_unix_s
        )
        self.served: deque[Served] = deque(maxlen=10_000)
        self.state: State = "loading"
        self._port = port
        self._on_death = on_death if on_death is not None else self._break_off
        self._halves: socket.socket | None = None
        self._answerer = answerer = Answerer(
            self.scheduler, self.faults, self.settings, self.served, self._on_death
        )
        self._routes = Routes(
            answerer,
            self.scheduler,
            self.faults,
            self.settings,
            is_ready=lambda: self.state == "ready",
            launch=lambda: Launch(self.host, self._port, self.start_seed, self.cost.prefill_graph),
            say=log,
        )
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        return self._port

    @property
    def base_url(self) -> str:
        """`http://host:port`; the port is known from `start()` on."""
        return f"http://{self.host}:{self._port}"

    @property
    def start_factor(self) -> float:
        """The factor this launch drew: every time is multiplied by it."""
        return self.scheduler.draws.start_factor

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Bind; listen and be ready at once, or in the background after `ready_after_s`."""
        if self.faults.refuse_start is not None:
            raise RuntimeError(self.faults.refuse_start)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self._port))
            if self.settings.disaggregation_mode == "prefill":
                self._halves = socket.create_server((self.host, self.settings.bootstrap_port or 0))
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._port = listener.getsockname()[1]
        if self.settings.ready_after_s == 0 and self.faults.never_ready is None:
            self._open_port()
            self._become_ready()
        else:
            self._run(self._bring_up)

    def stop(self) -> None:
        """Close everything and wait for the threads. May be called twice."""
        self._stopping.set()
        self._break_off()
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(_JOIN_S)

    def threads_alive(self) -> int:
        """How many threads still run: 0 after `stop()`, unless one is stuck."""
        return sum(thread.is_alive() for thread in self._threads)

    def _run(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        with self._lock:
            self._threads = [t for t in self._threads if t.is_alive()]
            self._threads.append(thread)
            # Started under the lock, so that nobody prunes or joins one that has not begun.
            thread.start()

    def _bring_up(self) -> None:
        half_s = self.settings.ready_after_s / 2
        if self._stopping.wait(half_s) or self.faults.never_ready == "loading":
            return
        self._open_port()
        if self._stopping.wait(half_s) or self.faults.never_ready == "warming":
            return
        self._become_ready()

    def _open_port(self) -> None:
        with self._lock:
            if self._listener is None:  # stopped meanwhile
                return
            self._listener.listen(128)
        self.state = "warming"
        self._run(self._accept)
        if self._halves is not None:
            self._run(partial(self._answer_halves, self._halves))

    def _become_ready(self) -> None:
        self.scheduler.begin()
        self.state = "ready"
        self._ready.set()

    def wait_ready(self, timeout_s: float) -> bool:
        """Whether the server is ready, within `timeout_s` seconds."""
        return self._ready.wait(timeout_s)

    def _break_off(self) -> None:
        self._stopping.set()
        with self._lock:
            listener, self._listener = self._listener, None
            halves, self._halves = self._halves, None
            sockets = list(self._open)
        # A shutdown wakes the threads that wait in accept and recv; their own closing ends it.
        for sock in (listener, halves, *sockets):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for sock in (listener, halves):
            if sock is not None:
                sock.close()

    def _answer_halves(self, listener: socket.socket) -> None:
        """For the decode half: which of its rooms are prefilled."""
        while not self._stopping.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                if self._stopping.is_set():
                    return
                raise
            self._run(partial(self._answerer.rooms.answer, sock))

    def _accept(self) -> None:
        listener = self._listener
        while listener is not None and not self._stopping.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                if self._stopping.is_set():
                    return
                raise
            with self._lock:
                self._open.add(sock)
            self._run(partial(self._serve, sock))

    def _serve(self, sock: socket.socket) -> None:
        connection = Connection(sock)
        try:
            while not self._stopping.is_set():
                try:
                    request = connection.read()
                except BadRequestError as error:
                    connection.answer(error.status, str(error).encode(), close=True)
                    return
                if request is None:
                    return
                self._routes.answer(request, connection)
                if not request.keep_alive:
                    return
        except OSError:
            # The client, a simulated drop or stop() broke the connection: there is nobody to tell.
            return
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()
