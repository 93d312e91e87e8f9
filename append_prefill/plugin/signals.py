"""What ends a run from outside: SIGTERM, as of a CI's time limit, and the death of a controller."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from types import FrameType

_PR_SET_PDEATHSIG = 1


def end_as_interrupted(workers: Callable[[], Iterable[int]]) -> Callable[[], None]:
    """Let SIGTERM do what Ctrl-C does: what is whole is judged, recorded and reported.

    It is handed on to the processes `workers` names, as a terminal hands Ctrl-C to all. A SIGTERM
    behind another one, or behind Ctrl-C, hurries nobody: CI's send both, and the run is ending.
    Returns what puts the handlers back.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None  # only the main thread may, and a signal reaches it alone
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def interrupt(number: int, _frame: FrameType | None) -> None:
        ignore_sigterm()
        if number == signal.SIGTERM:
            for pid in workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if before[signal.SIGINT] is signal.default_int_handler:  # else someone has other plans for it
        signal.signal(signal.SIGINT, interrupt)

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return put_back


def ignore_sigterm() -> None:
    """From here on the run is ending, and its record and report are worth the seconds."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def die_with(controller: int) -> None:
    """Let the system kill this process, and so its servers, when its parent `controller` dies.

    A worker learns of that by the end of a pipe, which may take it as long as a test.
    """
    if sys.platform == "linux" and os.getppid() == controller:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != controller:  # it died just before
            os.kill(os.getpid(), signal.SIGKILL)
