"""What the reader of a run must be told beside its verdict, read off settings and launches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from append_prefill.analysis.minutes import slow_to_start
from append_prefill.analysis.within import step_in
from append_prefill.probe.launch import INTERRUPTED
from append_prefill.records.contrast import COMMIT_KEY, VERSION_KEY
from append_prefill.records.grounds import RunWarning, Side
from append_prefill.records.launch import LeftOut, Start
from append_prefill.run.queue import Resumption
from append_prefill.run.references import References
from append_prefill.run.settings import Settings


def warnings_of(
    settings: Settings,
    references: References,
    starts: Sequence[Start],
    resumed: Sequence[Resumption],
) -> list[RunWarning | str]:
    """The warnings of a run with these launches, those of its references first."""
    warnings: list[RunWarning | str] = [*references.warnings]
    for engine in (settings.candidate, settings.reference):
        if engine is not None:
            warnings += [RunWarning(code="engine", text=text) for text in engine.warnings]
    for start in starts:
        side, launch = start.side, start.index + 1
        if start.failure == INTERRUPTED:
            continue  # the run's own warning says so
        if start.failure:
            # The launch itself keeps the last lines of its log, under the one that tells most.
            cause = start.failure.partition("\n")[0]
            warnings.append(RunWarning(code="launch-failed", side=side, launch=launch, text=cause))
        elif start.warmup is not None and not start.warmup.stationary:
            rounds = start.warmup.rounds
            warnings.append(
                RunWarning(code="still-drifting", side=side, launch=launch, value=rounds)
            )
    warnings += [
        RunWarning(code="slow-launch", side=start.side, launch=start.index + 1, value=start.ready_s)
        for start in slow_to_start(starts)
    ]
    for start in starts:
        if start.usable and (step := step_in(start)) is not None:
            warnings.append(
                RunWarning(
                    code="changed-within",
                    side=start.side,
                    launch=start.index + 1,
                    value=step.ratio,
                    limit=step.block + 1,
                )
            )
    warnings += _left_out(starts)
    warnings += _moved(starts, COMMIT_KEY, "commit-moved")
    warnings += _moved(starts, VERSION_KEY, "version-moved")
    warnings += [
        RunWarning(code="resumed", launches=one.pairs, value=one.paused_s) for one in resumed
    ]
    if settings.profile.placement.policy != "off":
        placements = [block.readings.get("placement") for s in starts for block in s.state]
        why = {placement for placement in placements if isinstance(placement, str)}
        warnings += [RunWarning(code="not-placed", text=text) for text in sorted(why)]
    return warnings


def _left_out(starts: Sequence[Start]) -> list[RunWarning]:
    """One warning a side and limit: which points its servers were too small for."""
    found: dict[tuple[Side, str, int], list[LeftOut]] = {}
    for start in starts:
        for one in start.left_out:
            found.setdefault((start.side, one.limit, one.capacity_tokens), []).append(one)
    return [
        RunWarning(
            code="left-out",
            side=side,
            fields=[point.label for point in sorted({one.point for one in left})],
            value=max(one.need_tokens for one in left),
            limit=capacity,
            text=limit,
        )
        for (side, limit, capacity), left in found.items()
    ]


def _moved(
    starts: Sequence[Start], key: str, code: Literal["commit-moved", "version-moved"]
) -> list[RunWarning]:
    """A warning for each side whose launches were not all of one commit, or of one version."""
    sides: tuple[Side, ...] = ("candidate", "reference")
    seen = {
        side: dict.fromkeys(s.subject.get(key) for s in starts if s.side == side and s.subject)
        for side in sides
    }
    return [
        RunWarning(code=code, side=side, text=", ".join(map(str, told)))
        for side, told in seen.items()
        if len(told) > 1
    ]
