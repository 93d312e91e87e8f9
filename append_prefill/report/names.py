"""What the two sides are called, and the command that would measure them again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

from append_prefill.records.comparison import Comparison
from append_prefill.records.grounds import Side
from append_prefill.records.run import Run
from append_prefill.report.format import one_line, shorten

NAME_CHARACTERS = 48
"""What a sentence shows of a side's name; the middle of a longer one is left out."""

# A record can hold any name. Nobody reads more of one, wherever it stands.
_KEPT_CHARACTERS = 1000

# Never "SGLang": the version that it pretends to be says nothing of that version's speed.
SIMULATED = "simulated server"


def label_in(subject: dict[str, Any]) -> str | None:
    """What a subject is called: SGLang's version, or None where the server did not tell."""
    found = subject.get("sglang")
    return None if found is None else str(found)


def candidate_name(run: Run) -> str:
    """The candidate's label; "the candidate" where no server told its version."""
    if run.simulated:
        return f"{SIMULATED} {_kept(run.label)}" if run.label else SIMULATED
    return _kept(run.label or label_in(run.subject) or "the candidate")


def baseline_name(baseline: Run) -> str:
    """A stored run's label beside the candidate's."""
    version = _kept(baseline.label or label_in(baseline.subject) or "baseline")
    return f"{SIMULATED} {version}" if baseline.simulated else version


def reference_label(comparison: Comparison, run: Run) -> str:
    """What `run` was compared with: a version, told apart from one that is only simulated.

    A comparison with another kind of device or with the study's table was with the real thing.
    """
    real = comparison.provenance == "study" or "device_kind" in comparison.differing
    label = _kept(comparison.reference)
    return f"{SIMULATED} {label}" if run.simulated and not real else label


def reference_name(comparison: Comparison, run: Run) -> str:
    """The reference's label, told apart from a candidate that would be called the same.

    The last runs of a report folder are called so: they are several, and no one stored them.
    """
    label = reference_label(comparison, run)
    if comparison.role == "rolling":
        return f"{label} (the last runs)"
    labelled = run.label is not None or run.against_label is not None
    same = run.version is not None and comparison.reference_version == run.version
    if label == candidate_name(run) or (same and not labelled):
        return f"{label} (reference)"
    return label


def kind_words(comparison: Comparison) -> str:
    """How the reference came to be one, in a word or two."""
    if comparison.kind == "side-by-side":
        return "side by side"
    if comparison.provenance == "study":
        return "the study's table"
    return {"chosen": "stored", "pinned": "pinned", "rolling": "earlier runs here"}[comparison.role]


def _kept(name: str) -> str:
    return one_line(name, _KEPT_CHARACTERS)


def sglang(label: str, limit: int = NAME_CHARACTERS) -> str:
    """A label as a sentence's subject: versions get the product's name before them."""
    text = shorten(label, limit)
    if label == SIMULATED:
        return f"the {text}"
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


PYTEST: tuple[str, ...] = ("pytest", "-m", "append_prefill")
"""What begins a run."""

QUICK = "--quick"


def option_words(run: Run) -> list[str]:
    """The options that would measure the same again."""
    options = run.suite.get("options")
    if options is not None:
        return shlex.split(options)
    if attached(run):
        return ["--sglang-url", "URL", "--seed", str(run.seed)]
    version = label_in(run.subject)
    environment = "simulated" if run.simulated else _kept(version) if version else "ENV"
    return ["--sglang", environment, "--seed", str(run.seed)]


def pytest_command(
    run: Run,
    *,
    against: str | None = None,
    starts: int | None = None,
    seed: int | None = None,
    whole: bool = False,
    test: str | None = None,
    marked: str | None = None,
    program: Sequence[str] = PYTEST,
) -> str:
    """The command of this run again, same seed unless another is given.

    `against` adds a reference side by side, `starts` launches per side; `whole` takes the whole
    plan where this run took a part of it. `test` selects tests by name, as pytest's `-k` does, and
    `marked` by their markers, as `-m` does, where that is not what a run takes by itself. `program`
    is what begins a run.
    """
    # What it answers it has answered: again it is a run of its own.
    words = without(option_words(run), "--confirms")
    if whole:
        words = without([word for word in words if word != QUICK], "--experiment")
    if test is not None:
        words = [*words, "-k", test]
    if marked is not None and tuple(program) == PYTEST:
        program = [*PYTEST[:-1], marked]
    elif marked is not None:
        words = [*words, "-m", marked]
    return typed(program, words, against=against, starts=starts, seed=seed)


def typed(program: Sequence[str], words: Sequence[str], **given: object) -> str:
    """A command with these options, those `given` that are not None in place of theirs."""
    kept = list(words)
    for name, value in given.items():
        if value is not None:
            option = f"--{name}"
            kept = [*without(kept, option), option, str(value)]
    return shlex.join([*program, *kept])


def without(words: list[str], option: str) -> list[str]:
    """`words` less `option` and its value, however they were written."""
    kept: list[str] = []
    for at, word in enumerate(words):
        if word == option or word.startswith(f"{option}="):
            continue
        if at and words[at - 1] == option:
            continue
        kept.append(word)
    return kept
