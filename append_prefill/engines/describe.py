"""Read what a server resolved off its own endpoints."""

from __future__ import annotations

import hashlib
import json
import math
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from append_prefill.engines.base import ServerDescription
from append_prefill.engines.versions import (
    parse_version,
    prefill_graph_in,
    prefill_graph_tokens_in,
    shown,
)
from append_prefill.errors import ConnectionLostError, InfrastructureError
from append_prefill.records.figures import Scalar
from append_prefill.records.identity import PLACES, is_secret
from append_prefill.records.secrets import masked

VERSION_KEYS = ("sglang", "torch", "kernels", "flashinfer", "transformers", "cuda", "python")
# The answer repeats every server argument, the command line among them.
_SECRET = re.compile(
    r"api_key|password|secret|credential|watermark_key|command|keyfile", re.IGNORECASE
)
# What `parse_server_info` reads, by the server's names, and what is another one at each launch.
_TOLD_ELSEWHERE = frozenset(
    {
        "attention_backend",
        "chunked_prefill_size",
        "context_length",
        "disable_radix_cache",
        "max_req_input_len",
        "max_total_num_tokens",
        "page_size",
        "prefill_attention_backend",
        "random_seed",
        "startup_time",
        "version",
    }
)
# SGLang 0.5.23 tells 550 of them. The bounds keep a record small whatever a server says.
_RESOLVED = 2000
_NAME_CHARACTERS = 100
_VALUE_CHARACTERS = 160
# The server asks its scheduler, which may be compiling when it was just started.
_TIMEOUT_S = 60.0


def client_of(base_url: str, **options: Any) -> httpx.Client:
    """A client of a server at `base_url`, past any proxy; `options` are httpx's.

    Reading whom to trust takes some 30 ms, more than all that a launch asks over plain http, where
    no certificate is shown: there it has none to trust.
    """
    plain = httpx.URL(base_url).scheme == "http"
    verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True
    return httpx.Client(base_url=base_url, trust_env=False, verify=verify, **options)


def describe_server(
    base_url: str,
    paths: Sequence[str],
    *,
    versions: Mapping[str, str | None],
    api_key: str | None = None,
) -> ServerDescription:
    """Ask the first of `paths` that answers (new and old names of the server's info endpoint).

    `versions` is what is known of the environment; what the server says of itself wins. Raises
    InfrastructureError if no path answers, or the answer is not what `parse_server_info` takes.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    tried = []
    with client_of(base_url, headers=headers, timeout=_TIMEOUT_S) as client:
        for path in paths:
            try:
                answer = client.get(path)
            except httpx.TransportError as error:
                raise ConnectionLostError(f"{base_url}{path} does not answer: {error!r}") from error
            if answer.status_code == httpx.codes.OK:
                try:
                    info = json_object(answer, path)
                except ValueError as error:
                    raise InfrastructureError(f"{base_url}: {error}") from error
                return parse_server_info(info, versions)
            tried.append(f"{path}: {answer.status_code}")
    raise InfrastructureError(f"{base_url} does not describe itself ({', '.join(tried)})")


def json_object(answer: httpx.Response, path: str) -> dict[str, Any]:
    """The JSON object in an answer. Raises ValueError: the endpoint, what came, what should have.

    SGLang itself always sends one; a proxy's page, or another program on the port, does not.
    """
    try:
        content = answer.json()
    except ValueError:
        kind = answer.headers.get("content-type", "no content type")
        came = f"{shown(answer.text.strip())} ({shown(kind)}), which is no JSON"
    else:
        if isinstance(content, dict):
            return content
        came = f"JSON of another kind ({type(content).__name__})"
    raise ValueError(f"{path} gave {came}; an SGLang server gives a JSON object there")


def parse_server_info(
    info: Mapping[str, Any], versions: Mapping[str, str | None]
) -> ServerDescription:
    """Turn the answer of `/server_info` (or `/get_server_info`) of any version into numbers.

    `context_length_tokens` is the longest prompt the server says it takes, which is a few tokens
    under the model's positions and never above the KV capacity. Raises InfrastructureError for an
    answer without a page size, and for a version that is none.
    """
    page_size = _positive(info.get("page_size"))
    if page_size is None:
        raise InfrastructureError(
            f"the server's description has no page_size of at least one token, but "
            f"{shown(repr(info.get('page_size')))}"
        )
    known = dict.fromkeys(VERSION_KEYS) | dict(versions)
    if info.get("version") is not None:
        known["sglang"] = _version(info["version"])
    radix_off = info.get("disable_radix_cache")
    return ServerDescription(
        versions=known,
        page_size_tokens=page_size,
        chunked_prefill_tokens=_positive(info.get("chunked_prefill_size")),
        kv_capacity_tokens=_positive(info.get("max_total_num_tokens")),
        context_length_tokens=_positive(info.get("max_req_input_len"))
        or _positive(info.get("context_length")),
        attention_backend=info.get("prefill_attention_backend") or info.get("attention_backend"),
        prefill_graph=prefill_graph_in(info, known["sglang"]),
        prefill_graph_tokens=prefill_graph_tokens_in(info, known["sglang"]),
        radix_cache=None if radix_off is None else not radix_off,
        raw={key: value for key, value in info.items() if not _drop(key)},
    )


@dataclass(frozen=True, slots=True)
class KvPool:
    """What a server says of its KV pool: `gib` as allocated, as 2**30 bytes with the two or three
    decimals it gives, for `tokens` (in a pool for windows there are others, of which it is silent
    before 0.5.23).
    """

    gib: float
    tokens: int


def kv_pool_in(info: Mapping[str, Any]) -> KvPool | None:
    """The KV pool of the first rank, from the answer of `/server_info`; None if it does not say."""
    ranks = info.get("internal_states")
    first = ranks[0] if isinstance(ranks, list) and ranks else None
    memory = first.get("memory_usage") if isinstance(first, Mapping) else None
    if not isinstance(memory, Mapping):
        return None
    gib, tokens = memory.get("kvcache"), _positive(memory.get("token_capacity"))
    if isinstance(gib, bool) or not isinstance(gib, (int, float)) or tokens is None:
        return None
    return KvPool(float(gib), tokens)


def resolved_in(raw: Mapping[str, Any]) -> dict[str, Scalar]:
    """The arguments that a server resolved, chosen or not, of a description's `raw`, flat.

    Left out is what `ServerDescription` has under names of its own, what is drawn or chosen for one
    launch, and places. A list is its JSON. Long values end in a digest, so that two that differ
    do so here as well.
    """
    flat: dict[str, Scalar] = {}
    _flatten(raw, "", flat)
    return flat


def _flatten(told: Mapping[str, Any], prefix: str, flat: dict[str, Scalar]) -> None:
    for key, value in told.items():
        name = f"{prefix}{key}"
        option = key.replace("_", "-")
        if name in _TOLD_ELSEWHERE or option in PLACES or is_secret(option) or _drop(key):
            continue
        if isinstance(value, Mapping):
            _flatten(value, f"{name}.", flat)
        elif len(flat) < _RESOLVED and len(name) <= _NAME_CHARACTERS:
            flat[name] = _scalar(value)


def _scalar(value: Any) -> Scalar:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    text = masked(text.encode("utf-8", "replace").decode())
    if len(text) <= _VALUE_CHARACTERS:
        return text
    return f"{text[:_VALUE_CHARACTERS]}… {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _drop(key: str) -> bool:
    # internal_states repeats the arguments once a rank.
    return key == "internal_states" or _SECRET.search(key) is not None


def _positive(value: object) -> int | None:
    """-1 is SGLang's word for "no chunking", which is no number of tokens."""
    return value if isinstance(value, int) and value > 0 else None


def _version(said: object) -> str:
    """What the server says of its version, if it is one: it goes into file names and reports."""
    if not isinstance(said, str) or parse_version(said) is None:
        text = said if isinstance(said, str) else repr(said)
        raise InfrastructureError(f"the server says a version that is none: {shown(text)}")
    return said.strip()
