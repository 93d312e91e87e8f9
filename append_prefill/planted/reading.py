"""Reads the bodies of /generate and /v1/chat/completions as SGLang does. Raises RequestError."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from append_prefill.planted.prefix_cache import TOKEN_BYTES, pack
from append_prefill.planted.protocol import Generate, RequestError, Settings, check_length
from append_prefill.planted.sessions import Sessions, Turn
from append_prefill.workload.wordlevel import encode, encode_chat

_DEFAULT_MAX_NEW_TOKENS = 128  # SamplingParams.max_new_tokens


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What a chat's answer needs of its request."""

    model: str
    include_usage: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; the turn of a session that it is, or how the chat that it is wants its answer."""

    request: Generate
    turn: Turn | None = None
    chat: ChatOptions | None = None


def read_json(body: bytes | bytearray) -> dict[str, Any]:
    """A body that has to be a JSON object."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"body is not JSON: {error}", in_stream=False) from None
    if not isinstance(content, dict):
        raise RequestError("body must be a JSON object", in_stream=False)
    return content


def read_generate(body: bytes | bytearray, settings: Settings, sessions: Sessions) -> Asked:
    """A /generate: ids or a text, of a session or not. The caller ends the turn it is."""
    content = read_json(body)
    stream = content.get("stream", False)
    sampling = content.get("sampling_params") or {}
    if not isinstance(stream, bool) or not isinstance(sampling, dict):
        raise RequestError(
            "stream must be true or false, sampling_params an object", in_stream=False
        )
    text = content.get("text")
    if text is None:
        ids = _ids(content.get("input_ids"))
        text_tokens = 0
    elif isinstance(text, str) and text.strip() and content.get("input_ids") is None:
        ids = pack(encode(text))
        text_tokens = len(ids) // TOKEN_BYTES
    else:
        raise RequestError(
            "give a text of one word or more, or input_ids, not both", in_stream=False
        )
    new_tokens = sampling.get("max_new_tokens", _DEFAULT_MAX_NEW_TOKENS)
    if not isinstance(new_tokens, int) or new_tokens < 0:
        raise RequestError(
            f"max_new_tokens must be at least 0, got {new_tokens}.", in_stream=stream
        )
    rid = str(content.get("rid") or uuid.uuid4().hex)
    turn = None
    params = content.get("session_params")
    if params:
        _check_params(params)
        turn = sessions.turn(params, ids, rid, stream=stream)
    prompt = ids if turn is None else turn.prompt
    prompt_tokens = len(prompt) // TOKEN_BYTES
    try:
        check_length(prompt_tokens, new_tokens, stream, settings)
    except RequestError:
        if turn is not None:
            sessions.ended(turn, None, 0)
        raise
    request = Generate(
        rid=rid,
        prompt=prompt,
        prompt_tokens=prompt_tokens,
        max_new_tokens=min(new_tokens, settings.room_tokens(prompt_tokens)),
        stream=stream,
        form="ids" if text is None else "text",
        text_tokens=text_tokens,
        kept_tokens=None if turn is None else turn.kept_tokens,
        room=_count(content, "bootstrap_room"),
        room_port=_count(content, "bootstrap_port"),
    )
    return Asked(request, turn)


def read_chat(body: bytes | bytearray, settings: Settings) -> Asked:
    """A /v1/chat/completions. Without a limit the reply fills the context, as SGLang's does.

    What is refused is refused before the answer begins, as from 0.5.10 on.
    """
    content = read_json(body)
    messages = content.get("messages")
    if not isinstance(messages, list):
        raise RequestError("messages must be a list", in_stream=False)
    if not messages:
        raise RequestError("Messages cannot be empty.", in_stream=False)
    try:
        ids = encode_chat([(message["role"], message["content"]) for message in messages])
    except (AttributeError, KeyError, TypeError):
        raise RequestError(
            "a message is an object with a role and a text as its content", in_stream=False
        ) from None
    except ValueError as error:
        raise RequestError(str(error), in_stream=False) from None
    # 0 counts as none, as in SGLang.
    limit = content.get("max_completion_tokens") or content.get("max_tokens")
    room = settings.room_tokens(len(ids))
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise RequestError(f"max_tokens must be at least 0, got {limit}.", in_stream=False)
    check_length(len(ids), limit or 1, False, settings)
    usage = content.get("stream_options") or {}
    request = Generate(
        rid=str(content.get("rid") or uuid.uuid4().hex),
        prompt=pack(ids),
        prompt_tokens=len(ids),
        max_new_tokens=min(limit or room, room),
        stream=bool(content.get("stream", False)),
        form="chat",
        text_tokens=len(ids),
    )
    return Asked(
        request,
        chat=ChatOptions(
            model=str(content.get("model", "default")),
            include_usage=isinstance(usage, dict) and bool(usage.get("include_usage")),
        ),
    )


def _count(content: Mapping[str, Any], name: str) -> int | None:
    value = content.get(name)
    if value is not None and not isinstance(value, int):
        raise RequestError(f"{name} must be an integer", in_stream=False)
    return value


def _ids(token_ids: object) -> bytes:
    if not isinstance(token_ids, list) or not token_ids:
        raise RequestError("input_ids must be a list of integers, not empty", in_stream=False)
    try:
        return pack(token_ids)
    except (TypeError, OverflowError):
        raise RequestError("input_ids must be integers of at least 0", in_stream=False) from None


def _check_params(params: object) -> None:
    offset = params.get("offset") if isinstance(params, Mapping) else "none"
    if offset is not None and not isinstance(offset, int):
        raise RequestError(
            "session_params must be an object, its offset an integer", in_stream=False
        )
