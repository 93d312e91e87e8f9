"""What a user may call the sides of a run."""

from __future__ import annotations

from append_prefill.errors import UsageError
from append_prefill.report.names import NAME_CHARACTERS


def refuse_labels(candidate: str | None, reference: str | None) -> None:
    """Raise UsageError for a label that no sentence could carry, and for two that are one."""
    for option, label in (("--label", candidate), ("--against-label", reference)):
        if label is not None:
            _refuse(option, label)
    if candidate is not None and candidate == reference:
        raise UsageError(
            "--against-label",
            reference,
            "is what --label calls the candidate, and nobody could tell the sides apart.",
            "Give them names that differ.",
        )


def _refuse(option: str, label: str) -> None:
    remedy = f"Give a name of one line, at most {NAME_CHARACTERS} characters."
    if not label.strip() or label != label.strip():
        raise UsageError(option, ascii(label), "is empty, or begins or ends with a space.", remedy)
    if len(label) > NAME_CHARACTERS:
        shown = ascii(label[:NAME_CHARACTERS])
        raise UsageError(option, f"{shown}…", f"has {len(label)} characters.", remedy)
    # Of what a terminal obeys, what breaks a line, and what turns the writing round.
    if not label.isprintable():
        raise UsageError(option, ascii(label), "holds characters that cannot be printed.", remedy)
