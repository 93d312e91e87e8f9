"""From `--sglang`, `--against` or `--sglang-url` to an engine, or to a UsageError that helps."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from append_prefill.engines.attach import API_KEY_VARIABLE, AttachedEngine
from append_prefill.engines.base import Engine
from append_prefill.engines.environments import (
    Interpreter,
    query_interpreter,
    same_version,
    version_environments,
)
from append_prefill.engines.local import PlantedEngine, SglangEngine
from append_prefill.engines.model import resolve_model
from append_prefill.engines.versions import NEWEST, parse_version
from append_prefill.errors import UsageError
from append_prefill.places import make_environment
from append_prefill.workload.profile import Profile

VARIABLE = "APPEND_PREFILL_SGLANG"
# The second is what the first was called before.
_SIMULATED = ("simulated", "planted")
_SIMULATED_KEY = re.compile(r"[a-z][a-z0-9_-]*")


def resolve_engine(
    option: str,
    value: str | None,
    *,
    profile: Profile,
    server_args: Mapping[str, Sequence[str]],
    model: str | None,
    dummy_weights: bool | None,
    root: Path,
    label: str | None = None,
) -> Engine:
    """The engine that an option names; starts nothing.

    `value` is a version (an environment that tox made under `root`, or `append-prefill env`), the
    path of an interpreter, or `simulated[:key=value,...]`. None means the default:
    $APPEND_PREFILL_SGLANG, the running interpreter if it has SGLang, the newest version
    environment. `server_args` are SGLang's, by the option that brought them; `label` is what the
    user calls this side. Raises UsageError, naming `option`, the value and what would be right.
    """
    if value is None:
        value = os.environ.get(VARIABLE) or None
        option = f"${VARIABLE}" if value else option
    if value is not None and is_simulated(value):
        return PlantedEngine(_simulated_options(option, value), profile, server_args, label)
    interpreter = _default(option, root) if value is None else interpreter_of(option, value, root)
    return SglangEngine(
        option=option,
        interpreter=interpreter,
        profile=profile,
        model=resolve_model(profile.model, model=model, dummy_weights=dummy_weights),
        extra_args=server_args,
        called=label,
    )


def resolve_url(url: str, api_key: str | None, label: str | None = None) -> Engine:
    """An engine for a server that is already running. Raises UsageError for what is no URL."""
    if not re.fullmatch(r"http://[^/\s@]+(/.*)?", url):
        raise UsageError(
            "--sglang-url",
            url if "@" not in url else "(with a user in it)",
            "is not a plain http URL without a user: TLS would add its own time to every value, "
            "and a secret would end up in the record.",
            f"Give one, as in http://127.0.0.1:30000, and a key in ${API_KEY_VARIABLE}.",
        )
    return AttachedEngine(url.rstrip("/"), api_key, label)


def is_simulated(value: str) -> bool:
    """Whether an option's value names the simulated server."""
    return value.partition(":")[0] in _SIMULATED


def interpreter_of(option: str, value: str, root: Path) -> Interpreter:
    """The interpreter that is named by a version or its path. Raises UsageError."""
    path = Path(value).expanduser()
    if parse_version(value) is None and (os.sep in value or path.exists()):
        return query_interpreter(option, value, path)
    if parse_version(value) is None:
        raise UsageError(
            option,
            value,
            "is neither a version, nor a path, nor `simulated`.",
            f"{_there(root)} Any other version: `{make_environment(root, 'VERSION')}`.",
        )
    python = version_environments(root).get(value)
    if python is None:
        raise UsageError(
            option,
            value,
            "there is no environment with that version.",
            f"Make it with `{make_environment(root, value)}`. {_there(root)}",
        )
    found = query_interpreter(option, value, python)
    if found.sglang is not None and not same_version(found.sglang, value):
        raise UsageError(
            option,
            value,
            f"its environment holds SGLang {found.sglang}.",
            f"Make it anew: delete {python.parent.parent}, then `{make_environment(root, value)}`.",
        )
    return found


def _default(option: str, root: Path) -> Interpreter:
    # find_spec of a top-level name imports nothing.
    if importlib.util.find_spec("sglang") and _has_metadata("sglang"):
        return query_interpreter(option, sys.executable, Path(sys.executable))
    environments = version_environments(root)
    if not environments:
        raise UsageError(
            option,
            "(not given)",
            "no SGLang was found: not in this interpreter, and no environment holds a version.",
            f"Make one with `{make_environment(root, 'VERSION')}`, as in "
            f"`{make_environment(root, NEWEST)}`, or name an interpreter that has SGLang with "
            f"{option} PATH or ${VARIABLE}.",
        )
    newest, python = list(environments.items())[-1]
    return query_interpreter(option, newest, python)


def _has_metadata(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _there(root: Path) -> str:
    names = ", ".join(version_environments(root))
    return f"Environments there are: {names}." if names else "There is no environment yet."


def _simulated_options(option: str, value: str) -> dict[str, str]:
    """`simulated:floor-ms=20,slow=m>512` as {"floor-ms": "20", "slow": "m>512"}; order is kept."""
    options: dict[str, str] = {}
    for part in filter(None, value.partition(":")[2].split(",")):
        key, equals, setting = part.partition("=")
        if not equals or not _SIMULATED_KEY.fullmatch(key):
            raise UsageError(
                option,
                value,
                f"{part!r} is not key=value.",
                "Write simulated:key=value,key=value; `python -m append_prefill.planted --help` "
                "lists the keys.",
            )
        options[key.replace("_", "-")] = setting
    return options
