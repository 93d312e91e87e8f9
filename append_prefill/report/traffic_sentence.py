"""The headline where other traffic than the points' made the verdict, or adds to theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from append_prefill.records.comparison import Comparison
from append_prefill.records.run import Run
from append_prefill.records.traffic import TrafficMean, TrafficResult
from append_prefill.report import format as fmt
from append_prefill.report.names import candidate_name, reference_name, sglang
from append_prefill.report.places import named_points, spoken_parts
from append_prefill.report.reasons import detectable_words, told_words
from append_prefill.report.sentence import (
    begun,
    caught_words,
    ends_words,
    how_measured,
    is_above,
    is_below,
    level_words,
    strong,
    way_words,
)
from append_prefill.report.traffic import moved_places, part_place, traffic_place

NAMED_EXPERIMENTS = 2
"""As many are told one by one: each brings a place, a name and an interval."""

_BUT = {
    ("pass", "regression"): "passes over all points, but is ",
    ("pass", "improvement"): "passes over all points, and is ",
    ("improvement", "regression"): "is faster over all points, but ",
    ("inconclusive", "regression"): "cannot be judged over all points yet, but is ",
    ("inconclusive", "improvement"): "cannot be judged over all points yet, but is ",
}
"""By the verdict of the points and the run's."""


def traffic_sentence(run: Run, results: Sequence[TrafficResult]) -> str:
    """What the experiments came to that made the verdict; strong words as `sentence` takes them.

    `results` as `traffic.alone_speaking` gives them, one at least.
    """
    first = results[0].comparison
    assert first is not None
    name = sglang(candidate_name(run))
    other = fmt.shorten(reference_name(first, run), 48)
    points = run.comparison
    of_points = "" if points is None or points.provenance == "study" else points.verdict
    how = how_measured(run, first)
    if run.verdict == "pass":
        text = f"No slow-down of {strong(caught_words(first))} can hide in {name} against {other} "
        text += _passed(results[0], first)
    elif run.verdict == "inconclusive":
        text = _undecided(results[0], first, name, other, of_points)
    else:
        text = f"{name} {_BUT.get((of_points, str(run.verdict)), 'is ')}{_moved(results, other)}"
    return begun(f"{text}, {how}.")


def mean_words(mean: TrafficMean) -> str:
    """What all experiments in other traffic come to together, as a sentence."""
    span = fmt.brief_interval(mean.low, mean.high, mean.ratio)
    moved = {"regression": ": slower", "improvement": ": faster"}.get(mean.verdict, "")
    told = "" if moved else f"; detectable is {detectable_words(mean)}"
    return (
        f"All {len(mean.experiments)} together, each by its own scatter: "
        f"{fmt.brief(mean.ratio)} ({span}){moved}{told}."
    )


def mean_sentence(run: Run) -> str:
    """The headline of a run whose verdict all other traffic together made, and nothing else.

    Empty for any other; strong words as `sentence` takes them.
    """
    mean, first = run.traffic_mean, run.compared
    if mean is None or first is None or mean.verdict != run.verdict:
        return ""
    if mean.verdict not in ("regression", "improvement"):
        return ""
    way = f"{fmt.brief_size(mean.ratio)} {'slower' if mean.ratio > 1 else 'faster'}"
    span = fmt.size_interval(mean.low, mean.high, mean.ratio)
    other = fmt.shorten(reference_name(first, run), 48)
    return begun(
        f"{sglang(candidate_name(run))} is {strong(way)} than {other} in other traffic as a whole "
        f"({span}, over {len(mean.experiments)} experiments, none proven alone), "
        f"{how_measured(run, first)}."
    )


def also_words(results: Sequence[TrafficResult]) -> str:
    """The same of experiments that moved the way that the points did, as a sentence after theirs.

    Empty for none.
    """
    if not results:
        return ""
    return f" So it is in other traffic: {_moved(results, '')}."


def sure_words(run: Run) -> str:
    """That other traffic is faster for certain, as a sentence after points that cannot be told.

    Empty otherwise: slower for certain would be the run's verdict.
    """
    mean = run.traffic_mean
    if run.verdict != "inconclusive":
        return ""
    if mean is not None and mean.verdict == "improvement":
        span = fmt.size_interval(mean.low, mean.high, mean.ratio)
        faster = strong(f"{fmt.brief_size(mean.ratio)} faster")
        of = fmt.plural(len(mean.experiments), "experiment")
        return f" Other traffic as a whole is {faster} ({span}, over {of})."
    moved = [
        result
        for result in run.traffic
        if result.comparison is not None and result.comparison.verdict == "improvement"
    ]
    return f" In other traffic it is {_moved(moved, '')}." if moved else ""


def _passed(result: TrafficResult, comparison: Comparison) -> str:
    level = level_words(comparison.level)
    return f"{traffic_place(result.traffic)} ({result.experiment}{': ' if level else ''}{level})"


def _moved(results: Sequence[TrafficResult], other: str) -> str:
    # After the points' own sentence the worst is enough.
    shown = results[: NAMED_EXPERIMENTS if other else 1]
    named = [_said(r, r.comparison) for r in shown if r.comparison is not None]
    than = f" than {other}" if other else ""
    words = [f"{said.way}{'' if at else than}{said.place}" for at, said in enumerate(named)]
    more = len(results) - len(named)
    words += [f"{fmt.plural(more, 'experiment')} more"] if more else []
    return fmt.listed(words, NAMED_EXPERIMENTS + 1)


@dataclass(frozen=True, slots=True)
class _Said:
    """`way`: how much slower or faster; `place`: where, which experiment, and how sure."""

    way: str
    place: str


def _said(result: TrafficResult, comparison: Comparison) -> _Said:
    slower = comparison.verdict == "regression"
    change, level = comparison.change, comparison.level
    way, where, span = strong("slower" if slower else "faster"), "", ""
    if change is not None and not named_points(comparison):
        parts = spoken_parts(comparison, change)
        # The half that goes the verdict's way; the other one is in the table.
        part = next((p for p in parts if (p.ratio > 1) == slower), parts[0])
        way, where, span = strong(way_words(part)), part_place(result, part), ends_words(part)
    elif change is not None:
        where = moved_places(result)
    elif level is not None and None not in (level.ratio, level.low, level.high):
        span = level_words(level)
    name = f" ({result.experiment}: {span})" if span else f" ({result.experiment})"
    place = " ".join(word for word in (where, traffic_place(result.traffic)) if word)
    return _Said(way, f" {place}{name}")


def _undecided(
    result: TrafficResult, comparison: Comparison, name: str, other: str, of_points: str
) -> str:
    level = comparison.level
    sizes = "; ".join(size for size in (level_words(level), told_words(comparison)) if size)
    place = f"{traffic_place(result.traffic)} ({result.experiment}{': ' if sizes else ''}{sizes})"
    sure = level is not None and (is_above(level) or is_below(level))
    if level is not None and sure:
        probably = strong(f"probably {'slower' if is_above(level) else 'faster'}")
        lead = _BUT["pass", "regression"] if of_points == "pass" else "is "
        return f"{name} {lead}{probably} than {other} {place}, not proven"
    if of_points in ("pass", "improvement"):
        lead = "passes" if of_points == "pass" else "is faster"
        return (
            f"{name} {lead} over all points; cannot tell whether it is slower than {other} {place}"
        )
    return f"Cannot tell whether {name} is slower than {other} {place}"
