"""Samples and blocks that prove nothing: how many, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from append_prefill.records.grounds import is_of_device
from append_prefill.records.launch import BlockState, Start
from append_prefill.records.run import Run
from append_prefill.report import format as fmt

TELLING_SHARE = 0.01
"""Of all samples: a rarer fault moves no median, and is in the table of launches."""


@dataclass(frozen=True, slots=True)
class VoidReason:
    """One reason, how many samples it made invalid, and at which points."""

    reason: str
    count: int
    points: list[tuple[str, int]]


def void_reasons(run: Run) -> list[VoidReason]:
    """Every reason for which samples were invalid, most frequent first, both sides together."""
    by_reason: dict[str, Counter[str]] = {}
    for start in run.starts:
        named = [(s.point.label, s) for s in start.series]
        named += [(s.condition.label, s) for s in start.traffic]
        for label, series in named:
            for entry in series.void:
                name = f"{start.side} {label}"
                by_reason.setdefault(entry.reason, Counter())[name] += entry.count
    reasons = [VoidReason(r, c.total(), c.most_common()) for r, c in by_reason.items()]
    return sorted(reasons, key=lambda r: -r.count)


def void_blocks(run: Run) -> list[tuple[Start, BlockState]]:
    """Blocks that the device's state made invalid, with their launch."""
    return [(s, b) for s in run.starts for b in s.state if b.void is not None]


def invalid_words(run: Run) -> str | None:
    """How many samples prove nothing, and mostly why; None where it is fewer than 1 in 100.

    What the device made invalid is another matter: it is measured again.
    """
    reasons = [r for r in void_reasons(run) if not is_of_device(r.reason)]
    invalid = sum(reason.count for reason in reasons)
    series = [s for start in run.starts for s in (*start.series, *start.traffic)]
    taken = invalid + sum(len(s.ttft_ms) for s in series)
    if not taken or invalid < TELLING_SHARE * taken:
        return None
    return (
        f"{fmt.share(invalid / taken)} of the samples are invalid "
        f"({fmt.count(invalid)} of {fmt.count(taken)}), mostly because of: "
        f"{fmt.shorten(reasons[0].reason, 160)}."
    )
