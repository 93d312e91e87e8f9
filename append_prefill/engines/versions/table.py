"""What the protocol and the arguments of each SGLang version are.

Each table lists (first version it holds from, value), oldest first; a version takes the last row
that is not newer than it, one older than every row the first. The boundaries were read off the
releases' source, and what a server shows on a CPU is held against the real server of every release
from `OLDEST` to `NEWEST` (`tox -e matrix`). `TABLES` names the tables, so that the tests walk every
row of every one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

OLDEST = "0.5.5.post3"
NEWEST = "0.5.23"
# A release's own spelling is some 20 characters long, a nightly's with a commit some 40. What is
# longer is no version, and would cost time or the limit on digits to be refused by its grammar.
_VERSION_CHARACTERS = 100

_T = TypeVar("_T")
Rows = Sequence[tuple[str, _T]]


@dataclass(frozen=True)
class PrefillGraph:
    """How a version tells of its CUDA graph for prefill in its server info.

    `told_by`: a flag that enables or one that disables it, or the prefill part of
    `cuda_graph_config`, which names the backend. `backend` is the version's own where the graph is
    on, `default_on` whether it is where nobody says.
    """

    told_by: Literal["enable", "disable", "config"]
    backend: str
    default_on: bool


_ENABLE = "enable_piecewise_cuda_graph"
_DISABLE = "disable_piecewise_cuda_graph"
_CONFIG = "cuda_graph_config"
_GRAPH_TOKENS = "piecewise_cuda_graph_tokens"

_INFO_PATHS: Rows[tuple[str, str]] = (
    (OLDEST, ("/get_model_info", "/get_server_info")),
    ("0.5.6", ("/model_info", "/server_info")),  # the old names go on, with a warning each
)
_RETRACTION_KEY: Rows[str] = ((OLDEST, "total_retractions"), ("0.5.12", "num_retractions"))
# With a tokenizer. Without one it is cumulative everywhere.
_OUTPUT_IDS: Rows[Literal["delta", "cumulative"]] = ((OLDEST, "delta"), ("0.5.6", "cumulative"))
# Where the hits lie (device, host) beside their number.
_CACHED_DETAILS: Rows[bool] = ((OLDEST, False), ("0.5.9", True))
# Before 0.5.10 the query parameter is ignored and a busy server answers 400 at once.
_FLUSH_TIMEOUT: Rows[bool] = ((OLDEST, False), ("0.5.10", True))
# Whether prompt and output may fill the context to the last token.
_FILLS_CONTEXT: Rows[bool] = ((OLDEST, False), ("0.5.11", True))
# `code` (HTTP's status) in an error that comes inside a stream. Before, only ValueErrors came that
# way, which later versions call 400.
_STREAM_ERROR_CODE: Rows[bool] = ((OLDEST, False), ("0.5.13", True))
# Whether model info has the served name and the load format; before, server info alone has them.
_MODEL_INFO_NAMES: Rows[bool] = ((OLDEST, False), ("0.5.18", True))
# From 0.5.18 the server freezes its garbage collector after its own warm-up.
_FREEZES_GC: Rows[bool] = ((OLDEST, False), ("0.5.18", True))
# How many of a finished request's last tokens, prompt and reply together, are not in the prefix
# cache, of a request that was served alone. The token generated last was never an input, unless the
# overlap scheduler has begun a step with it before it knows that the reply has ended; from 0.5.22
# it begins none where a reply ends by its length, and one that ends on a token is whole. In company
# it is 1 at times before, where a prompt that just came is prefilled in place of that step; without
# the overlap scheduler it is 1 always.
_UNCACHED_TAIL: Rows[int] = ((OLDEST, 0), ("0.5.22", 1))
# From 0.5.6 to 0.5.8.post1 the prefix cache has a finished request's prompt and nothing of what was
# generated. That is a fault (sgl-project/sglang#16521), and no rule that a server may follow.
_CACHES_REPLIES: Rows[bool] = ((OLDEST, True), ("0.5.6", False), ("0.5.9", True))
# `streaming` of /open_session; before, the key is ignored and the session is a plain one.
_STREAMING_SESSIONS: Rows[bool] = ((OLDEST, False), ("0.5.10", True))
# Whether the usage of a chat says that none of its prompt was cached; before, it then says nothing.
_USAGE_OF_NONE_CACHED: Rows[bool] = ((OLDEST, False), ("0.5.22", True))
_PREFILL_GRAPH: Rows[PrefillGraph] = (
    (OLDEST, PrefillGraph("enable", "tc_piecewise", default_on=False)),
    ("0.5.10", PrefillGraph("disable", "tc_piecewise", default_on=True)),
    ("0.5.14", PrefillGraph("config", "tc_piecewise", default_on=True)),
    ("0.5.15", PrefillGraph("config", "breakable", default_on=True)),
)
# Pure Python wheels until 0.5.10, compiled ones since; 0.5.23 has none for 3.10.
_PYTHON: Rows[str] = ((OLDEST, ">=3.10,<3.13"), ("0.5.23", ">=3.11,<3.14"))

TABLES: Mapping[str, Rows[Any]] = {
    "info_paths": _INFO_PATHS,
    "retraction_key": _RETRACTION_KEY,
    "output_ids": _OUTPUT_IDS,
    "cached_details": _CACHED_DETAILS,
    "flush_timeout": _FLUSH_TIMEOUT,
    "fills_context": _FILLS_CONTEXT,
    "stream_error_code": _STREAM_ERROR_CODE,
    "model_info_names": _MODEL_INFO_NAMES,
    "freezes_gc": _FREEZES_GC,
    "uncached_tail_tokens": _UNCACHED_TAIL,
    "caches_replies": _CACHES_REPLIES,
    "streaming_sessions": _STREAMING_SESSIONS,
    "usage_of_none_cached": _USAGE_OF_NONE_CACHED,
    "prefill_graph": _PREFILL_GRAPH,
    "python": _PYTHON,
}

# What a server whose version is not known yet is asked: new names first, since new servers log a
# warning for the old ones.
MODEL_INFO_PATHS = tuple(paths[0] for _, paths in reversed(_INFO_PATHS))
SERVER_INFO_PATHS = tuple(paths[1] for _, paths in reversed(_INFO_PATHS))
_RETRACTION_KEYS = tuple(key for _, key in reversed(_RETRACTION_KEY))
_CODE_OF_A_VALUE_ERROR = 400

# One half of a prefill/decode pair answers nothing but requests with these: no other half is asked.
# SGLang's own warm-up sends them, the same in every version.
LONE_HALF = {"bootstrap_host": "2.2.2.2", "bootstrap_room": 0}

# Without it a streaming session is refused by the versions that have them.
SESSIONS_ARG = "--enable-streaming-session"

# What a scheduler's process runs once it has imported everything, and before anything else: no
# release from `OLDEST` to `NEWEST` touches the device before it is called.
SCHEDULER_MAIN = "sglang.srt.managers.scheduler:run_scheduler_process"


@dataclass(frozen=True)
class VersionTraits:
    """What holds for one SGLang version; `warning` says so where it was not tried or is unknown.

    `output_ids` says what each streamed event carries where there is a tokenizer. A conversation's
    next turn finds all but `uncached_tail_tokens` of what was before it, with the overlap scheduler
    that is the default, and one token less where it is 0 and others are served meanwhile; where not
    `caches_replies`, of the last reply it finds nothing.
    """

    version: str
    model_info_path: str
    server_info_path: str
    retraction_key: str
    output_ids: Literal["delta", "cumulative"]
    cached_details: bool
    flush_timeout_param: bool
    fills_context: bool
    stream_error_code: bool
    model_info_names: bool
    freezes_gc: bool
    uncached_tail_tokens: int
    caches_replies: bool
    streaming_sessions: bool
    usage_of_none_cached: bool
    prefill_graph: PrefillGraph
    requires_python: SpecifierSet
    warning: str | None


def traits_of(version: str) -> VersionTraits:
    """The traits of an SGLang version, by the nearest rule that is not newer.

    Raises ValueError for text that is not a version (PEP 440).
    """
    parsed = parse_version(version)
    if parsed is None:
        raise ValueError(f"{shown(version)} is not a version")
    model_info, server_info = since(_INFO_PATHS, parsed)
    return VersionTraits(
        version=str(parsed),
        model_info_path=model_info,
        server_info_path=server_info,
        retraction_key=since(_RETRACTION_KEY, parsed),
        output_ids=since(_OUTPUT_IDS, parsed),
        cached_details=since(_CACHED_DETAILS, parsed),
        flush_timeout_param=since(_FLUSH_TIMEOUT, parsed),
        fills_context=since(_FILLS_CONTEXT, parsed),
        stream_error_code=since(_STREAM_ERROR_CODE, parsed),
        model_info_names=since(_MODEL_INFO_NAMES, parsed),
        freezes_gc=since(_FREEZES_GC, parsed),
        uncached_tail_tokens=since(_UNCACHED_TAIL, parsed),
        caches_replies=since(_CACHES_REPLIES, parsed),
        streaming_sessions=since(_STREAMING_SESSIONS, parsed),
        usage_of_none_cached=since(_USAGE_OF_NONE_CACHED, parsed),
        prefill_graph=since(_PREFILL_GRAPH, parsed),
        requires_python=SpecifierSet(since(_PYTHON, parsed)),
        warning=_warning(parsed),
    )


def parse_version(text: str) -> Version | None:
    """The version that `text` is, or None."""
    if len(text) > _VERSION_CHARACTERS:
        return None
    try:
        return Version(text)
    except InvalidVersion:
        return None


def shown(text: str) -> str:
    """Text from outside, to be quoted in a line: one line, short, nothing a terminal obeys."""
    return ascii(text if len(text) <= _VERSION_CHARACTERS else text[:_VERSION_CHARACTERS] + "…")


def retractions_in(meta: Mapping[str, Any]) -> Any:
    """How often a request was retracted, of an answer's `meta_info`; None where it is not said."""
    return next((meta[key] for key in _RETRACTION_KEYS if key in meta), None)


def stream_error_status(problem: Mapping[str, Any]) -> Any:
    """The HTTP status that an error inside a stream stands for."""
    return problem.get("code", _CODE_OF_A_VALUE_ERROR)


def uncached_tail_in(info: Mapping[str, Any], version: str | None) -> int:
    """How many of a finished request's last tokens the next turn does not find in the cache.

    Of a server's info, as it may have been started without the overlap scheduler, and its version;
    None is taken for the newest known. What a version loses by a fault counts as kept.
    """
    if info.get("disable_overlap_schedule"):
        return 1
    return traits_of(version or NEWEST).uncached_tail_tokens


def prefill_graph_in(info: Mapping[str, Any], version: str | None) -> str | None:
    """`off` or the backend of the CUDA graph for prefill, of a server's info; None: not known.

    Goes by what is said, since a build between two releases may say either; by `version` only
    where nothing is said.
    """
    config = info.get(_CONFIG)
    if isinstance(config, Mapping):
        prefill = config.get("prefill")
        backend = prefill.get("backend") if isinstance(prefill, Mapping) else None
        return "off" if backend == "disabled" else backend
    if info.get("disable_cuda_graph") or info.get(_DISABLE):
        return "off"
    graph = None if version is None else traits_of(version).prefill_graph
    if _DISABLE not in info and _ENABLE in info and not info[_ENABLE]:
        return "off"
    if _DISABLE not in info and _ENABLE in info:
        return since(_PREFILL_GRAPH, Version(OLDEST)).backend
    if graph is None:
        return None
    return graph.backend if graph.default_on else "off"


def prefill_graph_tokens_in(info: Mapping[str, Any], version: str | None) -> list[int] | None:
    """The numbers of new tokens that a server captures prefill graphs for, ascending.

    Of its info: beside the backend in `cuda_graph_config`, before 0.5.14 in a key of its own. Empty
    where it runs without; None where it does not say.
    """
    graph = prefill_graph_in(info, version)
    if graph is None or graph == "off":
        return None if graph is None else []
    config = info.get(_CONFIG)
    prefill = config.get("prefill") if isinstance(config, Mapping) else None
    told = prefill.get("bs") if isinstance(prefill, Mapping) else info.get(_GRAPH_TOKENS)
    if not isinstance(told, list) or not told:
        return None
    sizes = [size for size in told if type(size) is int and size > 0]
    return sorted(set(sizes)) if len(sizes) == len(told) else None


def prefill_graph_info(
    graph: PrefillGraph, *, on: bool, tokens: Sequence[int] = ()
) -> dict[str, Any]:
    """What a server of that kind says in its info: the other way round of `prefill_graph_in` and
    `prefill_graph_tokens_in`. It tells the sizes whether or not it captures them.
    """
    if graph.told_by == "config":
        backend = graph.backend if on else "disabled"
        prefill = {"backend": backend, "bs": list(tokens)}
        return {_CONFIG: {"decode": {"backend": "disabled"}, "prefill": prefill}}
    flag = {_ENABLE: on} if graph.told_by == "enable" else {_DISABLE: not on}
    return {**flag, "disable_cuda_graph": False, _GRAPH_TOKENS: list(tokens)}


def since(rows: Rows[_T], version: Version) -> _T:
    """The value of the last row whose version is not above `version`, else of the first row."""
    value = rows[0][1]
    # A release candidate or a build of the branch has what its release will have.
    reached = Version(version.base_version) if version.is_prerelease else version
    for first, row in rows:
        if reached >= Version(first):
            value = row
    return value


def _warning(version: Version) -> str | None:
    # A nightly or a local build of a release behaves as that release.
    base = Version(version.public)
    if base < Version(OLDEST):
        return (
            f"SGLang {version} is older than {OLDEST}, the oldest the suite knows; "
            f"the rules of {OLDEST} are used."
        )
    if base > Version(NEWEST):
        return (
            f"SGLang {version} is newer than {NEWEST}, the newest the suite knows; "
            f"the rules of {NEWEST} are used."
        )
    return None
