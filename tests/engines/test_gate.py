"""The gate in real processes: who waits there, who does not, and what becomes of those who do."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from append_prefill.engines.gate import Gate, Quiet

LIMIT_S = 15
# As SGLang does it: the first process imports what the worker runs, and has it spawned.
WORK = """
    import os
    def run(path):
        open(path, "w").write(str(os.getpid()))
"""
SERVER = """
    import multiprocessing, sys
    import work
    if __name__ == "__main__":
        worker = multiprocessing.get_context("spawn").Process(target=work.run, args=(sys.argv[1],))
        worker.start()
        worker.join()
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "work.py").write_text(textwrap.dedent(WORK))
    (tmp_path / "server.py").write_text(textwrap.dedent(SERVER))
    return tmp_path


def launch(folder, gate, **more):
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder)}
    argv = [sys.executable, str(folder / "server.py"), str(folder / "ran")]
    return subprocess.Popen(argv, env=gate.env(env), **more)


def eventually(condition):
    limit = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_worker_waits_at_its_gate_without_working_until_it_is_opened(folder):
    gate = Gate(folder, "work:run")
    server = launch(folder, gate)
    eventually(lambda: gate.reached)
    quiet = Quiet()
    eventually(lambda: quiet.poll([server.pid]))
    assert server.poll() is None
    assert not (folder / "ran").exists()
    gate.open()
    assert server.wait(LIMIT_S) == 0
    assert (folder / "ran").exists()
    gate.close()


def test_who_comes_to_an_open_gate_goes_on_and_is_seen(folder):
    gate = Gate(folder, "work:run")
    gate.open()
    for _ in range(2):
        assert launch(folder, gate).wait(LIMIT_S) == 0
        assert gate.reached
        (folder / "ran").unlink()
    gate.close()


@pytest.mark.parametrize("at", ["work:another", "elsewhere:run"])
def test_a_server_without_that_function_is_not_seen_at_the_gate(folder, at):
    gate = Gate(folder, at)
    assert launch(folder, gate).wait(LIMIT_S) == 0
    assert (folder / "ran").exists()
    assert not gate.reached


def test_a_worker_that_waits_ends_with_the_server(folder):
    """It has not come to where SGLang's own workers see to that."""
    (folder / "work.py").write_text(textwrap.dedent(WORK) + "print(os.getpid(), flush=True)\n")
    gate = Gate(folder, "work:run")
    server = launch(folder, gate, stdout=subprocess.PIPE, text=True)
    eventually(lambda: gate.reached)
    pids = [int(server.stdout.readline()) for _ in range(2)]
    assert pids[0] == server.pid
    server.send_signal(signal.SIGKILL)
    server.communicate()
    eventually(lambda: not Path(f"/proc/{pids[1]}").exists() or "Z" in state_of(pids[1]))


def state_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_the_environments_own_customizing_still_happens(folder):
    (folder / "sitecustomize.py").write_text("import sys; sys.customized = True")
    said = "import sys; print(sys.customized, flush=True)"
    (folder / "work.py").write_text(f"{textwrap.dedent(WORK)}{said}\n")
    gate = Gate(folder, "work:run")
    gate.open()
    server = launch(folder, gate, stdout=subprocess.PIPE, text=True)
    said, _ = server.communicate(timeout=LIMIT_S)
    gate.close()
    assert said.split()[:2] == ["True", "True"]


def test_a_gate_that_is_gone_cannot_be_opened(folder):
    gate = Gate(folder, "work:run")
    (folder / "gate").unlink()
    with pytest.raises(FileNotFoundError):
        gate.open()


def test_who_works_is_not_quiet():
    quiet = Quiet()
    limit = time.monotonic() + 1
    seen = []
    while time.monotonic() < limit:
        seen.append(quiet.poll([os.getpid()]))
        sum(range(100_000))
    assert len(seen) > 2
    assert not any(seen)
