"""What the two sides are called, and the command that would measure them again."""

from __future__ import annotations

import re
import shlex
from typing import Any

from append_prefill.records.grounds import Side
from append_prefill.records.run import Comparison, Run
from append_prefill.report.format import shorten


def label_in(subject: dict[str, Any]) -> str | None:
    """What a subject is called: SGLang's version, or None where the server did not tell."""
    found = subject.get("sglang")
    return None if found is None else str(found)


def candidate_name(run: Run) -> str:
    """The candidate's label; "the candidate" where no server told its version."""
    return label_in(run.subject) or "the candidate"


def reference_name(comparison: Comparison, candidate_version: str | None) -> str:
    """The reference's label, told apart from a candidate of the same version."""
    same = candidate_version is not None and comparison.reference_version == candidate_version
    return f"{comparison.reference} (reference)" if same else comparison.reference


def sglang(label: str, limit: int = 48) -> str:
    """A label as a sentence's subject: versions get the product's name before them."""
    text = shorten(label, limit)
    return f"SGLang {text}" if re.match(r"v?\d+\.\d", label) else text


def attached(run: Run) -> bool:
    """Whether the candidate was already running, so that its launches could not be replicated."""
    return not run.replicated


def subject_of(run: Run, side: Side, baseline: Run | None) -> dict[str, Any] | None:
    """One side's subject: as its server resolved it, else as the record or baseline has it."""
    started = next((s.subject for s in run.starts if s.side == side and s.subject), None)
    if side == "candidate":
        return run.subject or started
    return started or (baseline.subject if baseline else None)


def pytest_command(run: Run, against: str | None = None) -> str:
    """The command of this run again, same seed; `against` adds a reference side by side."""
    words = ["pytest", "-m", "append_prefill"]
    options = run.suite.get("options")
    if options is not None:
        words += shlex.split(options)
    elif attached(run):
        words += ["--sglang-url", "URL", "--seed", str(run.seed)]
    else:
        words += ["--sglang", label_in(run.subject) or "ENV", "--seed", str(run.seed)]
    if against is not None:
        words += ["--against", against]
    return shlex.join(words)
