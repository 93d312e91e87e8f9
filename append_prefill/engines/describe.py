"""Read what a server resolved off its own endpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from append_prefill.engines.base import ServerDescription
from append_prefill.engines.versions import traits_of
from append_prefill.errors import InfrastructureError

VERSION_KEYS = ("sglang", "torch", "kernels", "flashinfer", "transformers", "cuda", "python")
# The answer repeats every server argument, the command line among them.
_SECRET = re.compile(
    r"api_key|password|secret|credential|watermark_key|command|keyfile", re.IGNORECASE
)
# The server asks its scheduler, which may be compiling when it was just started.
_TIMEOUT_S = 60.0


def describe_server(
    base_url: str,
    paths: Sequence[str],
    *,
    versions: Mapping[str, str | None],
    api_key: str | None = None,
) -> ServerDescription:
    """Ask the first of `paths` that answers (new and old names of the server's info endpoint).

    `versions` is what is known of the environment; what the server says of itself wins. Raises
    InfrastructureError if no path answers, or the answer lacks the page size.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    tried = []
    with httpx.Client(
        base_url=base_url, headers=headers, trust_env=False, timeout=_TIMEOUT_S
    ) as client:
        for path in paths:
            try:
                answer = client.get(path)
            except httpx.TransportError as error:
                raise InfrastructureError(f"{base_url}{path} does not answer: {error!r}") from error
            if answer.status_code == httpx.codes.OK:
                return parse_server_info(answer.json(), versions)
            tried.append(f"{path}: {answer.status_code}")
    raise InfrastructureError(f"{base_url} does not describe itself ({', '.join(tried)})")


def parse_server_info(
    info: Mapping[str, Any], versions: Mapping[str, str | None]
) -> ServerDescription:
    """Turn the answer of `/server_info` (or `/get_server_info`) of any version into figures.

    `context_length_tokens` is the longest prompt the server says it takes, which is a few tokens
    under the model's positions and never above the KV capacity.
    """
    page_size = info.get("page_size")
    if not isinstance(page_size, int):
        raise InfrastructureError("the server's description has no page_size")
    known = dict.fromkeys(VERSION_KEYS) | dict(versions)
    if info.get("version"):
        known["sglang"] = str(info["version"])
    radix_off = info.get("disable_radix_cache")
    return ServerDescription(
        versions=known,
        page_size_tokens=page_size,
        chunked_prefill_tokens=_positive(info.get("chunked_prefill_size")),
        kv_capacity_tokens=_positive(info.get("max_total_num_tokens")),
        context_length_tokens=_positive(info.get("max_req_input_len"))
        or _positive(info.get("context_length")),
        attention_backend=info.get("prefill_attention_backend") or info.get("attention_backend"),
        prefill_graph=_prefill_graph(info, known["sglang"]),
        radix_cache=None if radix_off is None else not radix_off,
        raw={key: value for key, value in info.items() if not _drop(key)},
    )


def _drop(key: str) -> bool:
    # internal_states repeats the arguments once a rank.
    return key == "internal_states" or _SECRET.search(key) is not None


def _positive(value: object) -> int | None:
    """-1 is SGLang's word for "no chunking", which is no number of tokens."""
    return value if isinstance(value, int) and value > 0 else None


def _prefill_graph(info: Mapping[str, Any], version: str | None) -> str | None:
    config = info.get("cuda_graph_config")
    if isinstance(config, Mapping):  # 0.5.14 and newer say it outright
        backend = (config.get("prefill") or {}).get("backend")
        return "off" if backend == "disabled" else backend
    if info.get("disable_cuda_graph") or info.get("disable_piecewise_cuda_graph"):
        return "off"
    if "disable_piecewise_cuda_graph" not in info and "enable_piecewise_cuda_graph" in info:
        return "tc_piecewise" if info["enable_piecewise_cuda_graph"] else "off"
    return traits_of(version).prefill_graph_default if version else None
