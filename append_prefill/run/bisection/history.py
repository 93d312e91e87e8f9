"""What a bisection knows: read off the runs in its folder, of which each is a comparison."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

from append_prefill.analysis.bisection.noise import Alone, together
from append_prefill.analysis.bisection.path import Compared
from append_prefill.analysis.rounds import pair_figures
from append_prefill.errors import InfrastructureError
from append_prefill.probe.warmup import NOTHING_VALID
from append_prefill.records.bisection import ComparisonMade, Seen, Size
from append_prefill.records.comparison import Comparison, Effect
from append_prefill.records.grounds import DEVICE_STATE, Side
from append_prefill.records.launch import Start
from append_prefill.records.run import Run
from append_prefill.records.store import RUN_FILE, read_run
from append_prefill.run.unfinished import with_launches
from append_prefill.workload.traffic import Condition

RUNS = "runs"
"""The folder of the comparisons, within the bisection's."""

LOG = "comparisons.log"
"""What the comparisons printed, one after the other, within the bisection's folder."""

_SIDES: tuple[Side, Side] = ("candidate", "reference")
# What a launch is blamed for that ended, in the words of its log's name.
_LOG = re.compile(r"\b(candidate|reference)-\d+\.log\b")
# Of a server that starts and proves no split there is no log that ends the launch.
_WHO = re.compile(rf"\A(candidate|reference) .*?, launch \d+: (?={NOTHING_VALID})")
_PROBLEM_CHARACTERS = 300
# More invalid samples than valid ones: what is left is chosen by what went wrong.
_POOR = 0.5


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a position cannot be measured, and the log that tells it."""

    problem: str
    log: str | None = None


@dataclass(frozen=True, slots=True)
class History:
    """`made` are the comparisons in the order they were made, `compared` what they tell.

    `troubles` are positions that a run could not measure, by name.
    """

    made: tuple[ComparisonMade, ...]
    compared: tuple[Compared, ...]
    troubles: Mapping[str, Trouble]

    @property
    def minutes(self) -> list[float]:
        """What each comparison took that was measured to its end."""
        return [one.minutes for one in self.made if one.minutes is not None and one.size]


def read_back(
    folder: Path,
    names: Sequence[str],
    *,
    traffic: str | None,
    min_effect: float,
    must_catch: float,
) -> History:
    """Every run in `folder`/runs whose sides are called as two of `names`.

    `traffic` is the experiment in other traffic that is compared, None for the points. Raises
    InfrastructureError for a run that measured nothing and does not say which side it was.
    """
    made, alone = [], []
    troubles: dict[str, Trouble] = {}
    worked: set[str] = set()
    for path in sorted((folder / RUNS).glob(f"*/{RUN_FILE}")):
        if path.parent.is_symlink():
            continue
        run = read_run(path)
        if run.verdict is None:
            run = with_launches(run, path.parent, None)
        sides = _sides(run, names)
        # A run that launched nothing, the device being taken, is no comparison.
        if sides is None or not run.starts:
            continue
        later, earlier = max(sides.values(), key=names.index), min(sides.values(), key=names.index)
        comparison = comparison_of(run, traffic)
        level = None if comparison is None else comparison.level
        size = size_of(level, inverse=sides["candidate"] == earlier)
        delta_ms = None if level is None or level.delta_ms is None else level.delta_ms
        made.append(
            ComparisonMade(
                folder=f"{RUNS}/{path.parent.name}",
                earlier=earlier,
                later=later,
                launches=sum(start.usable for start in run.starts),
                minutes=minutes_of(run.starts),
                size=size,
                delta_ms=-delta_ms if delta_ms and sides["candidate"] == earlier else delta_ms,
                seen=None if size is None else seen_in(size, min_effect, must_catch),
            )
        )
        if size is not None:
            worked |= set(sides.values())
            alone.append(
                Alone(
                    names.index(earlier),
                    names.index(later),
                    math.log(size.ratio),
                    math.log(size.high / size.low) / 2,
                    _pairs(run, traffic),
                )
            )
        elif run.verdict is not None and not run.interrupted:
            blamed = _trouble_of(run, f"{RUNS}/{path.parent.name}", sides, worked)
            if blamed is not None:
                troubles[sides[blamed[0]]] = blamed[1]
    return History(tuple(made), tuple(together(alone)), troubles)


def trouble_alone(run: Run, folder: str) -> Trouble | None:
    """Why the only side of a run in `folder` cannot be measured; None where it was.

    Raises InfrastructureError where that is no fault of the side's: nothing was launched, or the
    device was busy.
    """
    failed = next((start for start in run.starts if start.failure is not None), None)
    if failed is not None:
        log = f"{folder}/candidate-{failed.index}.log"
        return Trouble(_one_line(str(failed.failure)), log)
    part = _invalid(run, "candidate")
    if part is None:
        raise InfrastructureError(f"{folder}: nothing was measured. Its report says why.")
    return _unproven(part) if part > _POOR else None


def seen_in(size: Size, min_effect: float, must_catch: float) -> Seen:
    """What a comparison shows taken alone.

    Alike is what leaves no room for an effect that a run promises to catch.
    """
    if size.low > 1 and size.ratio >= 1 + min_effect:
        return "slower"
    if size.high < 1 and size.ratio <= 1 / (1 + min_effect):
        return "faster"
    if size.high < 1 + must_catch and size.low > 1 / (1 + must_catch):
        return "alike"
    return "cannot-tell"


def minutes_of(starts: Sequence[Start]) -> float | None:
    """From the first launch's beginning to the last one's end; None if no launch has one."""
    ends = [
        start.started_at + timedelta(seconds=start.ready_s + start.measured_s)
        for start in starts
        if start.ready_s is not None and start.measured_s is not None
    ]
    if not ends:
        return None
    return (max(ends) - min(start.started_at for start in starts)).total_seconds() / 60


def comparison_of(run: Run, traffic: str | None) -> Comparison | None:
    """That of the points, or of an experiment in other traffic."""
    if traffic is None:
        return run.comparison
    return next((one.comparison for one in run.traffic if one.experiment == traffic), None)


def _pairs(run: Run, traffic: str | None) -> tuple[float, ...]:
    """Log ratio of each pair over the points both sides have; empty where launches are no pairs."""
    starts = [{start.pair: start for start in run.beside(side)} for side in _SIDES]
    sides = [{pair: _of(start, run, traffic) for pair, start in of.items()} for of in starts]
    both = [(sides[0][pair], sides[1][pair]) for pair in sorted(sides[0].keys() & sides[1].keys())]
    if not both or not all(start.interleaved for pair in both for start in pair):
        return ()
    points = sorted({series.point for start in both[0] for series in start.series})
    levels = [np.nanmean(pair_figures(*pair, points).values) for pair in both]
    return tuple(float(level) for level in levels if math.isfinite(level))


def _of(start: Start, run: Run, traffic: str | None) -> Start:
    """The launch, or what it has of an experiment in other traffic."""
    if traffic is None:
        return start
    wanted = {
        Condition(one.traffic, point.point)
        for one in run.traffic
        if one.experiment == traffic
        for point in one.points
    }
    return start.within(wanted)


def _sides(run: Run, names: Sequence[str]) -> dict[Side, str] | None:
    label, against = run.label, run.against_label
    if label is None or against is None or label not in names or against not in names:
        return None
    return {"candidate": label, "reference": against}


def size_of(level: Effect | None, *, inverse: bool = False) -> Size | None:
    """An effect as a size, None if not known; `inverse`: of the reference over the candidate."""
    if level is None or level.ratio is None or level.low is None or level.high is None:
        return None
    if inverse:
        return Size(ratio=1 / level.ratio, low=1 / level.high, high=1 / level.low)
    return Size(ratio=level.ratio, low=level.low, high=level.high)


def _trouble_of(
    run: Run, folder: str, sides: Mapping[Side, str], worked: set[str]
) -> tuple[Side, Trouble] | None:
    """The side that a run could not measure, and why; None where it is neither's fault.

    That is the one whose log ends the launch, or whose warm-up proved nothing, or else the only one
    that no run has measured yet. Of launches that went well it is the one whose samples are not
    valid, where the other one's are.
    """
    for start in run.starts:
        if start.failure is not None and (blamed := _LOG.search(start.failure)):
            side: Side = "candidate" if blamed[1] == "candidate" else "reference"
            return side, Trouble(_one_line(start.failure), f"{folder}/{blamed[0]}")
    failures = [start.failure for start in run.starts if start.failure is not None]
    for failure in failures:
        if told := _WHO.match(failure):
            side = "candidate" if told[1] == "candidate" else "reference"
            return side, Trouble(_one_line(failure.removeprefix(told[0])))
    if not failures:
        parts = {side: part for side in sides if (part := _invalid(run, side)) is not None}
        poor = [side for side, part in parts.items() if part > _POOR]
        return (poor[0], _unproven(parts[poor[0]])) if len(poor) == 1 else None
    fresh: list[Side] = [side for side, name in sides.items() if name not in worked]
    if len(fresh) == 1:
        return fresh[0], Trouble(_one_line(failures[0]))
    names = " and ".join(sides.values())
    raise InfrastructureError(
        f"{folder}: the comparison of {names} failed, and does not say which of them it was. See "
        "its report; remove the folder to measure it again."
    )


def _invalid(run: Run, side: Side) -> float | None:
    """The part of a side's samples that prove nothing, a bad device state aside; None without
    any.
    """
    series = [s for start in run.starts if start.side == side for s in start.series]
    valid = sum(len(one.ttft_ms) for one in series)
    voids = [entry for one in series for entry in one.void if entry.reason != DEVICE_STATE]
    invalid = sum(entry.count for entry in voids)
    return invalid / (valid + invalid) if valid + invalid else None


def _unproven(part: float) -> Trouble:
    return Trouble(f"{100 * part:.0f} % of its samples prove nothing")


def _one_line(text: str) -> str:
    """A launch's failure: what it was, and the end of its log."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines[1:] if "Error" in line] or lines[-1:]
    whole = lines[0] if len(lines) < 2 else f"{lines[0]}: {telling[-1]}"
    return whole[:_PROBLEM_CHARACTERS]
