"""The timed streaming client of SGLang's native `/generate`, and of its chats."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from append_prefill.engines.versions import retractions_in
from append_prefill.errors import ConnectionLostError, InfrastructureError, UsageError
from append_prefill.probe.chat import Message, chat_body, read_chat
from append_prefill.probe.stream import read_stream
from append_prefill.probe.timing import Timing, failed, shorten
from append_prefill.probe.transport import EXCHANGE, Exchange, TimingTransport

# A server answers 400 to a flush while anything runs, and the lookahead step of its overlap
# scheduler still runs when the last event is out: some ms, so a retry soon succeeds. What is
# still busy after ten seconds serves somebody else.
_FLUSH_RETRY_S = 0.02
_FLUSH_LIMIT_S = 10.0


_REFUSED_CREDENTIALS = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)

Read = Callable[[Exchange], tuple[Timing, int | None]]


class RequestRefusedError(InfrastructureError):
    """The server answered, and would not do it. `status` is HTTP's, or the in-stream error's."""

    def __init__(self, what: str, status: int | None, answer: str) -> None:
        self.status, self.answer = status, answer
        super().__init__(f"{what}: {answer}")


class PrimeRefusedError(RequestRefusedError):
    """The server would not prefill with `max_new_tokens` 0; `prime` with 1 is what is left."""


class TimedClient:
    """Times one request after another on one warm connection. One thread at a time.

    `timeout_s` bounds the wait for each next byte, not a whole answer. With `warm` False a
    connection is only opened, and has answered nothing before its first request. Raises UsageError
    for a `base_url` that is not plain http; every method raises InfrastructureError when the server
    cannot be reached, drops the connection or stays silent for `timeout_s`.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        timeout_s: float = 120,
        *,
        warm: bool = True,
    ) -> None:
        if httpx.URL(base_url).scheme != "http":
            raise UsageError(
                "--sglang-url",
                base_url,
                "is not a plain http address, and TLS would add its own time to every value.",
                "Give an http:// address that reaches the server directly.",
            )
        # The answer must come as the server wrote it: no compression between token and clock.
        headers = {"accept-encoding": "identity"}
        if api_key is not None:
            headers["authorization"] = f"Bearer {api_key}"
        self.transport = TimingTransport() if warm else TimingTransport(warm_path=None)
        self._client = httpx.Client(
            base_url=base_url, headers=headers, timeout=timeout_s, transport=self.transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def generate(
        self,
        prompt: Sequence[int] | str,
        *,
        max_new_tokens: int,
        fields: Mapping[str, object] | None = None,
    ) -> Timing:
        """Send ids, or a text, read `max_new_tokens` (>= 1) greedy tokens. A refusal is in `error`.

        `fields`: further keys of the request, such as a P/D pair's bootstrap room. Raises
        ValueError for `max_new_tokens` below 1: without a token there is no first one.
        """
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, not {max_new_tokens}; see prime")
        return self._generate(prompt, max_new_tokens, fields)[0]

    def chat(self, messages: Sequence[Message], *, max_new_tokens: int) -> Timing:
        """Send a chat, read `max_new_tokens` (>= 1) greedy tokens. A refusal is in `error`."""
        body = chat_body(messages, max_new_tokens=max_new_tokens)
        return self._stream("/v1/chat/completions", body, read_chat)[0]

    def prime(self, prompt: Sequence[int] | str, *, max_new_tokens: int = 0) -> Timing:
        """Put `prompt` into the prefix cache; the Timing needs no first token.

        With `max_new_tokens` 0 the cache holds exactly its ids. Raises PrimeRefusedError when
        the server will not do that; with 1, which every server accepts, the generated token may
        be cached too. Any other refusal is in `error`.
        """
        timing, status = self._generate(prompt, max_new_tokens)
        if max_new_tokens == 0 and status == httpx.codes.BAD_REQUEST and timing.error is not None:
            raise PrimeRefusedError(
                "priming with max_new_tokens 0 was refused", status, timing.error
            )
        return timing

    def get_json(self, path: str) -> Any:
        """The JSON at `path`. Raises RequestRefusedError for any status but 200, or no JSON."""
        request = self._client.build_request("GET", path)
        return self._json(f"GET {path}", self._send(request))

    def flush_cache(self) -> None:
        """Empty the prefix cache, waiting while the server is busy (it answers 400).

        Not every release can wait itself, so the waiting is done here for all. Raises
        RequestRefusedError for any other status, and for a server still busy after 10 s.
        """
        deadline_s = time.monotonic() + _FLUSH_LIMIT_S
        while True:
            response = self._send(self._client.build_request("POST", "/flush_cache"))
            if response.status_code == httpx.codes.OK:
                return
            busy = response.status_code == httpx.codes.BAD_REQUEST
            if not busy or time.monotonic() > deadline_s:
                raise RequestRefusedError(
                    "POST /flush_cache", response.status_code, _http_error(response)
                )
            time.sleep(_FLUSH_RETRY_S)

    def post_json(self, path: str, content: object) -> Any:
        """The JSON that answers `content`, None for an empty answer.

        Raises RequestRefusedError as `get_json` does.
        """
        response = self._send(self._client.build_request("POST", path, json=content))
        if response.status_code == httpx.codes.OK and not response.content:
            return None
        return self._json(f"POST {path}", response)

    def _generate(
        self,
        prompt: Sequence[int] | str,
        max_new_tokens: int,
        fields: Mapping[str, object] | None = None,
    ) -> tuple[Timing, int | None]:
        body = generate_body(prompt, max_new_tokens=max_new_tokens, fields=fields)
        return timing_of(self._send(self._post("/generate", body)), max_new_tokens)

    def request_of(self, prompt: Sequence[int] | str, max_new_tokens: int) -> httpx.Request:
        """What `generate` and `prime` send, for who sends it himself; see `timing_of`."""
        return self._post("/generate", generate_body(prompt, max_new_tokens=max_new_tokens))

    def _stream(self, path: str, body: bytes, read: Read) -> tuple[Timing, int | None]:
        return _read(self._send(self._post(path, body)), read)

    def _post(self, path: str, body: bytes) -> httpx.Request:
        return self._client.build_request(
            "POST", path, content=body, headers={"content-type": "application/json"}
        )

    def _json(self, what: str, response: httpx.Response) -> Any:
        if response.status_code != httpx.codes.OK:
            raise RequestRefusedError(what, response.status_code, _http_error(response))
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError as error:
            raise RequestRefusedError(what, 200, f"no JSON: {error}") from error

    def _send(self, request: httpx.Request) -> httpx.Response:
        with explained(request):
            return self._client.send(request)


@contextmanager
def explained(request: httpx.Request) -> Iterator[None]:
    """Inside, what httpx raises of the way to the server becomes ConnectionLostError."""
    try:
        yield
    except httpx.TransportError as error:
        raise ConnectionLostError(
            f"{request.method} {request.url}: {type(error).__name__}: {error}"
        ) from error


def timing_of(response: httpx.Response, max_new_tokens: int) -> tuple[Timing, int | None]:
    """The Timing of an answer to `/generate`, and the HTTP status of its error if it names one."""
    return _read(response, partial(_read_generated, first_token=max_new_tokens > 0))


def _read(response: httpx.Response, read: Read) -> tuple[Timing, int | None]:
    exchange: Exchange = response.extensions[EXCHANGE]
    if response.status_code in _REFUSED_CREDENTIALS:
        # No noise, and no server's fault: no later sample would be another matter.
        raise RequestRefusedError(
            f"POST {response.request.url.path}", response.status_code, _http_error(response)
        )
    if response.status_code != httpx.codes.OK:
        return failed(_http_error(response)), response.status_code
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        return failed(f"not an event stream: {_http_error(response)}"), None
    return read(exchange)


def generate_body(
    prompt: Sequence[int] | str,
    *,
    max_new_tokens: int,
    fields: Mapping[str, object] | None = None,
) -> bytes:
    """The JSON body of a streaming greedy `/generate` of exactly `max_new_tokens` tokens."""
    said = {"text": prompt} if isinstance(prompt, str) else {"input_ids": list(prompt)}
    return orjson.dumps(
        {
            **said,
            "sampling_params": {
                "temperature": 0,
                "max_new_tokens": max_new_tokens,
                "ignore_eos": True,
            },
            "stream": True,
            **(fields or {}),
        }
    )


def _read_generated(exchange: Exchange, *, first_token: bool) -> tuple[Timing, int | None]:
    token_times_ms: list[tuple[int, float]] = []
    e2e_ms: float | None = None
    meta: dict[str, Any] = {}
    told: list[list[int]] = []
    stream = read_stream(exchange)
    error, status = stream.error, stream.status
    for at_ms, payload in stream.payloads:
        # An event says what it knows; one that omits a count does not unsay it.
        meta |= payload.get("meta_info", {})
        e2e_ms = at_ms
        told.append(payload.get("output_ids") or [])
        tokens = meta.get("completion_tokens") or 0
        if tokens > (token_times_ms[-1][0] if token_times_ms else 0):
            token_times_ms.append((tokens, e2e_ms))
    finish = meta.get("finish_reason")
    if error is None and isinstance(finish, dict) and finish.get("type") == "abort":
        error = f"aborted: {shorten(str(finish.get('message')))}"
        status = finish.get("status_code")
    elif error is None and first_token and not token_times_ms:
        error = "no event with completion_tokens >= 1"
    elif error is None and not stream.done:
        error = "the stream ended before [DONE]"
    timing = Timing(
        ttft_ms=token_times_ms[0][1] if token_times_ms else None,
        e2e_ms=e2e_ms,
        token_times_ms=token_times_ms,
        prompt_tokens=meta.get("prompt_tokens"),
        cached_tokens=meta.get("cached_tokens"),
        completion_tokens=meta.get("completion_tokens"),
        retractions=retractions_in(meta),
        error=error,
        output_ids=_output_ids(told, meta.get("completion_tokens")),
    )
    return timing, status


def _output_ids(told: Sequence[Sequence[int]], count: int | None) -> tuple[int, ...] | None:
    """The generated ids, whether events bring what is new or, as most versions', all so far."""
    new = [token for ids in told for token in ids]
    for ids in (told[-1] if told else [], new):
        if count and len(ids) == count:
            return tuple(ids)
    return None


def _http_error(response: httpx.Response) -> str:
    return f"HTTP {response.status_code}: {shorten(response.content)}"
