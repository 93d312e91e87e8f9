"""The panel under a chart: the change from reference to candidate, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from append_prefill.records.comparison import Change, Comparison
from append_prefill.report import format as fmt
from append_prefill.report.scales import Scale, Tick, round_values
from append_prefill.report.words import label_of
from append_prefill.workload.points import Point

PANEL_TOP, PANEL_BOTTOM = 192.0, 296.0
# A panel that zooms in on less than this shows noise as if it were news.
MIN_CHANGE = 0.05


@dataclass(frozen=True, slots=True)
class Mark:
    """One value with its interval (None: none known), and what a pointer over it reads."""

    x: float
    y: float
    low_y: float | None
    high_y: float | None
    tip: str
    shape: str = "disc"
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """The lower panel: change from reference to candidate in %, with intervals.

    `fitted` is the model of change along the axis, (x, y) by x; empty where none was fitted.
    """

    y_ticks: list[Tick]
    zero_y: float
    catch_y: float | None
    catch_label: str
    marks: list[Mark]
    fitted: list[tuple[float, float]]


def place_of(point: Point) -> str:
    """What a point is called where nothing else names it."""
    return fmt.place(point.context_tokens, point.append_tokens)


def panel_of(
    comparison: Comparison | None,
    places: Sequence[tuple[float, Point]],
    x: Scale,
    must_catch: float | None,
    named: Callable[[Point], str] = place_of,
) -> Panel | None:
    """The panel for points at their value on the x axis; None if none has a ratio."""
    effects = {e.point: e for e in comparison.points} if comparison else {}
    known = [
        (at, effects[p], ratio)
        for at, p in places
        if p in effects and (ratio := effects[p].ratio) is not None
    ]
    if not known:
        return None
    model = fitted_ratios(comparison.change if comparison else None)
    fitted = sorted((at, model[p] - 1) for at, p in places if p in model)
    ends = [r - 1 for _, _, r in known] + [
        end - 1 for _, e, _ in known for end in (e.low, e.high) if end is not None
    ]
    ends += [change for _, change in fitted]
    if must_catch is not None:
        ends.append(must_catch * 1.2)
    high = max(MIN_CHANGE, max(ends) * 1.1)
    low = min(-MIN_CHANGE / 2, min(ends) * 1.1)
    y = Scale(low, high, PANEL_BOTTOM, PANEL_TOP)
    marks = []
    for at, effect, value in known:
        word = label_of(effect)
        marks.append(
            Mark(
                x=x(at),
                y=y(value - 1),
                low_y=None if effect.low is None else y(effect.low - 1),
                high_y=None if effect.high is None else y(effect.high - 1),
                tip=f"{named(effect.point)}: "
                f"{fmt.change(value)} ({fmt.change_interval(effect.low, effect.high)}), "
                f"{word.word}",
                shape=word.shape,
                tone=word.tone,
            )
        )
    ticks = [Tick(y(v), _percent(v)) for v in round_values(low, high, 4)]
    catch = None if must_catch is None else y(must_catch)
    label = "" if must_catch is None else f"{_percent(must_catch)} % to catch"
    return Panel(ticks, y(0.0), catch, label, marks, [(x(at), y(v)) for at, v in fitted])


def fitted_ratios(change: Change | None) -> dict[Point, float]:
    """Candidate over reference by the model of change, at every point it was fitted to."""
    return {} if change is None else {at.point: at.ratio for at in change.points}


def _percent(value: float) -> str:
    text = f"{value * 100:+.3g}".replace("-", "\u2212")
    return "0" if text in ("+0", "\u22120") else text


def marker_path(shape: str, x: float, y: float, r: float) -> str:
    """An SVG path for a marker of about radius `r` round (x, y). Raises KeyError."""
    shapes: Mapping[str, str] = {
        "disc": f"M{x - r:.2f} {y:.2f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z",
        "up": f"M{x:.2f} {y - r * 1.2:.2f}l{r * 1.15:.2f} {r * 2:.2f}h{-r * 2.3:.2f}Z",
        "down": f"M{x:.2f} {y + r * 1.2:.2f}l{r * 1.15:.2f} {-r * 2:.2f}h{-r * 2.3:.2f}Z",
        "diamond": f"M{x:.2f} {y - r * 1.25:.2f}l{r * 1.25:.2f} {r * 1.25:.2f}"
        f"l{-r * 1.25:.2f} {r * 1.25:.2f}l{-r * 1.25:.2f} {-r * 1.25:.2f}Z",
        "square": f"M{x - r * 0.9:.2f} {y - r * 0.9:.2f}"
        f"h{r * 1.8:.2f}v{r * 1.8:.2f}h{-r * 1.8:.2f}Z",
        "cross": f"M{x - r:.2f} {y - r:.2f}l{2 * r} {2 * r}m0 {-2 * r}l{-2 * r} {2 * r}",
    }
    return shapes[shape]
