"""The table of faults: what is put into a run of simulated servers, and what has to come of it.

A row is told by its first line that names the cause, the exit status, how long that may take, how
many launches are kept whole and whether no server and no secret is left. `strike` does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SERVER = "floor_ms=1,new_token_us=1"


@dataclass(frozen=True, slots=True)
class Row:
    """One fault.

    `server`: what the simulated server is told beside its costs. `options`: the suite's. `plant`:
    lines of a conftest, for what is no server's fault. `signal` is sent to pytest once `when`
    stands in a line of the progress. `first` is in the line that the user sees of it, `status` the
    exit status, `limit_s` how long it may take from then, or from the start, on a busy machine
    (four times what it took on two quiet cores, and at least 20 s). `whole`: launches kept whole,
    at least.
    """

    name: str
    first: str
    status: int
    server: str = ""
    options: Sequence[str] = ()
    plant: str = ""
    signal: str | None = None
    when: str = ""
    limit_s: float = 60.0
    whole: int = 0
    recorded: bool = True


# A full disk, for everything that is written whole; the files themselves are sound.
FULL = """
import errno, os
from pathlib import Path
left, sync = {after}, os.fsync
def fsync(number):
    global left
    left -= 1
    if left < 0:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    sync(number)
os.fsync = fsync
"""

FOREIGN = """
from append_prefill.probe.launch import Launch
close = Launch.close_block
def close_block(self, state):
    close(self, state.model_copy(update={"KEY": "another process works on the device"}))
Launch.close_block = close_block
""".replace("KEY", "void")

VERSIONS = """
from append_prefill.probe.launch import Launch
connect = Launch.connect
def told(self):
    connect(self)
    self.start.subject["sglang"] = f"0.5.2{self.start.index}"
Launch.connect = told
"""

FOLDER_CALLED_LATEST = """
import pathlib
(pathlib.Path(__file__).parent / "reports" / "latest").mkdir(parents=True, exist_ok=True)
"""

CUT = "The run was cut short"
ENDED = "the server ended with status"
NOTHING_VALID = "no sample of a round of the warm-up was valid"
JUDGING = """
import pathlib, time
from append_prefill.run import session
judge = session.judge
def slowly(*args, **more):
    (log,) = (pathlib.Path(__file__).parent / "reports").glob("2*/progress.log")
    with log.open("a") as file:
        print("now judging", file=file)
    time.sleep(2)
    return judge(*args, **more)
session.judge = slowly
"""

PHASES = {
    "start": (": starting", ""),
    "warm-up": ("warming up", ""),
    "measuring": ("block 1 ", ""),
    "judging": ("now judging", JUDGING),
}

ROWS = (
    Row("server dies at start", ENDED, 7, "fault=refuse-start"),
    Row("server dies mid-run", ENDED, 7, "fault=die-after=15"),
    Row("server answers 500", "was not ready within", 7, "fault=http-500=1"),
    Row("server drops every connection", CUT, 7, "fault=drop=1"),
    Row("stream without a token", NOTHING_VALID, 7, "fault=no-tokens=1"),
    Row("error in every stream", NOTHING_VALID, 7, "fault=stream-error=1"),
    Row("retraction of every request", NOTHING_VALID, 7, "fault=retraction=1"),
    Row("cached_tokens lying high", NOTHING_VALID, 7, "fault=cached-inflated=5"),
    Row("no prefix cache", NOTHING_VALID, 7, "fault=radix-off"),
    Row("server info is HTML", "JSON", 7, "fault=info=html"),
    Row("server info is a list", "JSON", 7, "fault=info=list"),
    Row("version with a path in it", "version", 7, "fault=says-version=../../x"),
    Row("server deaf to SIGTERM", "verdict: ", 0, "fault=ignore-sigterm", whole=2),
    Row("server leaves a child behind", "verdict: ", 0, "fault=orphan=session", whole=2),
    *(
        Row(
            f"{name} while {phase}",
            "verdict: ",
            2,
            signal=name,
            when=when,
            plant=plant,
            whole=2 if phase == "judging" else 0,
        )
        for name in ("SIGINT", "SIGTERM")
        for phase, (when, plant) in PHASES.items()
    ),
    *(
        Row(
            f"{name} with two workers",
            "verdict: " if name == "SIGTERM" else "append-prefill: candidate",
            2 if name == "SIGTERM" else -9,
            "devices=2",
            options=("-n", "2", "--starts=4"),
            signal=name,
            when="block 1 ",
        )
        for name in ("SIGTERM", "SIGKILL")
    ),
    Row("SIGKILL", "block 1 ", -9, signal="SIGKILL", when="block 1 "),
    *(
        Row(
            f"disk full at write {number}",
            "cannot be written: No space left on device",
            7,
            plant=FULL.format(after=number - 1),
            # The fifth is the record itself, before anything is measured.
            recorded=number > 5,
        )
        for number in (1, 5, 9, 13, 25)
    ),
    Row(
        "folder that cannot be written to",
        "--report-dir",
        4,
        options=("--report-dir=/proc/none",),
        recorded=False,
    ),
    Row("a folder called latest", "so it will not point", 0, plant=FOLDER_CALLED_LATEST, whole=2),
    Row("foreign load on every block", "Nothing more is launched", 7, plant=FOREIGN),
    Row("versions that differ", "told several versions", 0, plant=VERSIONS, whole=2),
    Row(
        "secret in an argument",
        "--server-arg",
        4,
        options=("--server-arg=--api-key=hunter2",),
        recorded=False,
    ),
)
