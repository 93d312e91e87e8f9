"""How the halves of a simulated P/D pair find each other: the prefill half answers for its rooms.

A room is one request. The decode half asks on the bootstrap port for a room and waits until the
prefill half has its prompt's KV: a line with the room's number there, one with what had been
cached of the prompt back.
"""

from __future__ import annotations

import contextlib
import socket
import threading

WAIT_S = 60.0
"""For a prompt that never comes: as long as SGLang's own halves wait at the least."""


class Rooms:
    """The prefill half's: what is ready to be sent. Thread-safe."""

    def __init__(self) -> None:
        self._ready: dict[int, int] = {}
        self._changed = threading.Condition()

    def done(self, room: int, cached_tokens: int) -> None:
        """A room's prompt is prefilled, that much of it having been cached."""
        with self._changed:
            self._ready[room] = cached_tokens
            self._changed.notify_all()

    def answer(self, connection: socket.socket) -> None:
        """Answer one question, once the room's prompt is prefilled."""
        with connection, connection.makefile("rw") as lines:
            room = int(lines.readline())
            with self._changed:
                if not self._changed.wait_for(lambda: room in self._ready, WAIT_S):
                    return
                cached_tokens = self._ready.pop(room)
            with contextlib.suppress(OSError):  # whoever asked has gone
                lines.write(f"{cached_tokens}\n")
                lines.flush()


def ask(port: int, room: int) -> int:
    """What of the room's prompt had been cached, once its prefill half has it.

    Raises OSError where that one is not reached or has nothing.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        connection.sendall(f"{room}\n".encode())
        with connection.makefile("r") as lines:
            told = lines.readline()
    if not told.strip():
        raise OSError(f"the prefill half has nothing for room {room}")
    return int(told)
