"""Which versions of SGLang a package index has, asked through pip as anybody would."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from packaging.version import Version

from append_prefill.engines.versions import parse_version
from append_prefill.errors import InfrastructureError, UsageError

# An index answers in a second; behind a slow proxy it may take many.
_LIMIT_S = 120.0
_LIST = "Available versions:"


def indexed_versions(index_url: str | None, *, pre: bool) -> list[str]:
    """The versions on the index (None: pip's own), oldest first, without local parts (+cu130).

    `pre`: those that are no releases as well. Raises InfrastructureError where pip does not say.
    """
    command = [sys.executable, "-m", "pip", "index", "versions", "--disable-pip-version-check"]
    command += ["--pre"] if pre else []
    command += ["--index-url", index_url] if index_url else []
    try:
        answer = subprocess.run(
            [*command, "sglang"], capture_output=True, text=True, check=True, timeout=_LIMIT_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise InfrastructureError(
            f"the package index did not list SGLang's versions ({said[-1] if said else 'no word'})"
        ) from error
    line = next((x for x in answer.stdout.splitlines() if x.strip().startswith(_LIST)), None)
    if line is None:
        raise InfrastructureError("pip listed no versions of SGLang")
    names = {Version(name).public for name in line.partition(":")[2].replace(",", " ").split()}
    return sorted(names, key=Version)


def versions_between(known: Sequence[str], first: str, last: str, *, where: str) -> list[str]:
    """Those of `known`, oldest first, from `first` to `last`, both included.

    `where` is whose versions they are, for the error. Raises UsageError for what is no version, for
    two in the wrong order, and for one that is not known.
    """
    for name in (first, last):
        if parse_version(name) is None:
            raise UsageError(
                "A..B",
                f"{first}..{last}",
                f"{name!r} is not a version of SGLang.",
                "Give two, as in 0.5.21..0.5.23; commits need --git, interpreters --among.",
            )
    if Version(first) >= Version(last):
        raise UsageError(
            "A..B",
            f"{first}..{last}",
            "names the newer version first, or one version twice.",
            "Give the older one first.",
        )
    by_version = {Version(name): name for name in known}
    for name in (first, last):
        if Version(name) not in by_version:
            near = ", ".join(known[-5:]) or "none"
            raise UsageError(
                "A..B",
                f"{first}..{last}",
                f"{where} does not have SGLang {name}; the newest are {near}.",
                "Give versions that it has, or another index with --index-url.",
            )
    return [
        name for version, name in sorted(by_version.items())
        if Version(first) <= version <= Version(last)
    ]  # fmt: skip
