"""Where SGLang's versions differ: the only place in the suite that knows.

Each table lists (first version it holds from, value), oldest first; a version takes the last
row that is not newer than it, one older than every row the first. Boundaries were read off the
released wheels, so one may be a release late where a wheel in between was not opened.

Imports nothing but the standard library and `packaging`, since the installer runs it inside an
environment that has little else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

OLDEST = "0.5.5.post3"
NEWEST = "0.5.23"

_T = TypeVar("_T")
_Rows = Sequence[tuple[str, _T]]

PrefillGraph = Literal["off", "on"]


@dataclass(frozen=True)
class _PrefillGraph:
    """The default backend of the CUDA graph for prefill, and the arguments that turn it."""

    default: str
    off: tuple[str, ...]
    on: tuple[str, ...]


_INFO_PATHS: _Rows[tuple[str, str]] = (
    (OLDEST, ("/get_model_info", "/get_server_info")),
    ("0.5.6", ("/model_info", "/server_info")),  # the old names go on, with a warning each
)
_RETRACTION_KEY: _Rows[str] = ((OLDEST, "total_retractions"), ("0.5.12", "num_retractions"))
_OUTPUT_IDS: _Rows[Literal["delta", "cumulative"]] = ((OLDEST, "delta"), ("0.5.6", "cumulative"))
# Before 0.5.10 the query parameter is ignored and a busy server answers 400 at once.
_FLUSH_TIMEOUT: _Rows[bool] = ((OLDEST, False), ("0.5.10", True))
# From 0.5.18 the server freezes its garbage collector after its own warm-up.
_FREEZES_GC: _Rows[bool] = ((OLDEST, False), ("0.5.18", True))
_PREFILL_GRAPH: _Rows[_PrefillGraph] = (
    (OLDEST, _PrefillGraph("off", (), ("--enable-piecewise-cuda-graph",))),
    ("0.5.10", _PrefillGraph("tc_piecewise", ("--disable-piecewise-cuda-graph",), ())),
    (
        "0.5.14",
        _PrefillGraph(
            "tc_piecewise",
            ("--cuda-graph-backend-prefill", "disabled"),
            ("--cuda-graph-backend-prefill", "tc_piecewise"),
        ),
    ),
    (
        "0.5.15",
        _PrefillGraph(
            "breakable",
            ("--cuda-graph-backend-prefill", "disabled"),
            ("--cuda-graph-backend-prefill", "breakable"),
        ),
    ),
)
# One half of a prefill/decode pair answers nothing but requests with these: no other half is asked.
# SGLang's own warm-up sends them, the same in every version.
LONE_HALF = {"bootstrap_host": "2.2.2.2", "bootstrap_room": 0}

# Pure Python wheels until 0.5.10, compiled ones since; 0.5.23 has none for 3.10.
_PYTHON: _Rows[str] = ((OLDEST, ">=3.10,<3.13"), ("0.5.23", ">=3.11,<3.14"))
# Trees of engines/standins that the server process gets on a machine without a GPU. The kernel
# package is CUDA only; these versions import its names whether they are called or not.
_STAND_INS: _Rows[tuple[str, ...]] = (
    (OLDEST, ("cpu", "cpu_vllm")),
    ("0.5.6", ("cpu",)),
    ("0.5.13", ()),
    ("0.5.16", ("cpu",)),
)

# What SGLang imports on its plain CPU path, apart from what `_FROM_METADATA` adds. Trimmed by
# trial: its own requirement list names CUDA-only packages that do not install without a GPU.
_CPU_COMMON = (
    "numpy==2.3.5", "aiohttp==3.14.5", "fastapi==0.165.0", "uvicorn==0.54.0", "uvloop",
    "pyzmq==27.3.0", "orjson==3.13.0", "msgspec", "psutil", "requests", "pillow", "pybase64",
    "prometheus-client", "setproctitle", "python-multipart", "pydantic==2.14.3",
    "partial_json_parser", "interegular", "einops", "packaging", "tqdm", "sentencepiece==0.2.1",
    "dill", "xxhash", "httpx", "jiter", "sniffio", "distro", "ipython", "loguru", "jsonschema",
    "cffi", "scipy",
)  # fmt: skip
# One torch for every version: a side-by-side comparison on a CPU is then of SGLang alone, and
# torch's CPU build loads with every SGLang tried. Its companions follow from it: the build with
# CUDA, which is all that some indexes have, asks for a triton of its own (3.7.1), the CPU build for
# none.
_CPU_TORCH = ("torch==2.13.0", "triton~=3.7.0")
# 0.16.2 is the newest torchvision that imports (with a warning) on this torch's CPU build, and has
# no wheel for Python 3.12 and newer; 0.28.0 is the one made for this torch.
_CPU_UNPINNED = (
    "torchvision==0.16.2; python_version < '3.12'",
    "torchvision==0.28.0; python_version >= '3.12'",
)
# Taken at the version its own metadata pins, where that metadata names them at all: without
# their dependencies, which are in the common list or are not imported.
_FROM_METADATA: _Rows[tuple[str, ...]] = (
    (OLDEST, ("openai", "torchao", "compressed-tensors", "gguf", "soundfile", "apache-tvm-ffi")),
    (
        "0.5.18",
        ("openai", "compressed-tensors", "gguf", "soundfile", "apache-tvm-ffi", "xgrammar"),
    ),
)
# The same, with their dependencies.
_FROM_METADATA_WITH_DEPS = ("transformers", "tokenizers")
# What was tried; a package whose metadata pins it already keeps that pin.
_TRIED_PINS = {
    "compressed-tensors": "0.18.0",
    "gguf": "0.19.0",
    "soundfile": "0.13.1",
    "apache-tvm-ffi": "0.1.9",
}


@dataclass(frozen=True)
class VersionTraits:
    """What holds for one SGLang version; `warning` says so where it was not tried or is unknown.

    `stand_ins` are names of stand-in trees the server process needs on a CPU. `output_ids` says
    what each streamed event carries; with `--skip-tokenizer-init` it is cumulative everywhere.
    """

    version: str
    model_info_path: str
    server_info_path: str
    retraction_key: str
    output_ids: Literal["delta", "cumulative"]
    flush_timeout_param: bool
    freezes_gc: bool
    prefill_graph_default: str
    stand_ins: tuple[str, ...]
    requires_python: SpecifierSet
    warning: str | None

    def prefill_graph_args(self, state: PrefillGraph) -> list[str]:
        """Server arguments that turn the CUDA graph for prefill off or on; [] where it is so."""
        graph = _since(_PREFILL_GRAPH, Version(self.version))
        return list(graph.off if state == "off" else graph.on)


def traits_of(version: str) -> VersionTraits:
    """The traits of an SGLang version, by the nearest rule that is not newer.

    Raises ValueError for text that is not a version (PEP 440).
    """
    try:
        parsed = Version(version)
    except InvalidVersion as error:
        raise ValueError(f"{version!r} is not a version") from error
    graph = _since(_PREFILL_GRAPH, parsed)
    model_info, server_info = _since(_INFO_PATHS, parsed)
    return VersionTraits(
        version=str(parsed),
        model_info_path=model_info,
        server_info_path=server_info,
        retraction_key=_since(_RETRACTION_KEY, parsed),
        output_ids=_since(_OUTPUT_IDS, parsed),
        flush_timeout_param=_since(_FLUSH_TIMEOUT, parsed),
        freezes_gc=_since(_FREEZES_GC, parsed),
        prefill_graph_default=graph.default,
        stand_ins=_since(_STAND_INS, parsed),
        requires_python=SpecifierSet(_since(_PYTHON, parsed)),
        warning=_warning(parsed),
    )


def cpu_packages_before(version: str) -> list[str]:
    """What to install first, with dependencies, for `version` on a machine without a GPU."""
    traits_of(version)
    return [*_CPU_COMMON, *_CPU_TORCH]


def cpu_packages_after(version: str, requirements: Sequence[str]) -> tuple[list[str], list[str]]:
    """What to install once SGLang itself is there: (with dependencies, without).

    `requirements` is SGLang's own list (`importlib.metadata.requires`): the versions it pins are
    taken from there, so a release that is not in any table gets its own pins too.
    """
    pins: dict[str, Requirement] = {}
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            pins[canonicalize_name(requirement.name)] = requirement
    with_deps = [_pinned(pins[n]) for n in _FROM_METADATA_WITH_DEPS if n in pins]
    names = _since(_FROM_METADATA, Version(version))
    without = [_pinned(pins[n]) for n in names if n in pins]
    return with_deps, [*_CPU_UNPINNED, *without]


def _pinned(requirement: Requirement) -> str:
    name = canonicalize_name(requirement.name)
    exact = any(s.operator == "==" for s in requirement.specifier)
    tried = _TRIED_PINS.get(name)
    if not exact and tried is not None and requirement.specifier.contains(tried):
        return f"{name}=={tried}"
    return f"{name}{requirement.specifier}"


def _since(rows: _Rows[_T], version: Version) -> _T:
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
