"""Sessions: conversations that the server keeps, so that a turn sends its new tokens alone.

A plain session is a tree of requests; a turn names the one it goes on from, and its prompt is
looked for in the prefix cache as any other. A streaming session is a single line of turns, one at
a time, whose KV is its own. Read off `session_controller.py` and `streaming_session.py` of 0.5.23.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from append_prefill.planted.prefix_cache import TOKEN_BYTES
from append_prefill.planted.protocol import RequestError


@dataclass(eq=False, slots=True)
class Turn:
    """One request of a session. `reply` is None until it has ended; see Generate.kept_tokens."""

    session: Session
    rid: str
    prompt: bytes
    kept_tokens: int | None = None
    reply: bytes | None = None
    after: list[Turn] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Session:
    """`turns` by request id: all of a plain session's, the last ended one of a streaming one.

    `kept_tokens`: how many tokens of a streaming session's last turn have KV. `ends`: it is closed,
    and goes when the turn that runs has ended.
    """

    streaming: bool
    turns: dict[str, Turn] = field(default_factory=dict)
    kept_tokens: int = 0
    busy: bool = False
    ends: bool = False


class Sessions:
    """The open sessions. Thread-safe. What is refused raises RequestError."""

    def __init__(self, *, streaming: bool) -> None:
        self._streaming = streaming
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}

    def open(self, body: object) -> str:
        """Open the session that a body of /open_session describes; its id."""
        if not isinstance(body, dict) or not isinstance(body.get("capacity_of_str_len"), int):
            raise RequestError("capacity_of_str_len: Field required", in_stream=False)
        session_id = body.get("session_id")
        if session_id is None:
            session_id = uuid.uuid4().hex
        with self._lock:
            if session_id in self._open:
                raise RequestError(
                    "Failed to open the session. "
                    "Check if a session with the same id is still open.",
                    in_stream=False,
                )
            self._open[session_id] = Session(self._streaming and bool(body.get("streaming")))
        return str(session_id)

    def close(self, body: object) -> None:
        """Close the session that a body of /close_session names; one that is not open is none."""
        if not isinstance(body, dict) or not isinstance(body.get("session_id"), str):
            raise RequestError("session_id: Field required", in_stream=False)
        with self._lock:
            session = self._open.get(body["session_id"])
            if session is not None and session.busy:
                session.ends = True
            else:
                self._open.pop(body["session_id"], None)

    def forget_kv(self) -> None:
        """What /flush_cache does: the sessions go on, and nothing of them is cached."""
        with self._lock:
            for session in self._open.values():
                session.kept_tokens = 0

    def turn(self, params: Mapping[str, Any], new: bytes, rid: str, *, stream: bool) -> Turn:
        """The turn that `session_params` and packed new tokens make; pair with `ended`."""
        with self._lock:
            session = self._open.get(str(params.get("id")))
            problem = None
            if session is None:
                problem = f"Invalid request: session id {params.get('id')} does not exist"
            elif session.ends:
                problem = f"Invalid request: close was requested for session {params['id']}"
            elif session.streaming:
                problem = _not_streamed(session, params)
            else:
                problem = _not_appended(session, params)
            if session is None or problem is not None:
                raise RequestError(str(problem), in_stream=stream, aborted_rid=rid)
            if session.streaming:
                session.busy = True
                last = next(iter(session.turns.values()), None)
                kept_tokens = session.kept_tokens if last else None
                return Turn(session, rid, _after(last, {}) + new, kept_tokens or None)
            last = session.turns.get(str(params.get("rid")))
            if params.get("replace"):
                _drop(session, last.after if last else list(session.turns.values()))
            turn = Turn(session, rid, _after(last, params) + new)
            session.turns[rid] = turn
            if last is not None:
                last.after.append(turn)
            return turn

    def ended(self, turn: Turn, reply: bytes | None, kept_tokens: int) -> None:
        """A turn's end: its packed reply, None where it broke off, and how many tokens have KV."""
        with self._lock:
            session = turn.session
            session.busy = False
            if reply is not None:
                turn.reply = reply
            if session.streaming and reply is not None:
                session.turns = {turn.rid: turn}
                session.kept_tokens = kept_tokens
            elif session.streaming:
                session.kept_tokens = 0
            elif reply is None:
                _drop(session, [turn])
            if session.ends:
                self._open = {name: s for name, s in self._open.items() if s is not session}


def _not_streamed(session: Session, params: Mapping[str, Any]) -> str | None:
    """Why a streaming session takes no such turn."""
    if session.busy:
        return "Streaming session already has an active request."
    for name in ("replace", "drop_previous_output", "offset"):
        if params.get(name):
            return f"Streaming sessions do not support {name}."
    return None


def _not_appended(session: Session, params: Mapping[str, Any]) -> str | None:
    """Why a plain session takes no such turn."""
    rid = params.get("rid")
    if rid is None:
        return None
    if rid not in session.turns:
        return "Invalid request session id"
    if session.turns[rid].reply is None and not params.get("replace"):
        return "Session request is appending to a request that hasn't finished."
    return None


def _after(last: Turn | None, params: Mapping[str, Any]) -> bytes:
    """What the session puts before a turn's new tokens."""
    if last is None:
        return b""
    before = last.prompt + (b"" if params.get("drop_previous_output") else last.reply or b"")
    offset = params.get("offset")
    return before[: offset * TOKEN_BYTES] if offset else before


def _drop(session: Session, turns: list[Turn]) -> None:
    """Forget turns and all that follows on them."""
    waiting = list(turns)
    while waiting:
        turn = waiting.pop()
        session.turns.pop(turn.rid, None)
        waiting += turn.after
        turn.after.clear()
