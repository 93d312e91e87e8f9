import mmap
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from append_prefill.engines import process as module
from append_prefill.engines.ports import free_port
from append_prefill.engines.process import launch_server, log_tail
from append_prefill.engines.versions import LONE_HALF
from append_prefill.engines.waiting import await_ready
from append_prefill.errors import InfrastructureError, ServerDiedError

LIMIT_S = 15


def start(argv, cpu, tmp_path, limit_s=LIMIT_S, **more):
    port = more.pop("port", free_port())
    server = launch_server(
        [*argv, str(port)],
        dict(os.environ),
        port=port,
        server_args=["--a"],
        log_path=tmp_path / "logs" / "server.log",
        device=cpu,
        ready_path="/model_info",
        info_paths=("/server_info",),
        versions={},
        start_limit_s=limit_s,
        **more,
    )
    try:
        await_ready([server])
    except ServerDiedError:
        server.stop()
        raise
    return server


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def await_gone(pids):
    limit = time.monotonic() + LIMIT_S
    while any(map(alive, pids)):
        assert time.monotonic() < limit, f"left: {[p for p in pids if alive(p)]}"
        time.sleep(0.02)


def scratch_of(pids):
    for pid in pids:
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if entry.startswith(b"TMPDIR=") and b"append-prefill-" in entry:
                return Path(entry.decode().partition("=")[2])
    raise AssertionError("no TMPDIR of its own")


def test_a_server_starts_describes_itself_and_leaves_nothing(cpu, tmp_path, fake_server):
    server = start(fake_server, cpu, tmp_path, freeze_gc=True)
    pids = server.pids()
    scratch = scratch_of(pids)
    assert len(pids) == 2
    assert server.ready_s > 0
    assert scratch.is_dir()
    server.check_alive()
    assert server.describe().page_size_tokens == 1
    server.stop()
    server.stop()
    assert not any(map(alive, pids))
    assert not scratch.exists()
    assert server.pids() == set()


def test_another_program_on_the_port_is_not_taken_for_the_server(cpu, tmp_path, fake_server):
    """A server takes half a minute to load, and its port is free until then."""
    port = free_port()
    other = subprocess.Popen([*fake_server, str(port)])
    try:
        sleeps = [sys.executable, "-S", "-c", f"import time; time.sleep({4 * LIMIT_S})"]
        with pytest.raises(ServerDiedError, match=f"another program answers at .*:{port}"):
            start(sleeps, cpu, tmp_path, port=port)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_the_busy_processes_are_the_first_and_those_that_sglang_named(cpu, tmp_path, fake_server):
    """SGLang's workers set their titles; a resource tracker or compiler works on no request."""
    body = textwrap.dedent("""
        import subprocess
        for title in ("sglang::scheduler", "sglang::detokenizer", "python3"):
            command = [title, "-c", "import time; time.sleep(99)"]
            subprocess.Popen(command, executable=sys.executable)
    """)
    *command, code = fake_server
    server = start(
        [*command, code.replace("class Handler", f"{body}\nclass Handler")], cpu, tmp_path
    )
    try:
        busy = server.busy_pids()
        assert busy.keys() == {"http", "scheduler", "detokenizer"}
        assert len(set(busy.values())) == 3
        assert set(busy.values()) < server.pids() - {server._supervisor.pid}
        assert code[:20] in Path(f"/proc/{busy['http']}/cmdline").read_text()
    finally:
        server.stop()
    assert server.busy_pids() == {}


def test_a_server_that_ends_at_once_is_refused_with_its_last_lines(cpu, tmp_path):
    argv = [
        sys.executable,
        "-S",
        "-c",
        "print('x' * 9999); print('no such flag'); raise SystemExit(3)",
    ]
    with pytest.raises(ServerDiedError, match="status 3") as caught:
        start(argv, cpu, tmp_path, limit_s=60)
    assert "no such flag" in caught.value.log_tail
    assert len(caught.value.log_tail) < 1000


def test_a_server_that_never_answers_is_stopped_at_the_limit(cpu, tmp_path):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(99)"
    with pytest.raises(ServerDiedError, match=r"not ready within 0\.7 s"):
        start([sys.executable, "-S", "-c", code], cpu, tmp_path, limit_s=0.7)
    pid = int((tmp_path / "logs" / "server.log").read_text())
    assert not alive(pid)


def test_a_death_while_serving_is_noticed(cpu, tmp_path, fake_server):
    server = start(fake_server, cpu, tmp_path)
    (child,) = server.pids() - {server._supervisor.pid}
    os.kill(child, signal.SIGKILL)
    await_gone([child, server._supervisor.pid])
    with pytest.raises(ServerDiedError, match=r"status 137 \(SIGKILL\), once it was ready"):
        server.check_alive()
    server.stop()


def test_a_death_that_the_supervisor_does_not_know_of_yet_is_waited_for(cpu, tmp_path, fake_server):
    server = start(fake_server, cpu, tmp_path)
    (child,) = server.pids() - {server._supervisor.pid}
    server.check_alive(suspected=True)  # nothing is wrong with it
    os.kill(child, signal.SIGKILL)
    with pytest.raises(ServerDiedError, match="status 137"):
        server.check_alive(suspected=True)
    server.stop()


def test_two_servers_start_side_by_side(cpu, tmp_path, fake_server):
    launched = []
    for name in ("a", "b"):
        port = free_port()
        launched.append(
            launch_server(
                [*fake_server, str(port)],
                dict(os.environ),
                port=port,
                server_args=[],
                log_path=tmp_path / name,
                device=cpu,
                ready_path="/model_info",
                info_paths=("/server_info",),
                versions={},
                start_limit_s=LIMIT_S,
            )
        )
    assert [server.ready_s for server in launched] == [None, None]
    await_ready(launched)
    assert all(server.ready_s > 0 and server.poll_ready() for server in launched)
    for server in launched:
        server.stop()


def test_the_probe_carries_what_a_lone_half_of_a_pair_asks_for(cpu, tmp_path, fake_server):
    """Without its fields such a half refuses, and would never count as ready."""
    body = 'self.rfile.read(int(self.headers.get("Content-Length", 0)))'
    refuse = f'if b"bootstrap_room" not in {body}: return self.send_error(400)'
    argv = [*fake_server[:-1], fake_server[-1].replace(body, refuse)]
    start(argv, cpu, tmp_path, probe_fields=LONE_HALF).stop()
    with pytest.raises(ServerDiedError, match="not ready"):
        start(argv, cpu, tmp_path, limit_s=1)


def test_memory_is_waited_for_when_every_server_is_gone(cpu, tmp_path, fake_server, monkeypatch):
    held = iter([1, 2**34, 2**33, 1])
    monkeypatch.setattr(module, "memory_used_bytes", lambda _: next(held))
    server = start(fake_server, cpu, tmp_path)
    server.stop()  # does not look: another server of the pair may hold its own
    server.await_memory()
    assert next(held, None) is None


def test_memory_that_stays_is_an_error(cpu, tmp_path, fake_server, monkeypatch):
    held = iter([0])
    monkeypatch.setattr(module, "memory_used_bytes", lambda _: next(held, 2**34))
    monkeypatch.setattr(module, "_MEMORY_LIMIT_S", 0.2)
    server = start(fake_server, cpu, tmp_path)
    server.stop()
    with pytest.raises(InfrastructureError, match=r"16\.0 GiB in use"):
        server.await_memory()


# A child in a group of its own, deaf to SIGTERM, as the worst of servers would leave one.
STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-S", "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(99)"],
    start_new_session=True)
"""


def test_a_stubborn_tree_is_killed(cpu, tmp_path, fake_server, monkeypatch):
    monkeypatch.setitem(module._GRACE_S, "cpu", 0.3)
    argv = [*fake_server[:-1], STUBBORN + fake_server[-1]]
    server = start(argv, cpu, tmp_path)
    pids = server.pids()
    assert len(pids) == 3
    server.stop()
    assert not any(map(alive, pids))


def test_shared_memory_of_a_killed_server_is_removed(cpu, tmp_path, fake_server):
    name = f"sglang_test_{os.getpid()}.shm"
    code = textwrap.dedent(
        f"""
        import mmap
        kept = open("/dev/shm/{name}", "w+b"); kept.truncate(4096)
        view = mmap.mmap(kept.fileno(), 4096)
        """
    )
    server = start([*fake_server[:-1], code + fake_server[-1]], cpu, tmp_path)
    assert Path("/dev/shm", name).exists()
    server.stop()
    assert not Path("/dev/shm", name).exists()


def test_shared_memory_of_a_server_that_crashed_is_removed_and_no_other(cpu, tmp_path):
    """Its maps are gone with it; what another process still maps is that one's."""
    left, other = (Path("/dev/shm", f"sglang_test_{os.getpid()}_{name}.shm") for name in "ab")
    # The other appears while the server runs, so that its age does not tell them apart.
    code = f"open({str(left)!r}, 'w').close(); open({str(other)!r}, 'r+b').write(bytes(4096))"
    try:
        with other.open("w+b") as kept:
            kept.truncate(4096)
            with mmap.mmap(kept.fileno(), 4096):
                with pytest.raises(ServerDiedError, match="ended with status"):
                    start([sys.executable, "-S", "-c", code], cpu, tmp_path)
                assert not left.exists()
                assert other.exists()
    finally:
        for path in (left, other):
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_survives_the_suite(cpu, tmp_path, fake_server, number):
    """A killed worker runs no handler, and Ctrl-C may come at any time: both leave nothing."""
    code = textwrap.dedent(
        f"""
        import os, time
        from pathlib import Path
        from append_prefill.engines.base import Device
        from append_prefill.engines.ports import free_port
        from append_prefill.engines.process import launch_server
        from append_prefill.engines.waiting import await_ready
        port = free_port()
        server = launch_server({fake_server!r} + [str(port)], dict(os.environ), port=port,
            server_args=[], log_path=Path({str(tmp_path)!r}) / "log", versions={{}},
            device=Device("cpu", "cpu", "test", 1), ready_path="/model_info", info_paths=(),
            start_limit_s=20)
        await_ready([server])  # before that the supervisor may not have a child yet
        print(*server.pids(), flush=True)
        time.sleep(99)
        """
    )
    suite = subprocess.Popen(
        [sys.executable, "-c", code],
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
    assert not scratch.exists()


def test_log_tail_of_nothing(tmp_path):
    assert log_tail(tmp_path / "none") == ""
