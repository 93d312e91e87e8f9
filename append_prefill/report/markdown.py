"""The summary a CI job page shows: GitHub-flavoured Markdown, short, verdict first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from append_prefill.records.run import Run
from append_prefill.report import format as fmt
from append_prefill.report.cliffs import edge_words, side_words
from append_prefill.report.differs import differences_of, differing_words
from append_prefill.report.headline import headline_of, worst_first
from append_prefill.report.history.note import HistoryNote
from append_prefill.report.names import reference_name
from append_prefill.report.next_step import LATEST
from append_prefill.report.pd_pair import pair_lines
from append_prefill.report.routing import computing_words, limit_words, routing_rows
from append_prefill.report.spent import spent_words
from append_prefill.report.surface import surface_words
from append_prefill.report.traffic_sentence import mean_words
from append_prefill.report.traffic_tables import traffic_rows
from append_prefill.report.warnings import warning_words
from append_prefill.report.words import change_note, label_of, word_of

WORST_POINTS = 5
_ESCAPED = str.maketrans({character: f"\\{character}" for character in r"\`*_{}[]<>|#~$@!&"})


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the document; `text` is empty where there is nothing to say."""

    name: str
    text: str


def escape(text: str) -> str:
    """`text` so that no character of it is Markdown, HTML, a mention or a cell's end."""
    return re.sub(r"[ \t\r\n]+", " ", text).translate(_ESCAPED)


def render_markdown(
    run: Run,
    *,
    report_path: str | None = None,
    history: HistoryNote | None = None,
    folder: str = LATEST,
) -> str:
    """`run`, whose record lies in `folder`, in Markdown; `report_path` is the full report's."""
    return joined(parts_of(run, report_path=report_path, history=history, folder=folder))


def joined(parts: Iterable[Part]) -> str:
    """Parts as one document; empty ones are left out."""
    return "\n\n".join(part.text for part in parts if part.text) + "\n"


def parts_of(
    run: Run,
    *,
    report_path: str | None = None,
    history: HistoryNote | None = None,
    folder: str = LATEST,
) -> list[Part]:
    """What `render_markdown` says, part by part, the most telling first."""
    return [
        Part("verdict", _verdict(run, folder)),
        Part("history", "" if history is None else _history(history)),
        Part("warnings", _warnings(run)),
        Part("findings", _findings(run)),
        Part("points", _points(run)),
        Part("traffic", _traffic(run)),
        Part("cliffs", _cliffs(run)),
        Part("pair", "\n".join(f"- {escape(line)}" for line in pair_lines(run))),
        Part("routing", _routing(run)),
        Part("surface", _surface(run)),
        Part("spent", spent_words(run) or ""),
        Part("reading", _reading(report_path)),
    ]


def _verdict(run: Run, folder: str) -> str:
    headline = headline_of(run, folder)
    word = headline.verdict
    certainty = f" – {headline.certainty}" if headline.certainty else ""
    title = f"## {word.sign} append-prefill: {word.word}{certainty}"
    lines = [title, "", headline.said.marked("**", escape)]
    if headline.next_step:
        step = headline.next_step
        lines += ["", f"{escape(step.text)} `{_in_code(step.command)}`"]
    lines.append("")
    if differing := differences_of(run, None):
        lines.append(f"- **Differs:** {escape(differing_words(differing))}")
    for fact in headline.facts:
        detail = f" – {escape(fact.detail)}" if fact.detail else ""
        lines.append(f"- **{escape(fact.term)}:** {escape(fact.text)}{detail}")
    for mark in headline.reservations:
        command = f" `{_in_code(mark.command)}`" if mark.command else ""
        lines.append(f"- **{escape(mark.title)}:** {escape(mark.text)}{command}")
    lines += ["", escape(headline.exit_meaning)]
    return "\n".join(lines)


def _history(note: HistoryNote) -> str:
    lines = [f"- **History:** {note.bars} {escape(note.numbers)}"]
    lines += [
        f"- **{a.state.sign} {a.state.word} alert** `{a.id}`: "
        f"{escape(fmt.one_line(a.what, 160))}; {escape(fmt.one_line(a.life, 300))}"
        for a in note.alerts
    ]
    return "\n".join(lines)


def _in_code(text: str) -> str:
    return text.replace("`", "'").replace("\n", " ")


def _warnings(run: Run) -> str:
    if not run.warnings:
        return ""
    return "\n".join(["> [!WARNING]", *(f"> - {escape(warning_words(w))}" for w in run.warnings)])


def table(header: list[str], right: set[int], rows: list[list[str]]) -> str:
    rule = ["---:" if i in right else "---" for i in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def _findings(run: Run) -> str:
    if not run.findings:
        return ""
    rows = [
        [
            f"{word_of(f.verdict).sign} {f.verdict}",
            f"`{_in_code(f.id)}` {escape(f.claim)}",
            fmt.exact(f.study_value),
            fmt.number(f.measured),
            fmt.interval(f.low, f.high),
            fmt.exact(f.bound),
        ]
        for f in run.findings
    ]
    header = ["Verdict", "Finding", "Study", "Measured", "95 % interval", "Bound"]
    return "### Findings\n\n" + table(header, {2, 3, 4, 5}, rows)


def _points(run: Run) -> str:
    comparison = run.comparison
    if comparison is None or not comparison.points:
        return ""
    worst = worst_first(comparison.points)[:WORST_POINTS]
    rows = [
        [
            str(e.context_tokens),
            str(e.append_tokens),
            fmt.number(e.reference_ms),
            fmt.number(e.candidate_ms),
            fmt.change(e.ratio),
            fmt.change_interval(e.low, e.high),
            f"{label_of(e).sign} {label_of(e).word}",
        ]
        for e in worst
    ]
    header = ["L", "m", "Reference, ms", "Candidate, ms", "Change", "95 % interval", "Label"]
    n, note = len(comparison.points), change_note(comparison)
    title = f"### Worst {len(worst)} of {fmt.plural(n, 'point')} against "
    return (
        title
        + escape(fmt.shorten(reference_name(comparison, run), 60))
        + "\n\n"
        + table(header, {0, 1, 2, 3, 4, 5}, rows)
        + (f"\n\n<sub>{note}</sub>" if note else "")
    )


def _traffic(run: Run) -> str:
    rows = traffic_rows(run)
    if not rows:
        return ""
    cells = [
        [
            escape("; ".join([row.result.title, row.words, *row.notes])),
            fmt.number(row.reference_ms),
            fmt.number(row.candidate_ms),
            fmt.change(None if row.level is None else row.level.ratio),
            fmt.change_interval(row.level.low, row.level.high) if row.level else fmt.MISSING,
            f"{row.word.sign} {row.word.word}" if row.word else "not compared",
        ]
        for row in rows
    ]
    header = ["Experiment", "Reference, ms", "Candidate, ms", "Change", "95 % interval", "Verdict"]
    together = "" if run.traffic_mean is None else f"\n\n{mean_words(run.traffic_mean)}"
    return "### Other traffic\n\n" + table(header, {1, 2, 3, 4}, cells) + together


def _cliffs(run: Run) -> str:
    if not run.cliffs:
        return ""
    rows = [
        [
            escape(edge_words(kept.edge)),
            fmt.change(kept.found),
            *(escape(side_words(side)) for side in reversed(kept.sides)),
        ]
        for kept in run.cliffs
    ]
    sides = [side.side.capitalize() for side in reversed(run.cliffs[0].sides)]
    return "### Kept cliffs\n\n" + table(["TTFT jumps", "When found", *sides], {1}, rows)


def _routing(run: Run) -> str:
    rows = routing_rows(run)
    if not rows or run.surface is None:
        return ""
    cells = [
        [
            escape(row.link),
            fmt.exact(row.route.link_gb_per_s),
            limit_words(row.route),
            fmt.number(row.route.compute_tokens),
            escape(row.rule),
        ]
        for row in rows
    ]
    computing = computing_words(run)
    share, append = fmt.share(rows[0].route.share), rows[0].route.append_tokens
    limit = f"L from which moving the KV costs more than {share} of TTFT (m = {append})"
    links = table(["Link", "GB/s", limit, "m\\*", "Rule"], {1, 2, 3}, cells)
    return f"### Where to prefill\n\n{links}\n\n<sub>{escape(computing)}</sub>"


def _surface(run: Run) -> str:
    words = surface_words(run)
    return f"<sub>{escape(words)}</sub>" if words else ""


def _reading(report_path: str | None) -> str:
    text = (
        "<sub>L: context tokens in the prefix cache; m: new tokens appended. TTFT: time to first "
        "token. Change: candidate over reference, above zero is slower. Intervals are over server "
        "launches, 95 %. “–” is not measured. *inconclusive* is neither a pass nor a failure."
    )
    where = f" Full report: <code>{_html(report_path)}</code>" if report_path else ""
    return f"{text}{where}</sub>"


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
