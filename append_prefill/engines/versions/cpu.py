"""What each SGLang version needs to run on a machine without a GPU: packages, and stubs.

Proven for every release by `tox -e matrix`, which writes docs/sglang-releases.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from append_prefill.engines.versions.table import OLDEST, Rows, since

# Trees of engines/stubs that the server process gets on a machine without a GPU. The kernel
# package is CUDA only; these versions import its names whether they are called or not.
_STUBS: Rows[tuple[str, ...]] = (
    (OLDEST, ("cpu", "cpu_vllm")),  # activations, norms and rotary embedding come from vLLM
    ("0.5.8", ("cpu",)),
    ("0.5.13", ()),
    ("0.5.16", ("cpu",)),
)

# What SGLang imports on its plain CPU path, apart from what `_FROM_METADATA` adds. Trimmed by
# trial: its own requirement list names CUDA-only packages that do not install without a GPU.
_COMMON = (
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
_TORCH = ("torch==2.13.0", "triton~=3.7.0")
# 0.16.2 is the newest torchvision that imports (with a warning) on this torch's CPU build, and has
# no wheel for Python 3.12 and newer; 0.28.0 is the one made for this torch.
_UNPINNED = (
    "torchvision==0.16.2; python_version < '3.12'",
    "torchvision==0.28.0; python_version >= '3.12'",
)
# Taken at the version its own metadata pins, where that metadata names them at all: without
# their dependencies, which are in the common list or are not imported.
_FROM_METADATA: Rows[tuple[str, ...]] = (
    (OLDEST, ("openai", "torchao", "compressed-tensors", "gguf", "soundfile", "apache-tvm-ffi")),
    (  # a tool-call parser imports xgrammar whatever the grammar backend
        "0.5.16",
        (
            *("openai", "torchao", "compressed-tensors", "gguf", "soundfile", "apache-tvm-ffi"),
            "xgrammar",
        ),
    ),
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

TABLES: Mapping[str, Rows[Any]] = {"stubs": _STUBS, "from_metadata": _FROM_METADATA}


def cpu_stubs(version: str) -> tuple[str, ...]:
    """The trees of `engines/stubs` that a server of that version needs without a GPU."""
    return since(_STUBS, Version(version))


def cpu_packages_before() -> list[str]:
    """What to install first, with dependencies, for any version on a machine without a GPU."""
    return [*_COMMON, *_TORCH]


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
    names = since(_FROM_METADATA, Version(version))
    without = [_pinned(pins[n]) for n in names if n in pins]
    return with_deps, [*_UNPINNED, *without]


def _pinned(requirement: Requirement) -> str:
    name = canonicalize_name(requirement.name)
    exact = any(s.operator == "==" for s in requirement.specifier)
    tried = _TRIED_PINS.get(name)
    if not exact and tried is not None and requirement.specifier.contains(tried):
        return f"{name}=={tried}"
    return f"{name}{requirement.specifier}"
