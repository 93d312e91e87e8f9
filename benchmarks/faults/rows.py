"""The table of faults: what is put into a run of simulated servers, and what has to come of it.

A row is told by its first line that names the cause, the exit status, how long that may take, how
many launches are kept whole and whether no server and no secret is left. `strike` does it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

SERVER = "floor_ms=1,new_token_us=1"


@dataclass(frozen=True, slots=True)
class Row:
    """One fault.

    `server`: what the simulated server is told beside its costs. `options`: the suite's. `plant`:
    lines of a conftest, for what is no server's fault; `environment`: of pytest. `signal` is sent
    to `target` once `when` stands in a line of the progress; a SIGSTOP is followed by a SIGCONT
    `stopped_s` later. `runs` of it are made at once. `then`: a command of `append-prefill` about
    the run, afterwards, of what is printed by which the row is told. `first` is in the line that
    the user sees of it, `status` the exit status, `limit_s` how long it may take from then, or from
    the start, on a busy machine (four times what it took on two quiet cores, and at least 20 s).
    `whole`: launches kept whole, at least.
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
    environment: Mapping[str, str] = field(default_factory=dict)
    target: Literal["pytest", "server", "all"] = "pytest"
    stopped_s: float = 2.0
    runs: int = 1
    then: Sequence[str] = ()
    tests: Sequence[str] = ("perf_tests/test_exp3_append.py",)


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
close = Launch.close_leg
def close_leg(self, state, **how):
    close(self, state.model_copy(update={"KEY": "another process works on the device"}), **how)
Launch.close_leg = close_leg
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
from append_prefill.run import concluding
judge = concluding.judge
def slowly(*args, **more):
    (log,) = (pathlib.Path(__file__).parent / "reports").glob("2*/progress.log")
    with log.open("a") as file:
        print("now judging", file=file)
    time.sleep(2)
    return judge(*args, **more)
concluding.judge = slowly
"""

BASELINE = """
import json, pathlib
from append_prefill.records.store import read_run, run_text
from tests.records import builders
data = json.loads(run_text(builders.run()))
times = data["starts"][0]["series"][0]["ttft_ms"]
{change}
text = json.dumps(data)
{cut}
(pathlib.Path(__file__).parent / "old.json").write_text(text)
"""
HOSTILE = {
    "cut short": ("", "text = text[:3000]"),
    "that is a page": ("", "text = '<html><script>alert(1)</script></html>'"),
    "of another program": ("data = {'schema': 'other/1'}", ""),
    "of a newer suite": ("data['schema'] = 'append-prefill/run/99'", ""),
    "with a NaN": ("times[0] = float('nan')", ""),
    "with a negative time": ("times[0] = -1.0", ""),
    "with times in ns": ("times[0] = 2e10", ""),
    "with a point twice": (
        "series = data['starts'][0]['series']; series.append(dict(series[0]))",
        "",
    ),
    "with a launch twice": ("data['starts'] = data['starts'][:1] * 2", ""),
}
"""A stored run that something happened to, by what: a change of its data, or of its text."""

TAKEN = """
import http.server, threading
from append_prefill.engines import local
other = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
threading.Thread(target=other.serve_forever, daemon=True).start()
local.free_port = lambda: other.server_port
"""

NAMED = r"""
import pathlib
from benchmarks.faults.strike import PROFILE
here = pathlib.Path(__file__).parent
before, mark, after = PROFILE.read_text().partition("[model]\n")
name = {name}
text = before + mark + "name = " + name + "\n" + after.partition("\n")[2]
(here / "named.toml").write_text(text)
"""
HOSTILE_TEXT = "<script>alert(1)</script>\\u001b[31m\\n# h"
SECRET = "hunter2"

PHASES = {
    "start": (": starting", ""),
    "warm-up": ("warming up", ""),
    "measuring": ("block 1 ", ""),
    "judging": ("now judging", JUDGING),
}

_SIGNALLED = (
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
    Row(
        "SIGKILL",
        "The run ended before it was judged",
        -9,
        signal="SIGKILL",
        when="launch 2: block 1 ",
        whole=1,
        then=("report", "--format=md", "--out=-"),
    ),
    *(
        Row(
            f"SIGSTOP of {what}",
            "verdict: ",
            0,
            signal="SIGSTOP",
            when="block 1 ",
            target=target,
            # One of two samples that stood still would be half of its point.
            options=("--samples=6",),
            whole=2,
        )
        for what, target in (("pytest", "pytest"), ("the server", "server"), ("the host", "all"))
    ),
    Row("SIGKILL of the server", "(SIGKILL), once it was ready", 7, signal="SIGKILL",
        when="launch 2: block 1 ", target="server", whole=1),
)  # fmt: skip

_ANSWERS = (
    *(
        Row(f"{what} in every answer", NOTHING_VALID, 7, f"fault={name}=1")
        for what, name in (
            ("JSON cut short", "garbage"),
            ("words for numbers", "wrong-types"),
            ("null for meta_info", "no-meta"),
        )
    ),
    *(
        Row(f"{what} in one answer of ten", "samples are invalid", 0, f"fault={name}=0.1",
            options=("--samples=6",), whole=2)
        for what, name in (
            ("words for numbers", "wrong-types"),
            ("an error", "stream-error"),
            ("HTTP 500", "http-500"),
        )
    ),
    Row("HTTP 500 in one answer of twenty, all tests", "verdict: ", 0, "fault=http-500=0.05",
        options=("--samples=6",), whole=2, tests=()),
    Row("credentials refused in three answers of ten", "HTTP 401", 7, "fault=http-401=0.3"),
    Row("an empty first event", "verdict: ", 0, "fault=empty-first", whole=2),
    Row("events that drip", "verdict: ", 0, "fault=drip-ms=1", whole=2),
    Row("several tokens in the first event", "verdict: ", 0, "fault=coalesce=2", whole=2),
)  # fmt: skip

_HOSTILE = (
    *(
        Row(f"a baseline {what}", "old.json", 4, options=("--baseline=old.json",),
            plant=BASELINE.format(change=change, cut=cut), recorded=False)
        for what, (change, cut) in HOSTILE.items()
    ),
    Row("a baseline of another machine", "verdict: ", 0, options=("--baseline=old.json",),
        plant=BASELINE.format(change="", cut=""), whole=2),
    Row("two runs that store one baseline", "verdict: ", 0, "sglang-version=0.5.23",
        options=("--save-baseline", "--budget=10"), runs=2, whole=4, tests=()),
    Row("a script and escapes in a model's name", "verdict: ", 0, whole=2,
        options=("--profile=named.toml",), plant=NAMED.format(name=repr(f'"{HOSTILE_TEXT}"'))),
    Row("a megabyte in a model's name", "model.name: String should have at most", 4,
        options=("--profile=named.toml",), recorded=False,
        plant=NAMED.format(name="""'"' + "x" * 1_000_000 + '"'""")),
    Row("a script and escapes in the server's last words", ENDED, 7,
        "fault=refuse-start=<script>\x1b[31m"),
    Row("a version asked for that is none", "is not a version of SGLang", 4,
        "sglang-version=../../x", recorded=False),
    Row("a script and escapes in a version", "version", 7, "fault=says-version=<script>\x1b[31m"),
    Row("a megabyte of digits for a version", "version", 7, f"fault=says-version={'9' * 100_000}"),
)  # fmt: skip

_SECRETS = (
    Row("secret in an argument", "--server-arg", 4,
        options=(f"--server-arg=--api-key={SECRET}",), recorded=False),
    Row("secret in a URL", "--sglang-url", 4,
        options=(f"--sglang-url=http://me:{SECRET}@127.0.0.1:1",), recorded=False),
    Row("secret in the environment", "verdict: ", 0, whole=2,
        environment={"APPEND_PREFILL_API_KEY": SECRET, "HF_TOKEN": SECRET}),
)  # fmt: skip

ROWS = (
    Row("server dies at start", "CUDA out of memory", 7, "fault=refuse-start"),
    Row("server dies mid-run", "once it was ready", 7, "fault=die-after=15"),
    Row("port taken by another program", ENDED, 7, plant=TAKEN),
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
    *_ANSWERS,
    *_HOSTILE,
    *_SECRETS,
    *_SIGNALLED,
    *(
        Row(
            f"disk full at write {number}",
            "cannot be written: No space left on device",
            7,
            plant=FULL.format(after=number - 1),
            # The fifth is the record itself, before anything is measured.
            recorded=number > 5,
        )
        for number in (*range(1, 14), 25)
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
)
