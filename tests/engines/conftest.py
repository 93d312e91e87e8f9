import sys
import textwrap
from pathlib import Path

import pytest

from append_prefill.engines.base import Device
from append_prefill.workload.loading import load_profile

FAKE_SERVER = textwrap.dedent(
    """
    import json, sys
    from http.server import BaseHTTPRequestHandler, HTTPServer
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply({"page_size": 1, "version": "0.5.23", "model_path": "/m"})
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.reply({"text": ""})
        def reply(self, body):
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        def log_message(self, *args):
            pass
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
    """
)


@pytest.fixture
def cpu():
    return Device("cpu", "cpu", "test", 2**30)


@pytest.fixture
def profile():
    return load_profile("cpu-nano")


@pytest.fixture
def fake_server():
    """argv of a server that answers every request, on the port that is appended."""
    return [sys.executable, "-S", "-c", FAKE_SERVER]


@pytest.fixture
def make_interpreter(tmp_path):
    """An executable that answers the version query as an interpreter with these would."""

    def make(path: Path, *, python="3.11.7", **versions):
        known = dict.fromkeys(
            ("sglang", "torch", "kernels", "flashinfer", "transformers", "cuda")
        ) | {"python": python, **versions}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!{sys.executable} -S\nprint({__import__('json').dumps(known)!r})\n")
        path.chmod(0o755)
        return path

    return make
