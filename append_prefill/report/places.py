"""Where on the (L, m) plane something moved, in words."""

from __future__ import annotations

from collections.abc import Sequence

from append_prefill.records.comparison import Change, ChangeIn, Comparison, PointEffect
from append_prefill.records.grounds import Region
from append_prefill.report import format as fmt
from append_prefill.workload.points import Point

NAMED_POINTS = 3
"""As many points are named one by one: a sentence that lists more is not read."""


def spoken_parts(comparison: Comparison, change: Change) -> list[ChangeIn]:
    """The parts that a sentence speaks of: not a half of a mixed change that may be none at all.

    All of them where the rest would not have the verdict's direction.
    """
    sure = [part for part in change.parts if part.low > 1 or part.high < 1]
    wanted = comparison.verdict == "regression"
    return sure if any((part.ratio > 1) == wanted for part in sure) else list(change.parts)


def named_points(comparison: Comparison) -> list[PointEffect]:
    """The points that the verdict is about, slowest first, where no part goes the verdict's way.

    One point may be proven slower while the plane's fitted change has no room for it.
    """
    change, slower = comparison.change, comparison.verdict == "regression"
    if change is None or any(
        (part.ratio > 1) == slower for part in spoken_parts(comparison, change)
    ):
        return []
    named = [e for e in comparison.points if e.verdict == comparison.verdict and e.ratio]
    return sorted(named, key=lambda e: -(e.ratio or 0) if slower else e.ratio or 0)


def named_words(points: Sequence[PointEffect]) -> str:
    """Points with their changes: "at L204-m820 (+12.2 %) and L64-m8 (+4.0 %)"."""
    named = [f"{e.point.label} ({fmt.plain_change(e.ratio)})" for e in points]
    return "at " + fmt.listed(named, NAMED_POINTS)


def part_words(part: ChangeIn, change: Change) -> str:
    """The part as a place: "everywhere", "at m ≤ 512", "from m = 2049 on", "at 7 of 25 points".

    Where several shapes make up the change of the whole plane, no point has the mean: so it says.
    """
    if part.region == "level":
        alike = len(change.terms) < 2
        return "everywhere" if alike else "on average over all points"
    if len(part.points) == 1:
        return f"at {Point(*part.points[0]).label}"
    if part.region == "points" and [term.kind for term in change.terms] == ["chunk"]:
        edge = change.terms[0].append_tokens or 0
        beyond = [at.point for at in change.points if at.append_tokens >= edge]
        if {*beyond} == {Point(*pair) for pair in part.points}:
            # The edge is known from the servers' sizes; the points lie where they were planned.
            return f"from m = {fmt.count(edge)} on"
    spans = [
        _span("m", part.append_tokens, [at.append_tokens for at in change.points]),
        _span("L", part.context_tokens, [at.context_tokens for at in change.points]),
    ]
    if any(spans):
        return "at " + ", ".join(span for span in spans if span)
    if len(part.points) <= NAMED_POINTS:
        return "at " + fmt.listed([Point(*pair).label for pair in part.points])
    return f"at {len(part.points)} of {fmt.plural(len(change.points), 'point')}"


def choice_words(change: Change, *parts: ChangeIn) -> str:
    """Of a single point that the fit has picked: why its interval is wider than in the table."""
    single = [p.points[0] for p in parts if p.region == "points" and len(p.points) == 1]
    if not single:
        return ""
    labels = fmt.listed([Point(*pair).label for pair in single])
    return f"{labels} corrected for the choice among {fmt.plural(len(change.points), 'point')}"


def _span(letter: str, span: tuple[int, int] | None, measured: Sequence[int]) -> str:
    """A range as the side of it that is open: "m ≤ 512", "L ≥ 1024"; "m = 8", "m from 8 to 64"."""
    if span is None:
        return ""
    least, most = span
    if least == most:
        return f"{letter} = {fmt.count(least)}"
    if least <= min(measured):
        return f"{letter} ≤ {fmt.count(most)}"
    if most >= max(measured):
        return f"{letter} ≥ {fmt.count(least)}"
    return f"{letter} from {fmt.count(least)} to {fmt.count(most)}"


def where_words(comparison: Comparison) -> str:
    """Which part of the (L, m) plane moved; "nowhere" or "cannot tell" where none is named."""
    if comparison.change is not None:
        parts = " and ".join(
            f"{part_words(part, comparison.change)} ({fmt.plain_change(part.ratio)})"
            for part in spoken_parts(comparison, comparison.change)
        )
        named = named_points(comparison)
        return f"{named_words(named)}; as a whole: {parts}" if named else parts
    if isinstance(comparison.where, str):
        return comparison.where
    if comparison.verdict not in ("regression", "improvement"):
        return "nowhere" if comparison.verdict == "pass" else "cannot tell"
    whole = region_words(comparison.where)
    if not comparison.slower_points:
        return whole
    ratios = {p.point: p.ratio for p in comparison.points}
    places = [Point(*pair) for pair in comparison.slower_points]
    slower = ", ".join(f"{p.label} ({fmt.plain_change(ratios.get(p))})" for p in places)
    return f"slower at {slower}; as a whole: {whole}"


def region_words(regions: Sequence[Region]) -> str:
    """`everywhere (+3.1 %)`, `grows with m: +8.0 % at m = 1024`, `only at L512-m128 (+5.0 %)`."""
    if not regions:
        return "nowhere"
    rank = {"everywhere": 0, "floor": 1, "append": 2, "context": 3, "point": 4}
    ordered = sorted(regions, key=lambda region: rank[region.kind])
    base = next((region.own for region in ordered if region.kind == "everywhere"), None)
    words = [_region(region, base, len(ordered) == 1) for region in ordered]
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else words[0]


def _region(region: Region, base: float | None, alone: bool) -> str:
    """One region in words; `base` is the share of the region "everywhere", if that is named."""
    size = fmt.plain_change(1 + region.size)
    if region.kind == "everywhere":
        return f"everywhere ({size})"
    if region.kind == "point":
        label = f"L{region.context_tokens}-m{region.append_tokens}"
        return f"{'only ' if alone else ''}at {label} ({size})"
    more = "" if base is None else "more " if (region.own > 0) == (base > 0) else "less "
    if region.kind == "floor":
        return f"{more}at the floor ({size} at m <= {region.append_tokens})"
    if region.kind == "append":
        at = f"{size} at m = {region.append_tokens}"
        if base is not None:
            return f"{more}at large m ({at})"
        return f"{'grows' if region.own > 0 else 'shrinks'} with m: {at}"
    at = f"{size} at L = {region.context_tokens}"
    if base is not None:
        return f"{more}at long contexts ({at})"
    return f"long contexts (L >= {region.from_tokens}): {at}"
