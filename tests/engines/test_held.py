"""A server that is launched and held, as its owner sees it."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from append_prefill.engines import process as module
from append_prefill.engines.ports import free_port
from append_prefill.engines.process import launch_server
from append_prefill.engines.waiting import await_held, await_reached, await_ready
from append_prefill.errors import ServerDiedError
from tests.engines.conftest import FAKE_SERVER
from tests.engines.test_process import LIMIT_S, alive, await_gone, scratch_of

GATE_AT = "fake:serve"


@pytest.fixture
def launch(cpu, tmp_path):
    """Launches the fake server, gated; all that it launched is stopped."""
    lines = textwrap.dedent(FAKE_SERVER).strip().splitlines()
    serve = "\n".join(["def serve():", "    print('serving', flush=True)", f"    {lines[-1]}"])
    (tmp_path / "fake.py").write_text("\n".join([*lines[:-1], serve]))
    launched = []

    def start(code="import fake; fake.serve()", gate_at=GATE_AT, name="held.log", limit_s=LIMIT_S):
        port = free_port()
        server = launch_server(
            [sys.executable, "-c", code, str(port)],
            {**os.environ, "PYTHONPATH": str(tmp_path)},
            port=port,
            server_args=[],
            log_path=tmp_path / name,
            device=cpu,
            ready_path="/model_info",
            info_paths=(),
            versions={},
            start_limit_s=limit_s,
            gate_at=gate_at,
        )
        launched.append(server)
        return server

    yield start
    for server in launched:
        server.stop()


def listens(server):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(server.base_url.rpartition(":")[2]))) == 0


def test_it_takes_no_port_until_it_is_let_go_and_is_then_as_any_other(launch, tmp_path):
    began = time.monotonic()
    server = launch()
    await_held([server])
    assert server.reached
    assert not listens(server)
    assert not server.poll_ready()
    running = server.let_go(tmp_path / "candidate-3.log")
    await_ready([running])
    elapsed = time.monotonic() - began
    assert 0.5 <= running.held_s <= elapsed - running.ready_s
    assert running.log_path == tmp_path / "candidate-3.log"
    assert "serving" in running.log_path.read_text()
    assert not (tmp_path / "held.log").exists()
    assert listens(server)


def test_one_that_is_let_go_at_once_was_not_held(launch, tmp_path):
    server = launch(name="log")
    running = server.let_go(tmp_path / "log")
    assert await_reached([server], [running])
    await_ready([running])
    assert running.held_s is None
    assert running.ready_s > 0


def test_one_that_does_not_come_by_the_gate_is_found_out(launch, tmp_path):
    server = launch(gate_at="elsewhere:serve", name="log")
    running = server.let_go(tmp_path / "log")
    assert not await_reached([server], [running])
    assert running.ready_s > 0


def test_a_server_launched_without_a_gate_has_not_reached_one(launch):
    server = launch(gate_at=None)
    await_ready([server])
    assert not server.reached


def test_one_that_still_works_beside_its_worker_is_not_held_yet(launch):
    """The detokenizer imports too, and the scheduler may be first at the gate."""
    busy = "import threading; threading.Thread(target=fake.serve, daemon=True).start()"
    server = launch(f"import fake; {busy}\nwhile True: pass", limit_s=2)
    with pytest.raises(ServerDiedError, match="not held within 2 s"):
        await_held([server])
    assert server.reached


def test_one_that_ends_while_it_is_held_is_noticed(launch, tmp_path):
    server = launch("import fake; print('out of memory', flush=True); fake.serve()")
    await_held([server])
    (child,) = server.pids() - {server._supervisor.pid}
    os.kill(child, signal.SIGKILL)
    await_gone([child, server._supervisor.pid])
    for ask in (server.poll_held, lambda: server.let_go(tmp_path / "log")):
        with pytest.raises(ServerDiedError, match="status 137") as caught:
            ask()
        assert "out of memory" in caught.value.log_tail


def test_what_a_gpu_holds_before_is_read_at_its_turn(launch, tmp_path, monkeypatch):
    """At the launch another pair is still on the device."""
    used = iter([2**34, 1, 2**34, 1])
    monkeypatch.setattr(module, "memory_used_bytes", lambda _: next(used))
    server = launch()
    await_held([server])
    server.let_go(tmp_path / "log")
    await_ready([server])
    server.stop()
    server.await_memory()  # had the first reading counted, the third would have been good
    assert next(used, None) is None


def test_stopped_while_it_is_held_it_leaves_nothing(launch):
    server = launch()
    await_held([server])
    pids, scratch = server.pids(), scratch_of(server.pids())
    server.begin_stop()
    server.stop()
    assert not any(map(alive, pids))
    assert not scratch.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_that_is_held_survives_the_suite(tmp_path, number):
    code = f"""
        import time
        from pathlib import Path
        from append_prefill.engines.base import Device
        from append_prefill.engines.local import PlantedEngine
        from append_prefill.engines.waiting import await_held
        from append_prefill.workload.loading import load_profile
        engine = PlantedEngine({{}}, load_profile("cpu-nano"))
        server = engine.hold(Device("cpu", "cpu", "test", 1), Path({str(tmp_path / "log")!r}))
        await_held([server])
        print(*server.pids(), flush=True)
        time.sleep(99)
    """
    suite = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Tests that run in the background of a shell inherit a SIGINT that is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    pids = [int(pid) for pid in suite.stdout.readline().split()]
    assert len(pids) == 2
    scratch = scratch_of(pids)
    suite.send_signal(number)
    suite.communicate(timeout=LIMIT_S)
    await_gone(pids)
    assert not Path(scratch).exists()
