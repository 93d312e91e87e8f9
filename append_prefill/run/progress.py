"""What is running, which launch, how long still: one line an event, from every worker.

Workers append to one file in the run's folder; whoever owns the terminal follows that file. So
the lines look the same with and without xdist, and are kept with the run.

How long still is said of the pairs that are planned, and as a range: an interim analysis may add
pairs or end the run, and no pair takes as long as the last one.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from append_prefill.errors import storing
from append_prefill.report.format import plural, seconds
from append_prefill.run.queue import Resumption

PROGRESS = "progress.log"
"""That file."""

FOLLOW_S = 0.3

UNLIKE_SHARE = 0.15
"""How far the next pair may lie outside what the pairs so far took. Of the five of `reports/sample`
the first took 74 s, the others 65 to 71."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What a `unit` ("pair" or "launch") took so far, in seconds, and how many go on at once.

    `then_judged`: after what is planned it is judged whether there will be more; `then_pair`: a P/D
    pair is launched after all of them.
    """

    unit: str
    took_s: Sequence[float]
    at_once: int = 1
    then_judged: bool = False
    then_pair: bool = False


def planned_words(planned: int, pace: Pace) -> str:
    """What is planned and how long it takes: "2 pairs, about 2 to 3 min"."""
    words = plural(planned, pace.unit)
    if not pace.took_s:
        return words
    rounds = math.ceil(planned / pace.at_once)
    low_s = rounds * min(pace.took_s) * (1 - UNLIKE_SHARE)
    high_s = rounds * max(pace.took_s) * (1 + UNLIKE_SHARE)
    return f"{words}, about {_span(low_s, high_s)}"


def resumed_words(resumption: Resumption) -> str:
    """What a run that was cut off begins with when it is gone on with."""
    return (
        f"cut off {seconds(resumption.paused_s)} ago with {plural(resumption.pairs, 'pair')} of "
        "launches whole: those are kept, the rest is measured"
    )


def left_words(done: int, planned: int, pace: Pace) -> str:
    """How far a run is, and what is left of its plan as it stands now.

    Once that is spent it says so and promises nothing: what comes then is not planned yet.
    """
    so_far = f"{done} of {plural(planned, pace.unit)} measured"
    if done >= planned:
        last = "launching the P/D pair" if pace.then_pair else "finishing"
        return f"{so_far}; {'judging whether to go on' if pace.then_judged else last}"
    until = "to the next interim analysis" if pace.then_judged else "left"
    return f"{so_far}; {until}: {planned_words(planned - done, pace)}"


def _span(low_s: float, high_s: float) -> str:
    """A range of times: whole minutes from two minutes on, else tens of seconds; never 0."""
    in_minutes = high_s >= 120
    step_s, shown, unit = (60, 1, "min") if in_minutes else (10, 10, "s")
    low = shown * max(1, round(low_s / step_s))
    high = shown * math.ceil(high_s / step_s)
    return f"{high} {unit}" if low >= high else f"{low} to {high} {unit}"


class ProgressLog:
    """Appends lines to `path`; safe from several processes, since each line is one write."""

    def __init__(self, path: Path, who: str) -> None:
        self._path, self._who = path, who
        path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, text: str) -> None:
        stamp = time.strftime("%H:%M:%S")
        who = f"[{self._who}] " if self._who else ""
        with storing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {who}{text}\n")


class Follower:
    """Calls `show` with every line that is appended to `path`, from a thread, until stopped.

    `shown_bytes`: how much of it is not to be shown.
    """

    def __init__(self, path: Path, show: Callable[[str], None], shown_bytes: int = 0) -> None:
        self._path, self._show = path, show
        self._offset = shown_bytes
        self._showing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Show what is left and end the thread."""
        self._stop.set()
        self._thread.join()
        self.show_rest()

    def show_rest(self) -> None:
        """Show what is there and not yet shown; every line is shown once, whoever asks."""
        if not self._path.exists():
            return
        with self._showing, self._path.open(encoding="utf-8") as file:
            file.seek(self._offset)
            for line in iter(file.readline, ""):
                if not line.endswith("\n"):
                    break
                self._offset = file.tell()
                self._show(line.rstrip("\n"))

    def _follow(self) -> None:
        while not self._stop.wait(FOLLOW_S):
            self.show_rest()
