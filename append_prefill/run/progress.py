"""What is running, which launch, how long still: one line an event, from every worker.

Workers append to one file in the run's folder; whoever owns the terminal follows that file. So
the lines look the same with and without xdist, and are kept with the run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

FOLLOW_S = 0.3


class ProgressLog:
    """Appends lines to `path`; safe from several processes, since each line is one write."""

    def __init__(self, path: Path, who: str) -> None:
        self._path, self._who = path, who
        path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, text: str) -> None:
        stamp = time.strftime("%H:%M:%S")
        who = f"[{self._who}] " if self._who else ""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {who}{text}\n")


class Follower:
    """Calls `show` with every line that is appended to `path`, from a thread, until stopped."""

    def __init__(self, path: Path, show: Callable[[str], None]) -> None:
        self._path, self._show = path, show
        self._offset = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Show what is left and end the thread."""
        self._stop.set()
        self._thread.join()
        self._drain()

    def _follow(self) -> None:
        while not self._stop.wait(FOLLOW_S):
            self._drain()

    def _drain(self) -> None:
        if not self._path.exists():
            return
        with self._path.open(encoding="utf-8") as file:
            file.seek(self._offset)
            for line in iter(file.readline, ""):
                if not line.endswith("\n"):
                    break
                self._offset = file.tell()
                self._show(line.rstrip("\n"))
