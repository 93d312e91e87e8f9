"""Experiments in other traffic than the default: what each is called, and which of them speak."""

from __future__ import annotations

from collections.abc import Sequence

from append_prefill.records.comparison import ChangeIn, Comparison
from append_prefill.records.grounds import ComparisonVerdict, FindingGround
from append_prefill.records.run import Run
from append_prefill.records.traffic import TrafficResult
from append_prefill.report import format as fmt
from append_prefill.report.places import named_points, named_words, part_words, spoken_parts
from append_prefill.workload.points import Point
from append_prefill.workload.traffic import Condition, Traffic

REPLIES = "reply_cached"

_ORDER: tuple[ComparisonVerdict, ...] = (
    "regression",
    "inconclusive",
    "not-comparable",
    "improvement",
    "pass",
)
"""What a reader looks for first."""

_MOVED = ("regression", "improvement")


def traffic_words(traffic: Traffic) -> str:
    """What it is, in plain words: "conversation, replies in the context", "8 at once"."""
    size = f"{traffic.company_size:g}"
    words = [
        {
            "primed": "",
            "replied": "conversation, replies in the context",
            "session": "conversation in a streamed session",
        }[traffic.context],
        {"ids": "", "text": "text", "chat": "chat"}[traffic.form],
        {
            "alone": "",
            "together": f"{size} at once",
            "rate": f"{size} a second",
            "beside": f"beside {size} decodes",
        }[traffic.company_kind],
        {
            "fresh": "",
            "aged": "aged server",
            "overloaded": "after an overload",
            "soaked": "after steady traffic",
        }[traffic.state],
    ]
    return ", ".join(word for word in words if word)


def traffic_place(traffic: Traffic) -> str:
    """The same as the place where something is slower: "in conversations", "with 8 at once"."""
    size = f"{traffic.company_size:g}"
    words = [
        {"primed": "", "replied": "in conversations", "session": "in streamed sessions"}[
            traffic.context
        ],
        {"ids": "", "text": "as text", "chat": "as chat"}[traffic.form],
        {
            "alone": "",
            "together": f"with {size} at once",
            "rate": f"at {size} a second",
            "beside": f"beside {size} decodes",
        }[traffic.company_kind],
        {
            "fresh": "",
            "aged": "on an aged server",
            "overloaded": "after an overload",
            "soaked": "after steady traffic",
        }[traffic.state],
    ]
    return " ".join(word for word in words if word)


def within(run: Run, result: TrafficResult) -> Run:
    """The run as if the experiment's series were those of its points."""
    conditions = {Condition(result.traffic, p.point) for p in result.points}
    return run.model_copy(update={"starts": [s.within(conditions) for s in run.starts]})


def worst_first(results: Sequence[TrafficResult]) -> list[TrafficResult]:
    """Regressions first, then what is open; of one verdict the largest change first."""

    def rank(result: TrafficResult) -> tuple[int, float]:
        comparison = result.comparison
        if comparison is None:
            return len(_ORDER), 0.0
        level = comparison.level
        size = 0.0 if level is None or level.ratio is None else abs(level.ratio - 1)
        return _ORDER.index(comparison.verdict), -size

    return sorted(results, key=rank)


def speaking(run: Run) -> list[TrafficResult]:
    """The experiments whose verdict is the run's, the largest change first."""
    return [
        result
        for result in worst_first(run.traffic)
        if result.comparison is not None and result.comparison.verdict == run.verdict
    ]


def alone_speaking(run: Run) -> list[TrafficResult]:
    """Those of them that made the verdict, where the comparison of the points has another."""
    points = run.comparison
    return [] if points is not None and points.verdict == run.verdict else speaking(run)


def decided_by(run: Run) -> Comparison | None:
    """The comparison that made the verdict; where none has that of the points, if there is one."""
    alone = alone_speaking(run)
    return alone[0].comparison if alone else run.compared


def turns_of(result: TrafficResult) -> dict[Point, int]:
    """The number of each turn of a conversation.

    Empty for one of no conversation, and for several, of which a number names more than one turn.
    """
    numbers = {p.point: p.turn for p in result.points if p.turn is not None}
    return numbers if len({*numbers.values()}) == len(result.points) else {}


def point_name(result: TrafficResult, point: Point) -> str:
    """Its turn, or its L and m."""
    turn = turns_of(result).get(point)
    return fmt.place(point.context_tokens, point.append_tokens) if turn is None else f"turn {turn}"


def part_place(result: TrafficResult, part: ChangeIn) -> str:
    """Where in the experiment a part of the change is: "from turn 4 on"; "" where everywhere."""
    comparison = result.comparison
    turns = turns_of(result)
    if comparison is None or comparison.change is None or part.region == "level":
        return ""
    own = sorted(turns[point] for pair in part.points if (point := Point(*pair)) in turns)
    if len(own) < len(part.points):
        return part_words(part, comparison.change)
    return _turn_words(own, sorted(turns.values()))


def _turn_words(own: Sequence[int], every: Sequence[int]) -> str:
    first, last = own[0], own[-1]
    if len(own) == len(every):
        return ""
    if len(own) == 1:
        return f"in turn {first}"
    if last - first + 1 > len(own):
        return f"in {len(own)} of {fmt.plural(len(every), 'turn')}"
    if last == every[-1]:
        return f"from turn {first} on"
    return f"up to turn {last}" if first == every[0] else f"in turns {first} to {last}"


def moved_places(result: TrafficResult) -> str:
    """Where in the experiment something moved, with how much; "" where it is all of it alike."""
    comparison = result.comparison
    if comparison is None or comparison.change is None or comparison.verdict not in _MOVED:
        return ""
    if named := named_points(comparison):
        turns = turns_of(result)
        if any(effect.point not in turns for effect in named):
            return named_words(named)
        said = [f"turn {turns[e.point]} ({fmt.plain_change(e.ratio)})" for e in named]
        return f"in {fmt.listed(said)}"
    parts = [
        f"{place} ({fmt.plain_change(part.ratio)})"
        for part in spoken_parts(comparison, comparison.change)
        if (place := part_place(result, part))
    ]
    return " and ".join(parts)


def lost_reply(run: Run) -> FindingGround | None:
    """What the broken finding `reply_cached` saw; None where it holds or was not judged."""
    for finding in run.findings:
        lost = finding.id == REPLIES and finding.verdict == "broken"
        if lost and isinstance(finding.reason, FindingGround):
            return finding.reason
    return None


def lost_words(run: Run, ground: FindingGround, by: str = "") -> str:
    """As in "Replies are not cached: turn 2 prefilled 50 tokens again."

    The number stands between two NULs as in `sentence`; `by` names who does not cache them.
    """
    planned, cached = ground.planned_cached_tokens or 0, ground.cached_tokens or 0.0
    again = fmt.plural(max(1, round(planned - cached)), "token")
    found = [
        p.cached_tokens
        for result in run.traffic
        for p in result.points
        if p.turn == ground.turn and p.planned_cached_tokens == planned
    ]
    # Told is the mean: where the median is another, only some of the replies are lost.
    some = any(median is not None and abs(median - cached) >= 1 for median in found)
    often, mean = (" always", " on average") if some else ("", "")
    by = f" by {by}" if by else ""
    return (
        f"Replies are not{often} cached{by}: turn {ground.turn} prefilled \0{again}\0 again{mean}."
    )


_NAMED = 2
"""More are in the table, by name."""


def tally_words(run: Run) -> tuple[str, str]:
    """("1 of 2 pass", "1 regression: turns"); both empty where nothing was compared in it."""
    compared = [(r.experiment, r.comparison.verdict) for r in run.traffic if r.comparison]
    if not compared:
        return "", ""
    passed = sum(verdict == "pass" for _, verdict in compared)
    others = []
    for verdict in _ORDER[:-1]:
        ids = [name for name, of in compared if of == verdict]
        if ids:
            named = f": {fmt.listed(ids)}" if len(ids) <= _NAMED else ""
            others.append(f"{len(ids)} {verdict}{named}")
    return f"{passed} of {len(compared)} pass", "; ".join(others)
