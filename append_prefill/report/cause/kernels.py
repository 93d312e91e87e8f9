"""What the GPU takes of a request on both sides, in words and as tables' rows."""

from __future__ import annotations

from collections.abc import Sequence

from append_prefill.analysis.kernels import plain_name
from append_prefill.records.cause import Cause, KernelSpent
from append_prefill.report import format as fmt
from append_prefill.report.cause.spent import (
    SHOWN,
    Row,
    bracket,
    large,
    lead_words,
    more_words,
    moved,
    spent_row,
    total_words,
)

NAME_LIMIT = 120
"""Of a kernel's name, whose template parameters may take a thousand characters."""


def gpu_words(cause: Cause) -> str:
    """What a request takes on the GPU, and in which kernels; empty without a GPU."""
    if cause.kernels_total is None:
        return ""
    total = total_words(cause, cause.kernels_total, "on the GPU")
    sure = [one for one in cause.kernel_families or () if moved(one.own, slower=cause.slower)]
    if not sure:
        return f"{total}, and of no kernel is it certain that it takes {more_words(cause)}."
    said = "; ".join(
        f"{one.name} {fmt.signed(one.own.delta_ms)} ms{bracket(one.own)}"
        for one in sure[: large([one.own for one in sure])]
    )
    return f"{total}. {lead_words(cause, cause.kernels_total)}: {said}."


def wait_words(cause: Cause) -> str:
    """What waiting for the GPU takes of a core, which is left out; empty where nothing waits."""
    wait = cause.device_wait
    if wait is None:
        return ""
    return (
        f"Waiting for the GPU, too, which takes {fmt.number(wait.candidate_ms, 2)} ms of a core on "
        f"{cause.candidate} and {fmt.number(wait.reference_ms, 2)} on {cause.reference}: what is "
        "waited for are the kernels."
    )


def family_rows(cause: Cause) -> list[Row]:
    """The ranking of the GPU's kernels by the name that they share."""
    return _rows(cause.kernel_families or (), cause)


def kernel_rows(cause: Cause) -> list[Row]:
    """The ranking of the GPU's kernels, each by itself."""
    return _rows(cause.kernels or (), cause)


def _rows(kernels: Sequence[KernelSpent], cause: Cause) -> list[Row]:
    return [spent_row(_short(one.name), "GPU", one.own, cause) for one in kernels[:SHOWN]]


def _short(name: str) -> str:
    """Without the end of its parameters."""
    plain = plain_name(name)
    return plain if len(plain) <= NAME_LIMIT else f"{plain[: NAME_LIMIT - 1]}…"
