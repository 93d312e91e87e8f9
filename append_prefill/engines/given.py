"""Environment variables as a record may keep them: names, and the values that steer a server."""

from __future__ import annotations

from collections.abc import Mapping

from append_prefill.records.secrets import MASK, is_secret_name, masked

# Whose values can move a time, and are no business of anybody's else. What a value of any other
# variable holds, nobody here can know: it stays out, secret or not.
_STEERING = (
    "CUBLAS",
    "CUDA",
    "CUDNN",
    "FLASHINFER_",
    "GLIBC_TUNABLES",
    "GOMP_",
    "KMP_",
    "LD_",
    "MALLOC_",
    "MKL_",
    "NCCL_",
    "NUMEXPR_",
    "NVIDIA_",
    "OMP_",
    "OPENBLAS_",
    "PYTHON",
    "PYTORCH_",
    "SGLANG_",
    "SGL_",
    "TOKENIZERS_",
    "TORCH",
    "TRITON_",
    "VLLM_",
)
# Longest name and value kept: a path fits in, and a record is no place for what does not.
_NAME_CHARACTERS = 100
_VALUE_CHARACTERS = 300
# More than any server is given; a script that clears its environment takes away hundreds.
_VARIABLES = 50


def recordable(environment: Mapping[str, str | None]) -> dict[str, str | None]:
    """The variables that a record keeps, those that steer a server first, at most 50.

    A value is kept of those alone, and not where the name says that it is a secret: the others'
    is `***`. None: the variable was taken away.
    """
    names = sorted(environment, key=lambda name: (not _steers(name), name))[:_VARIABLES]
    return {_whole(name)[:_NAME_CHARACTERS]: _value(name, environment[name]) for name in names}


def _steers(name: str) -> bool:
    return name.startswith(_STEERING)


def _value(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if not _steers(name) or is_secret_name(name):
        return MASK
    return masked(_whole(value))[:_VALUE_CHARACTERS]


def _whole(text: str) -> str:
    """Bytes that are no UTF-8 become question marks: a file is to be written of it."""
    return text.encode("utf-8", "replace").decode()
