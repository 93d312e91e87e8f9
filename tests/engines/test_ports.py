import socket
import subprocess
import sys

import pytest

from append_prefill.engines import ports as module
from append_prefill.engines.ports import free_port, give_back
from append_prefill.errors import InfrastructureError


@pytest.fixture
def only(monkeypatch):
    """One port there is to choose from."""
    port = free_port()
    give_back(port)
    monkeypatch.setattr(module, "_PORTS", range(port, port + 1))
    return port


def test_a_port_is_kept_from_others_until_it_is_given_back(only):
    """A server that is held binds it only minutes later."""
    assert free_port() == only
    with pytest.raises(InfrastructureError, match="no free port"):
        free_port()
    give_back(only)
    give_back(only)
    assert free_port() == only
    give_back(only)


def test_it_is_kept_from_other_processes_and_the_server_may_take_it(only):
    free_port()
    code = (
        "from append_prefill.engines import ports\n"
        f"ports._PORTS = range({only}, {only + 1})\n"
        "try: ports.free_port()\n"
        "except ports.InfrastructureError: print('none')\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "none\n"
    with socket.socket() as server:
        server.bind(("127.0.0.1", only))
    give_back(only)


def test_a_port_that_is_listened_on_is_not_given(only):
    with socket.socket() as other:
        other.bind(("127.0.0.1", only))
        other.listen()
        with pytest.raises(InfrastructureError, match="no free port"):
            free_port()
    assert free_port() == only
    give_back(only)
