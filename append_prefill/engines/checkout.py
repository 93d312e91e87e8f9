"""Which commit an SGLang was installed from: PEP 610's `direct_url.json`, and git."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# SGLang's checkout answers in a few hundredths of a second; a network file system may take seconds.
_LIMIT_S = 30.0
# As many digits as tell the states of one checkout apart that anybody ever compares.
_DIGEST_DIGITS = 8


@dataclass(frozen=True)
class Origin:
    """Where an installation comes from; both None for a wheel of an index.

    `commit`: of `pip install git+https://…`, fixed then. `checkout`: the folder of an editable
    install, whose commit is what it is at each launch.
    """

    commit: str | None = None
    checkout: Path | None = None

    def commit_now(self) -> str | None:
        """The commit, as `commit_of` says it; None where there is none to be known."""
        return self.commit if self.checkout is None else commit_of(self.checkout)


def origin_in(direct_url: str | None) -> Origin:
    """What the text of a `direct_url.json` says; nothing of what is none, or is not git's."""
    try:
        told = json.loads(direct_url or "{}")
    except ValueError:
        return Origin()
    if not isinstance(told, dict):
        return Origin()
    vcs, folder = _object(told, "vcs_info"), _object(told, "dir_info")
    commit = str(vcs.get("commit_id", ""))
    if vcs.get("vcs") == "git" and _COMMIT.fullmatch(commit):
        return Origin(commit=commit)
    # A folder that was copied, and not linked, may have moved on since: its commit says nothing.
    url = urlsplit(str(told.get("url", "")))
    if folder.get("editable") is True and url.scheme == "file" and not url.netloc:
        return Origin(checkout=Path(unquote(url.path)))
    return Origin()


def commit_of(folder: Path) -> str | None:
    """The commit that `folder` is checked out at; None where git does not say.

    Where tracked files in `folder` are not the commit's, `-dirty.` and a digest of the difference
    follow, which tells two states of one checkout apart.
    """
    # A checkout around `folder` that does not know it (a home under git) is none of its own.
    if _git(folder, "ls-files", "--error-unmatch", ".") is None:
        return None
    head = _git(folder, "rev-parse", "HEAD")
    commit = None if head is None else head.decode("ascii", "replace").strip()
    if commit is None or not _COMMIT.fullmatch(commit):
        return None
    change = _change_in(folder)
    if change is None:
        return None
    if not change:
        return commit
    return f"{commit}-dirty.{hashlib.sha256(change).hexdigest()[:_DIGEST_DIGITS]}"


def _change_in(folder: Path) -> bytes | None:
    """What tracked files in `folder` differ by from the commit; None where git does not say.

    `git diff` writes into the index what it finds of files that were touched and not changed, also
    where it is told to do without locks. So it is given a copy.
    """
    index = _git(folder, "rev-parse", "--git-path", "index")
    if index is None:
        return None
    asked = ("diff", "--no-ext-diff", "--no-textconv", "--binary", "HEAD", "--", ".")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "index"
            # With its time, by which git knows what was changed in the second it was written in.
            shutil.copy2(folder / os.fsdecode(index.rstrip(b"\n")), copy)
            return _git(folder, *asked, index=copy)
    except OSError:
        return None


def _object(told: dict[str, Any], key: str) -> dict[str, Any]:
    value = told.get(key)
    return value if isinstance(value, dict) else {}


def _git(folder: Path, *arguments: str, index: Path | None = None) -> bytes | None:
    # Within a hook of another repository git's own variables name that one.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"GIT_OPTIONAL_LOCKS": "0"} | ({} if index is None else {"GIT_INDEX_FILE": str(index)})
    # A container's user often does not own a mounted checkout, and git then refuses to read it.
    # Code of that checkout is run anyway, by whoever measures it.
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), *arguments]
    try:
        answer = subprocess.run(command, env=env, capture_output=True, check=True, timeout=_LIMIT_S)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return answer.stdout
