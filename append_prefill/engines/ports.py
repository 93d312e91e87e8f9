"""Ports of the loopback interface for servers that bind them only later."""

from __future__ import annotations

import contextlib
import random
import socket

from append_prefill.errors import InfrastructureError

# Below Linux's ephemeral ports (32768 on), so that no outgoing connection can take the port
# between the check and the server's bind.
_PORTS = range(20000, 32000)
# A server that is launched ahead binds its ports minutes later. Until it is gone, a UDP socket of
# the same number, which nobody listens on, tells every process of the suite on this host, and goes
# with the process that holds it. A server's own TCP port it does not touch.
_reserved: dict[int, socket.socket] = {}


def free_port() -> int:
    """A TCP port that nothing listens on; kept from other servers of the suite until `give_back`.

    Raises InfrastructureError if there is none.
    """
    draw = random.SystemRandom()
    for _ in range(200):
        port = draw.choice(_PORTS)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            token = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            token.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
            stack.pop_all()
            _reserved[port] = token
            return port
    raise InfrastructureError(f"no free port between {_PORTS.start} and {_PORTS.stop}")


def give_back(port: int) -> None:
    """Let others have a port; does nothing if it was not reserved."""
    token = _reserved.pop(port, None)
    if token is not None:
        token.close()
