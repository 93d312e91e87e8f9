"""Which SGLang releases there are, and what is known of each: docs/sglang-releases.json."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.version import Version

from append_prefill.engines.command import STUBS
from append_prefill.engines.versions import NEWEST, OLDEST, cpu, cpu_stubs
from append_prefill.engines.versions.table import since

FILE = Path(__file__).parents[2] / "docs" / "sglang-releases.json"
PAGE = FILE.with_suffix(".md")
# The reply of the conversation that a release is asked to hold: the turn after it finds some of it.
REPLY_TOKENS = 10


def published() -> list[str]:
    """Every final release on the package index that is not older than the suite knows.

    Raises RuntimeError if the index does not answer.
    """
    command = [sys.executable, "-m", "pip", "index", "versions", "sglang"]
    answer = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    listed = re.search(r"^Available versions: (.*)$", answer.stdout, re.MULTILINE)
    if listed is None:
        raise RuntimeError(f"the package index lists no SGLang: {answer.stderr.strip()[-300:]}")
    found = [Version(text.strip()) for text in listed.group(1).split(",")]
    return [str(v) for v in sorted(found) if v >= Version(OLDEST) and not v.is_prerelease]


def is_newer(version: str) -> bool:
    """Whether a release came after the newest that the tables know."""
    return Version(version) > Version(NEWEST)


def recipe(version: str) -> str:
    """A digest of what the suite adds for that release on a CPU: where it changed, prove anew.

    Not of the packages that all releases share: most of those have no pin, and move by themselves.
    """
    names = since(cpu.TABLES["from_metadata"], Version(version))
    digest = hashlib.sha256(repr([names, cpu_stubs(version)]).encode())
    for tree in cpu_stubs(version):
        for file in sorted((STUBS / tree).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def known() -> dict[str, dict[str, Any]]:
    """What is on file, by version."""
    if not FILE.is_file():
        return {}
    return {row["version"]: row for row in json.loads(FILE.read_text(encoding="utf-8"))["releases"]}


def keep(row: dict[str, Any]) -> None:
    """Put one release's row on file, in the order of versions, and into the page."""
    rows = known() | {row["version"]: row}
    ordered = sorted(rows.values(), key=lambda r: Version(r["version"]))
    FILE.parent.mkdir(exist_ok=True)
    lines = ",\n".join(f"  {json.dumps(r)}" for r in ordered)
    partial = FILE.with_suffix(".partial")
    partial.write_text('{"releases": [\n' + lines + "\n]}\n", encoding="utf-8")
    partial.replace(FILE)
    write_page()


def table() -> list[str]:
    """The file as a Markdown table, which a terminal shows as well: one line per release."""
    names = ("SGLang", "launches", "split proven", "reply cached", "stubs", "why not")
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for version, row in known().items():
        launches = "yes" if row["launches"] else "no"
        split = f"cached {row['cached_tokens']}" if row["split_ok"] else "no"
        stubs = ", ".join(row["stubs"]) or "none"
        kept = (row["seen"] or {}).get("reply_cached_tokens")
        reply = "not asked" if kept is None else f"{kept} of {REPLY_TOKENS}"
        cells = (version, launches, split, reply, stubs, row["problem"] or "")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def write_page() -> None:
    """Put the table into the documentation's page, after its heading."""
    page = PAGE.read_text(encoding="utf-8")
    text = page.partition("| SGLang |")[0]
    PAGE.write_text(text + "\n".join(table()) + "\n", encoding="utf-8")
