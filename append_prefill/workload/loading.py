"""Profiles read from TOML files.

Some are shipped in `append_prefill/profiles/`, and one's own can extend a shipped one.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from append_prefill.errors import UsageError, first_problem
from append_prefill.workload.profile import Profile

_OPTION = "--profile"


def shipped_profiles() -> list[str]:
    """Names that `--profile` takes without a path."""
    folder = resources.files("append_prefill") / "profiles"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


def load_profile(name_or_file: str) -> Profile:
    """Read a shipped profile by name, or a TOML file by path.

    A file may say `extends = "cpu-nano"` (or another shipped name): then it needs only a `name` and
    what differs. Its experiments and traffic are added; its keys of `plan`, `server` and `bounds`
    replace those of the same name; whatever else it has replaces the whole.

    Raises UsageError for a name that is not shipped, a file that is not there, is not TOML or
    does not validate.
    """
    path = Path(name_or_file)
    if path.suffix == ".toml" or path.is_file():
        if not path.is_file():
            raise UsageError(_OPTION, name_or_file, "no such file.", "Give a TOML profile's path.")
        text = path.read_text(encoding="utf-8")
    elif name_or_file in shipped_profiles():
        text = _shipped_text(name_or_file)
    else:
        known = ", ".join(shipped_profiles())
        raise UsageError(
            _OPTION,
            name_or_file,
            "is neither a shipped profile nor a file.",
            f"Shipped are {known}; anything else is the path of a TOML file.",
        )
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            _OPTION, name_or_file, f"is not TOML ({error}).", "Repair the file."
        ) from error
    if "extends" in data:
        data = _extended(data, name_or_file)
    try:
        profile = Profile.model_validate(data)
    except ValidationError as error:
        raise UsageError(
            _OPTION,
            name_or_file,
            f"does not validate: {first_problem(error, 'profile', data)} ({error.error_count()} "
            "problem(s) in all).",
            "Compare with the shipped profiles in append_prefill/profiles/.",
        ) from error
    total_tokens = profile.limits.total_tokens
    traffic = tuple(e.with_trace(path.parent, total_tokens) for e in profile.traffic)
    return profile.model_copy(update={"traffic": traffic})


def _shipped_text(name: str) -> str:
    source = resources.files("append_prefill") / "profiles" / f"{name}.toml"
    return source.read_text(encoding="utf-8")


def _extended(data: dict[str, Any], file: str) -> dict[str, Any]:
    """The shipped profile that `data` extends, with what `data` has of its own put in."""
    own = dict(data)
    base_name = own.pop("extends")
    if base_name not in shipped_profiles():
        raise UsageError(
            _OPTION,
            file,
            f"extends {base_name!r}, which is not shipped.",
            f"Shipped are {', '.join(shipped_profiles())}.",
        )
    if own.get("name", base_name) == base_name:
        raise UsageError(
            _OPTION,
            file,
            f"extends {base_name} and has no name of its own, so its runs would pass for it.",
            'Give it one: name = "mine".',
        )
    base = tomllib.loads(_shipped_text(base_name))
    for table in ("plan", "server", "bounds"):
        if isinstance(own.get(table), dict):
            own[table] = base[table] | own[table]
    for table in ("experiments", "traffic"):
        if isinstance(own.get(table), list):
            own[table] = base.get(table, []) + own[table]
    return base | own
