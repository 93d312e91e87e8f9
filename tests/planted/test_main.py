"""The server as a process: how it starts, fails, ends, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress

import httpx
import psutil
import pytest

from tests.planted.client import Client

QUICK = ("--floor-ms", "1", "--decode-ms", "0.2")
READY = "The server is fired up and ready to roll!"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def launched(*arguments: str, env: dict[str, str] | None = None):
    """The process in a group of its own, its base URL; killed with its group in the end."""
    port = free_port()
    command = [sys.executable, "-m", "append_prefill.planted", "--port", str(port), *arguments]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, **(env or {})},
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)


def until(process: subprocess.Popen[str], words: str) -> str:
    """Read the log up to the line that has `words`; that line."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return line
    raise AssertionError(f"the log ended without {words!r}")


def client_at(url: str, **options) -> Client:
    return Client(base_url=url, timeout=10, trust_env=False, **options)


def test_starts_serves_and_stops_on_sigterm():
    with launched(*QUICK, "--start-seed", "5", "--page-size", "4") as (process, url):
        until(process, READY)
        with client_at(url) as client:
            assert client.stream_generate(range(100, 120)).done
            info = client.get("/server_info").json()
            assert (info["random_seed"], info["page_size"]) == (5, 4)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_imports_stay_light():
    """It has to start in well under a second, so nothing of the suite's heavy parts comes along."""
    heavy = "{'numpy', 'scipy', 'pydantic', 'httpx', 'asyncio'}"
    code = f"import sys, append_prefill.planted.__main__; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_old_protocol_from_the_command_line():
    with launched(*QUICK, "--sglang-version", "0.5.5.post3") as (process, url):
        until(process, READY)
        with client_at(url) as client:
            assert client.get("/server_info").status_code == 404
            assert client.get("/get_server_info").json()["version"] == "0.5.5.post3"


def test_costs_of_traffic_from_the_command_line():
    costs = {"text_us": 2.5, "template_us": 0.5, "interference": 0.25, "decode_load": 0.1}
    costs["evict_us_per_leaf"] = 3.0
    words = [w for k, v in costs.items() for w in ("--" + k.replace("_", "-"), str(v))]
    with launched(*words, "--fault", "reply-lost=0.5") as (process, _):
        told = until(process, "simulated")
    assert all(f"{name}={value}" in told for name, value in costs.items())
    assert "reply_lost=0.5" in told


def test_the_key_comes_from_the_environment_and_stays_out_of_the_log():
    key = "a-key-for-this-test"
    with launched("--api-key-env", "PLANTED_KEY", env={"PLANTED_KEY": key}) as (process, url):
        assert key not in until(process, "simulated")
        assert key not in until(process, READY)
        with client_at(url) as client:
            assert client.get("/model_info").status_code == 401
        with client_at(url, headers={"authorization": f"Bearer {key}"}) as client:
            assert client.get("/model_info").status_code == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model-path", "X"], "unrecognized arguments: --model-path X"),
        (["--floor", "3"], "unrecognized arguments: --floor"),
        (["--fault", "nothing"], "no fault 'nothing'"),
        (["--floor-ms", "-1"], "floor_ms"),
        (["--interference", "2"], "interference must lie between 0 and 1"),
        (["--sglang-version", "0.5.7", "--fault", "reply-lost=0.5"], "0.5.7 caches no reply"),
        (["--api-key-env", "NOT_SET_ANYWHERE"], "not set"),
    ],
)
def test_bad_options_end_at_once(arguments, words):
    with launched(*arguments) as (process, _):
        log, _ = process.communicate(timeout=10)
        assert process.returncode == 2
        assert words in log


def test_help_names_every_fault():
    with launched("--help") as (process, _):
        log, _ = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "slow-at=L:m:FACTOR" in log


def test_refuses_to_start_with_a_log():
    with launched("--fault", "refuse-start") as (process, _):
        log, _ = process.communicate(timeout=10)
        assert process.returncode == 1
        assert "CUDA out of memory" in log


def test_a_taken_port_is_said():
    with launched() as (process, url):
        until(process, READY)
        with launched("--port", url.rpartition(":")[2]) as (second, _):
            log, _ = second.communicate(timeout=10)
            assert second.returncode == 1
            assert "cannot bind" in log


def test_never_ready_still_stops():
    with launched("--fault", "never-ready=loading") as (process, url):
        until(process, "simulated")
        with client_at(url) as client, pytest.raises(httpx.ConnectError):
            client.get("/model_info")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_dies_after_so_many_requests():
    with launched(*QUICK, "--fault", "die-after=1") as (process, url):
        until(process, READY)
        with client_at(url) as client:
            assert client.stream_generate([14, 15]).done
            with pytest.raises(httpx.TransportError):
                client.stream_generate([14, 15])
        assert process.wait(10) == 1
        until(process, "simulated death")


def test_ignores_sigterm():
    with launched(*QUICK, "--fault", "ignore-sigterm") as (process, url):
        until(process, READY)
        process.send_signal(signal.SIGTERM)
        with client_at(url) as client:
            assert client.get("/health").status_code == 200
        assert process.poll() is None
        process.kill()
        assert process.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("where", ["group", "session"])
def test_leaves_a_child_behind(where):
    with launched(*QUICK, "--fault", f"orphan={where}") as (process, _):
        child = psutil.Process(int(until(process, "left a child behind").rpartition("=")[2]))
        try:
            until(process, READY)
            os.killpg(process.pid, signal.SIGTERM)
            assert process.wait(10) == 0
            assert child.is_running()
            assert (os.getpgid(child.pid) == process.pid) == (where == "group")
        finally:
            child.kill()
