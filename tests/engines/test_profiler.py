"""py-spy attached to processes: what is read of it, and what goes wrong."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from append_prefill.engines import profiler
from append_prefill.engines.profiler import find_program, function_name, read_collapsed, recorded
from append_prefill.errors import InfrastructureError, UsageError
from tests.engines.spies import spy


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (
            "Scheduler.run (/e/lib/python3.11/site-packages/sglang/srt/managers/scheduler.py)",
            "sglang.srt.managers.scheduler:Scheduler.run",
        ),
        ("run (/src/sglang/python/sglang/srt/utils/__init__.py)", "sglang.srt.utils:run"),
        ("Runner.run (/usr/lib/python3.12/asyncio/runners.py)", "asyncio.runners:Runner.run"),
        ("f.<locals>.g (/home/x/tool.py)", "tool:f.<locals>.g"),
        ("_run_code (<frozen runpy>)", "<frozen runpy>:_run_code"),
        ("no frame at all", "no frame at all"),
    ],
)
def test_a_frame_becomes_module_and_function(frame, name):
    assert function_name(frame) == name


def test_samples_are_read_by_stack():
    text = (
        "a (/x/site-packages/m.py);b c (/x/site-packages/n.py) 3\n\na (/y/site-packages/m.py) 2\n"
    )
    assert read_collapsed(io.StringIO(text)) == {("m:a", "n:b c"): 3, ("m:a",): 2}


def test_a_stack_that_was_gone_is_told_apart():
    assert read_collapsed(io.StringIO(" 2\n")) == {(): 2}


def test_what_is_no_stack_is_refused():
    with pytest.raises(ValueError, match="not a stack"):
        read_collapsed(io.StringIO("<svg>\n"))


def test_stacks_are_in_milliseconds_and_what_could_not_be_read_is_counted(tmp_path):
    program = spy(tmp_path, "f (/x/site-packages/m.py) 50\n 3\n", errors=4)
    with recorded(program, {"http": os.getpid()}, tmp_path / "out", rate_hz=200) as found:
        assert found == []
    (one,) = found
    assert one.stacks_ms == {"http": {("m:f",): 250.0}}
    assert one.errors == 7
    assert one.seconds >= 0
    assert (tmp_path / "out" / "http.collapsed").is_file()


@pytest.mark.parametrize("idle", [True, False])
def test_only_of_an_idle_server_all_threads_count(tmp_path, idle):
    program = spy(tmp_path, "f (m.py) 1\n")
    with recorded(program, {"a": 1}, tmp_path / "out", rate_hz=50, idle=idle):
        pass
    given = (tmp_path / "out" / "a.log").read_text().split()
    assert ("--idle" in given) is idle
    assert {"--nonblocking", "--rate", "50"} <= set(given)


def test_one_that_does_not_end_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(profiler, "_STOP_LIMIT_S", 0.1)
    program = spy(tmp_path, "f (m.py) 1\n", ends=False)
    with (
        pytest.raises(InfrastructureError, match="py-spy did not record the server's a"),
        recorded(program, {"a": 1}, tmp_path / "out", rate_hz=50),
    ):
        pass


def test_one_that_cannot_attach_says_why(tmp_path):
    program = spy(tmp_path, "", refuses="Permission denied")
    with (
        pytest.raises(InfrastructureError, match=r"scheduler: Permission denied.*CAP_SYS_PTRACE"),
        recorded(program, {"scheduler": os.getpid()}, tmp_path / "out", rate_hz=100),
    ):
        pytest.fail("it was attached")


def test_none_is_left_where_what_is_within_fails(tmp_path, monkeypatch):
    started = []
    attach = profiler._attach

    def noted(*args, **options):
        started.append(attach(*args, **options))
        return started[-1]

    monkeypatch.setattr(profiler, "_attach", noted)
    program = spy(tmp_path, "f (m.py) 1\n")
    with (
        pytest.raises(RuntimeError, match="within"),
        recorded(program, {"a": 1, "b": 1}, tmp_path / "out", rate_hz=100),
    ):
        raise RuntimeError("within")
    assert [process.poll() for process in started] == [-signal.SIGKILL] * 2


def test_without_py_spy_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(UsageError, match=r"append-prefill\[profile\]"):
        find_program()


def test_a_function_that_spins_is_what_py_spy_sees(tmp_path):
    try:
        program = find_program()
    except UsageError:
        pytest.skip("py-spy is not installed")
    code = "def spin():\n  while True: pass\nprint(1, flush=True)\nspin()"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        with recorded(program, {"http": child.pid}, tmp_path / "out", rate_hz=100) as found:
            time.sleep(0.5)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    stacks = found[0].stacks_ms["http"]
    assert max(stacks, key=lambda stack: stacks[stack])[-1] == "<string>:spin"
