"""What a prefill and a decode server added, in the summary, in the terminal and in the minutes."""

from __future__ import annotations

import pytest

from append_prefill.analysis.minutes import minutes_of
from append_prefill.records.figures import Estimate
from append_prefill.records.grounds import FindingVerdict
from append_prefill.records.pd_pair import PairBackend, PairLaunch, PairPoint
from append_prefill.records.run import Run
from append_prefill.report.headline import headline_of
from append_prefill.report.html import render_html
from append_prefill.report.markdown import render_markdown
from append_prefill.report.pd_pair import pair_lines
from append_prefill.report.pd_pair_chart import is_of_a_pair, pair_charts
from append_prefill.report.spent import spent_words
from append_prefill.report.terminal import summary_lines
from tests.report import samples

_ALONE = Estimate(value=15.0, low=14.0, high=16.0)


def _run(*took_s: float | None) -> Run:
    launches = [PairLaunch(index=at, series=[], took_s=one) for at, one in enumerate(took_s)]
    more = Estimate(value=4.7, low=1.3, high=8.0)
    point = PairPoint(
        context_tokens=512, append_tokens=128, moved_bytes=84, alone_ms=_ALONE, more_ms=more
    )
    over = [
        PairBackend(backend="nixl", launches=launches, points=[point]),
        PairBackend(backend="mooncake", launches=[], reason="No module named 'mooncake'."),
    ]
    return samples.passing().model_copy(update={"pd_pair": over})


def test_each_backend_has_a_sentence_and_one_that_does_not_run_says_why() -> None:
    run = _run(60.0, 90.0)
    ran, none = pair_lines(run)
    assert ran.replace("\u00a0", " ") == (
        "A P/D pair over nixl: TTFT +4.7 ms (1.30 to 8.00) at L = 512, m = 128 over one server "
        "alone, 2 launches."
    )
    assert none == "A P/D pair over mooncake: not applicable, No module named 'mooncake'."
    terminal = "\n".join(summary_lines(run, None))
    assert ran.replace("\u00a0", " ") in terminal
    assert none in terminal
    assert "- A P/D pair over nixl: TTFT " in render_markdown(run).replace("\\", "")
    assert pair_lines(samples.passing()) == []


def _with_points(*more_ms: float | None) -> Run:
    points = [
        PairPoint(
            context_tokens=context,
            append_tokens=128,
            moved_bytes=84,
            alone_ms=_ALONE,
            more_ms=Estimate(
                value=more,
                low=None if more is None else more - 1,
                high=None if more is None else more + 1,
            ),
        )
        for context, more in zip((2048, 512, 8192), more_ms, strict=True)
    ]
    over = [
        PairBackend(backend="nixl", launches=[], points=points),
        PairBackend(backend="mooncake", launches=[], reason="No module named 'mooncake'."),
    ]
    return samples.passing().model_copy(update={"pd_pair": over})


def test_the_chart_has_the_pair_beside_one_server_alone() -> None:
    (chart,) = pair_charts(_with_points(3.0, 5.0, 7.0))
    assert (chart.title, chart.fixed) == (
        "TTFT through a P/D pair over nixl, and alone",
        "m = 128 fixed",
    )
    through, alone = chart.lines
    assert (through.name, alone.name) == ("through a pair over nixl", "one server alone")
    assert [mark.tip.replace("\u00a0", " ") for mark in through.marks] == [
        "pair, L = 512, m = 128: 20.0 ms (19.0 to 21.0); +5.0 ms by the pair (4.00 to 6.00)",
        "pair, L = 2048, m = 128: 18.0 ms (17.0 to 19.0); +3.0 ms by the pair (2.00 to 4.00)",
        "pair, L = 8192, m = 128: 22.0 ms (21.0 to 23.0); +7.0 ms by the pair (6.00 to 8.00)",
    ]
    assert alone.marks[0].tip.replace("\u00a0", " ").startswith("alone, L = 512, m = 128: 15.0 ms")
    assert chart.description.startswith("through a pair over nixl over context tokens L")


def test_a_point_that_was_not_measured_is_in_no_line() -> None:
    (chart,) = pair_charts(_with_points(3.0, None, 7.0))
    assert [len(line.marks) for line in chart.lines] == [2, 2]
    assert pair_charts(_with_points(None, None, None)) == []
    assert pair_charts(samples.passing()) == []


def _judged(run: Run, **verdicts: FindingVerdict) -> Run:
    """The findings are these, and nothing is compared."""
    findings = [
        run.findings[0].model_copy(update={"id": name, "verdict": verdict})
        for name, verdict in verdicts.items()
    ]
    return run.model_copy(update={"findings": findings, "comparison": None, "traffic": []})


def test_where_the_pair_is_all_that_was_judged_it_is_the_first_picture() -> None:
    run = _with_points(3.0, 5.0, 7.0)
    alone = _judged(run, pd_pair_time="inconclusive", scale_factor="not-applicable")
    assert is_of_a_pair(alone)
    page = render_html(alone)
    assert page.count("<figcaption>TTFT through a P/D pair over nixl, and alone") == 1
    assert page.index('<section id="pair">') < page.index('<section id="findings">')
    assert '<section id="plane">' not in page


@pytest.mark.parametrize("chosen", ["beside a finding", "compared", "nothing judged"])
def test_elsewhere_the_pair_is_drawn_where_its_table_is(chosen) -> None:
    run = _with_points(3.0, 5.0, 7.0)
    run = {
        "beside a finding": _judged(run, pd_pair_time="holds", scale_factor="holds"),
        "compared": run,
        "nothing judged": _judged(run, pd_pair_time="not-applicable"),
    }[chosen]
    assert not is_of_a_pair(run)
    page = render_html(run)
    assert '<section id="pair">' not in page
    assert page.count("<figcaption>TTFT through a P/D pair over nixl, and alone") == 1
    assert page.index('<section id="routing">') < page.index("<figcaption>TTFT through a P/D")


def test_the_minutes_of_a_pair_are_counted() -> None:
    run = _run(60.0, 90.0)
    alone = minutes_of(run.starts)
    assert alone is not None
    said = spent_words(run)
    assert said is not None
    assert said.startswith(f"{alone.total + 2.5:.1f} device-minutes")
    assert said.endswith("P/D pairs 2.5.")


def test_where_a_pairs_time_is_not_known_no_minutes_are_told() -> None:
    """Records of before have none: the rest alone would be told as the whole."""
    assert spent_words(_run(60.0, None)) is None


@pytest.mark.parametrize(("more", "said"), [([], True), (["scale_factor"], False)])
def test_the_one_finding_that_is_open_is_told_with_its_figure(more: list[str], said: bool) -> None:
    finding = samples.broken().findings[0]
    known = {"measured": 0.14, "low": -0.237, "high": 0.516, "bound": 0.2}
    open_ = [
        finding.model_copy(update={"id": name, "verdict": "inconclusive", **known})
        for name in ("pd_pair_time", *more)
    ]
    run = samples.passing().model_copy(
        update={"findings": open_, "comparison": None, "verdict": "inconclusive"}
    )
    figure = "(measured 0.140, \N{MINUS SIGN}0.237 to 0.516; bound 0.2)"
    assert (figure in headline_of(run).sentence.replace("\u00a0", " ")) is said
