import subprocess

import pytest

from append_prefill.engines.ports import free_port
from append_prefill.engines.resolve import resolve_url
from append_prefill.errors import ServerDiedError, UsageError


@pytest.fixture
def running(fake_server):
    port = free_port()
    process = subprocess.Popen([*fake_server, str(port)])
    engine = resolve_url(f"http://127.0.0.1:{port}/", "hush")
    for _ in range(200):
        try:
            engine.check()
        except UsageError:
            process.poll()
            continue
        break
    yield engine, process
    process.kill()
    process.wait()


def test_a_running_server_is_measured_and_left_alone(running, cpu, tmp_path):
    engine, process = running
    server = engine.start(cpu, tmp_path / "log")
    assert (engine.version, engine.replicable) == ("0.5.23", False)
    assert engine.model_identity()["name"] == "m"
    assert server.describe().page_size_tokens == 1
    assert (server.ready_s, server.log_path, server.pids()) == (None, None, {process.pid})
    server.stop()
    assert process.poll() is None
    assert "hush" not in repr(engine) + repr(server)


def test_its_death_is_noticed(running, cpu, tmp_path):
    engine, process = running
    server = engine.start(cpu, tmp_path / "log")
    process.kill()
    process.wait()
    with pytest.raises(ServerDiedError, match="no longer answers"):
        server.check_alive()


def test_nothing_there():
    with pytest.raises(UsageError, match="does not answer"):
        resolve_url(f"http://127.0.0.1:{free_port()}", None).check()
