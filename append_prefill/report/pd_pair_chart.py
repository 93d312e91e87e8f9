"""The chart of a P/D pair: TTFT through a prefill and a decode server, beside one server alone."""

from __future__ import annotations

from append_prefill.records.pd_pair import PairBackend
from append_prefill.records.run import Run
from append_prefill.report import format as fmt
from append_prefill.report.curves import Changes, Chart, Curve, Value, along, axis_of, chart_of
from append_prefill.workload.pd_pair import FINDING

ALONE = "one server alone"


def pair_charts(run: Run) -> list[Chart]:
    """One for each transfer backend that ran, in the profile's order."""
    charts = [_chart(pair) for pair in run.pd_pair if pair.points]
    return [chart for chart in charts if chart is not None]


def is_of_a_pair(run: Run) -> bool:
    """Whether what the pair adds is all that the run judged, and so what its reader wants to see.

    The points alone were measured for the pair's sake then.
    """
    judged = {f.id for f in run.findings if f.verdict != "not-applicable"}
    compared = run.comparison is not None or any(t.comparison is not None for t in run.traffic)
    return judged == {FINDING} and not compared


def _chart(pair: PairBackend) -> Chart | None:
    points = [p.point for p in pair.points]
    axis, fixed = axis_of(points)
    alone, through = [], []
    for p in sorted(pair.points, key=lambda p: along(axis, p.point)):
        at, where = along(axis, p.point), fmt.place(p.context_tokens, p.append_tokens)
        own, more = p.alone_ms, p.more_ms
        if own.value is None or more.value is None:
            continue
        alone.append(Value(at, own.value, own.low, own.high, where))
        # The interval is that of the difference, which is what was measured pairwise.
        low, high = (None if end is None else own.value + end for end in (more.low, more.high))
        around = f" ({fmt.interval(more.low, more.high)})" if more.low is not None else ""
        note = f"; {fmt.signed(more.value)} ms by the pair{around}"
        through.append(Value(at, own.value + more.value, low, high, where, note=note))
    return chart_of(
        [
            Curve("candidate", f"through a pair over {pair.backend}", through, "pair"),
            Curve("reference", ALONE, alone, "alone"),
        ],
        name=f"pair-{pair.backend}",
        title=f"TTFT through a P/D pair over {pair.backend}, and alone",
        axis=axis,
        fixed=fixed,
        changes=Changes(None, [], None),
    )
