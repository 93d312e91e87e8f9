"""One SGLang release launched on the CPU, and one append-prefill whose split is proven."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil

from append_prefill.engines.devices import cpu_device
from append_prefill.engines.environments import query_interpreter
from append_prefill.engines.local import SglangEngine
from append_prefill.engines.model import resolve_model
from append_prefill.engines.versions import MODEL_INFO_PATHS, SERVER_INFO_PATHS, traits_of
from append_prefill.engines.waiting import await_ready
from append_prefill.errors import InfrastructureError, ServerDiedError
from append_prefill.probe.client import TimedClient, generate_body
from append_prefill.probe.sample import take_sample
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from tests.matrix.releases import REPLY_TOKENS

# No multiple of a page size that any backend has, so that a page size other than the one the
# server says shows as a wrong split.
POINT = Point(context_tokens=127, append_tokens=33)
OUTPUT_TOKENS = 4


@dataclass(frozen=True)
class Proof:
    """What one launch showed. `problem` is the first thing that went wrong, or None.

    `ready_s`: seconds from launch to the first answer. `cached_tokens`: of the sample's prompt,
    as the server counts. `said`: the version the server gives as its own. `seen`: what `observe`
    saw of the traits that `traits_of` gives.
    """

    ready_s: float | None
    said: str | None
    cached_tokens: int | None
    page_size_tokens: int | None
    attention_backend: str | None
    prefill_graph: str | None
    left_processes: int
    seen: dict[str, Any] | None
    problem: str | None


def prove(python: Path, log_path: Path) -> Proof:
    """Launch the SGLang of an interpreter, describe it, take one sample, stop it."""
    profile = load_profile("cpu-nano")
    engine = SglangEngine(
        option="--sglang",
        interpreter=query_interpreter("--sglang", str(python), python),
        profile=profile,
        model=resolve_model(profile.model, model=None, dummy_weights=True),
    )
    engine.check()
    server = engine.start(cpu_device(), log_path)
    description = times = seen = problem = None
    pids: set[int] = set()
    try:
        await_ready([server])
        pids = server.pids()
        description = server.describe()
        with TimedClient(server.base_url) as client:
            sample = take_sample(
                client,
                PromptSource([1], int(engine.model.config["vocab_size"])),
                POINT,
                page_tokens=description.page_size_tokens,
                output_tokens=OUTPUT_TOKENS,
            )
        if isinstance(sample.result, str):
            problem = sample.result
        else:
            times = sample.result
            seen = observe(server.base_url, int(engine.model.config["max_position_embeddings"]))
    except ServerDiedError as error:
        problem = f"{str(error).splitlines()[0]}: {last_error(error.log_tail)}"
    except InfrastructureError as error:
        problem = str(error)
    finally:
        pids |= server.pids()
        server.stop()
    # A moment for the kernel to take a reaped process off its list.
    time.sleep(0.2)
    left = sum(psutil.pid_exists(pid) for pid in pids)
    if problem is None and left:
        problem = f"{left} processes left after the server was stopped"
    return Proof(
        ready_s=None if server.ready_s is None else round(server.ready_s, 1),
        said=description.versions["sglang"] if description else None,
        cached_tokens=times.cached_tokens if times else None,
        page_size_tokens=description.page_size_tokens if description else None,
        attention_backend=description.attention_backend if description else None,
        prefill_graph=description.prefill_graph if description else None,
        left_processes=left,
        seen=seen,
        problem=problem,
    )


def observe(base_url: str, context_length_tokens: int) -> dict[str, Any]:
    """Those of a version's traits that its server shows without a tokenizer and without a GPU."""
    with httpx.Client(base_url=base_url, trust_env=False, timeout=60) as client:
        model_path = _first_there(client, MODEL_INFO_PATHS)
        server_path = _first_there(client, SERVER_INFO_PATHS)
        info = client.get(server_path).json()
        # Twice the same, so that the second has tokens in the cache to tell details of.
        _first_event(client, list(range(100, 140)), 2)
        meta = _first_event(client, list(range(100, 140)), 2)["meta_info"]
        full = _first_event(client, list(range(200, 220)), context_length_tokens - 20)
        too_long = _first_event(client, [7] * (context_length_tokens + 1), 2)["error"]
        flags = ("cuda_graph_config", *(f"{w}_piecewise_cuda_graph" for w in ("disable", "enable")))
        told_by = next((flag.partition("_")[0] for flag in flags if flag in info), None)
        return {
            "model_info_path": model_path,
            "server_info_path": server_path,
            "retraction_key": next((key for key in meta if key.endswith("_retractions")), None),
            "cached_details": "cached_tokens_details" in meta,
            "fills_context": "error" not in full,
            "reply_cached_tokens": _cached_of_a_reply(client),
            "stream_error_code": "code" in too_long,
            "model_info_names": "served_model_name" in client.get(model_path).json(),
            "prefill_graph_told_by": "config" if told_by == "cuda" else told_by,
        }


def expected(version: str) -> dict[str, Any]:
    """What `observe` should see of a version, by the tables."""
    traits = traits_of(version)
    names = ("model_info_path", "server_info_path", "retraction_key", "cached_details")
    names += ("fills_context", "stream_error_code", "model_info_names")
    seen = {name: getattr(traits, name) for name in names}
    kept = REPLY_TOKENS - traits.uncached_tail_tokens if traits.caches_replies else 0
    told_by = traits.prefill_graph.told_by
    return seen | {"reply_cached_tokens": kept, "prefill_graph_told_by": told_by}


def _first_there(client: httpx.Client, paths: tuple[str, ...]) -> str:
    return next(path for path in paths if client.get(path).status_code == httpx.codes.OK)


def _first_event(client: httpx.Client, input_ids: list[int], max_new_tokens: int) -> dict[str, Any]:
    """The first event of a stream, which is then broken off."""
    content = generate_body(input_ids, max_new_tokens=max_new_tokens)
    headers = {"Content-Type": "application/json"}
    with client.stream("POST", "/generate", content=content, headers=headers) as response:
        for line in response.iter_lines():
            if line.startswith("data: "):
                event: dict[str, Any] = orjson.loads(line.removeprefix("data: "))
                return event
    raise AssertionError(f"no event, status {response.status_code}")


def _cached_of_a_reply(client: httpx.Client) -> int:
    """Of `REPLY_TOKENS` generated ones, how many the turn after them finds in the cache."""
    prompt = list(range(300, 340))
    reply = _whole(client, prompt, REPLY_TOKENS)["output_ids"]
    turn = _whole(client, [*prompt, *reply, *range(400, 410)], 1)
    cached: int = turn["meta_info"]["cached_tokens"]
    return cached - len(prompt)


def _whole(client: httpx.Client, input_ids: list[int], max_new_tokens: int) -> dict[str, Any]:
    body = generate_body(input_ids, max_new_tokens=max_new_tokens, fields={"stream": False})
    response = client.post("/generate", content=body, headers={"Content-Type": "application/json"})
    answer: dict[str, Any] = response.raise_for_status().json()
    return answer


def last_error(log: str) -> str:
    """The last line of a log that names an exception, else its last line.

    That a worker died is an echo: the worker's own exception stands above it.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    named = [line for line in lines if "Error: " in line or line.endswith("Error")]
    causes = [line for line in named if " died " not in line]
    return (causes or named or lines or ["(empty log)"])[-1]
