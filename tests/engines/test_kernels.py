"""SGLang's torch profiler: asked for over HTTP, its traces read."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from append_prefill.engines import kernels
from append_prefill.engines.kernels import DEVICE_EVENTS, kernels_in, traced
from append_prefill.errors import InfrastructureError

# As torch writes them: host operators, runtime calls and annotations beside what runs on the GPU.
TRACE = {
    "schemaVersion": 1,
    "traceEvents": [
        {"ph": "X", "cat": "kernel", "name": "gemm", "ts": 1.5, "dur": 250.0, "args": {}},
        {"ph": "X", "cat": "kernel", "name": "gemm", "ts": 400, "dur": 150},
        {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy DtoH", "ts": 600, "dur": 2},
        {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "ts": 0, "dur": 900},
        {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 0, "dur": 5},
        {"ph": "i", "cat": "kernel", "name": "mark", "ts": 0},
        {"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "python"}},
    ],
}


class Server:
    """Answers /start_profile and /stop_profile as SGLang does: one trace a rank, at the stop."""

    def __init__(self, traces, status=200):
        self.asked, self._folder = [], None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                server.asked.append((self.path, json.loads(body) if body else None))
                if self.path == "/start_profile":
                    server._folder = Path(json.loads(body)["output_dir"])
                elif self.path == "/stop_profile":
                    for rank, data in enumerate(traces):
                        path = server._folder / f"1.0-TP-{rank}.trace.json.gz"
                        path.write_bytes(data)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()


def packed(trace):
    return gzip.compress(json.dumps(trace).encode(), mtime=0)


def test_only_what_runs_on_the_device_counts():
    assert kernels_in(TRACE, DEVICE_EVENTS) == {"gemm": 0.4, "Memcpy DtoH": 0.002}
    assert kernels_in(TRACE, frozenset({"cpu_op"})) == {"aten::mm": 0.9}
    assert kernels_in({}, DEVICE_EVENTS) == {}


def test_the_traces_of_all_ranks_are_added(tmp_path):
    with Server([packed(TRACE), packed(TRACE)]) as server:
        with traced(server.url, tmp_path / "t") as found:
            assert found == {}
        assert found == {"gemm": 0.8, "Memcpy DtoH": 0.004}
        (start, body), (stop, _) = server.asked
    assert (start, stop) == ("/start_profile", "/stop_profile")
    folder = str(tmp_path / "t")
    assert body == {"output_dir": folder, "activities": ["GPU"], "with_stack": False}


def test_an_older_trace_in_the_folder_is_not_read(tmp_path):
    (tmp_path / "old.trace.json.gz").write_bytes(packed(TRACE))
    with Server([packed(TRACE)]) as server, traced(server.url, tmp_path) as found:
        pass
    assert found["gemm"] == 0.4


def test_it_is_stopped_where_what_is_within_fails(tmp_path):
    with Server([]) as server:
        with pytest.raises(RuntimeError, match="within"), traced(server.url, tmp_path):
            raise RuntimeError("within")
        assert [path for path, _ in server.asked] == ["/start_profile", "/stop_profile"]


def test_a_server_that_refuses_is_named(tmp_path):
    with (
        Server([], status=400) as server,
        pytest.raises(InfrastructureError, match=r"POST /start_profile.*400"),
        traced(server.url, tmp_path),
    ):
        pytest.fail("it was started")


def test_no_trace_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "_WRITTEN_LIMIT_S", 0.3)
    with (
        Server([]) as server,
        pytest.raises(InfrastructureError, match="left no whole trace"),
        traced(server.url, tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    "data",
    [b"no gzip", gzip.compress(b"{", mtime=0), packed(TRACE)[:-9]],
    ids=["no-gzip", "no-json", "cut"],
)
def test_a_damaged_trace_is_named(tmp_path, monkeypatch, data):
    monkeypatch.setattr(kernels, "_WRITTEN_LIMIT_S", 0.3)
    with (
        Server([data]) as server,
        pytest.raises(InfrastructureError, match=r"no whole trace.*1\.0-TP-0.*is none"),
        traced(server.url, tmp_path),
    ):
        pass


def test_a_trace_that_pauses_while_it_is_written_is_waited_for(tmp_path, monkeypatch):
    half, whole = packed(TRACE)[:-9], packed(TRACE)
    polls = []

    def sleep(_):
        polls.append(1)
        if len(polls) == 4:  # seen twice as it stands
            (tmp_path / "1.0-TP-0.trace.json.gz").write_bytes(whole)

    monkeypatch.setattr(kernels.time, "sleep", sleep)
    with Server([half]) as server, traced(server.url, tmp_path) as found:
        pass
    assert found
    assert len(polls) >= 4
