"""The top of the report: what happened, where, by how much, how sure. Read off the record."""

from __future__ import annotations

import re
from dataclasses import dataclass

from append_prefill.records.grounds import RunWarning
from append_prefill.records.run import Comparison, Effect, PointEffect, Run
from append_prefill.report import format as fmt
from append_prefill.report.names import (
    attached,
    candidate_name,
    pytest_command,
    reference_label,
    reference_name,
    sglang,
)
from append_prefill.report.reasons import comparison_reason, quantity_name, where_words
from append_prefill.report.words import Word, exit_meaning, shared_note, word_of


@dataclass(frozen=True, slots=True)
class Fact:
    """One of the banner's answers: a question's name, the answer, what stands behind it."""

    term: str
    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reservation printed beside the verdict; `command`, if any, is what would lift it."""

    title: str
    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict banner."""

    verdict: Word
    sentence: str
    facts: list[Fact]
    exit_meaning: str
    certainty: str
    reservations: list[Reservation]


def headline_of(run: Run) -> Headline:
    """The banner of `run`: its verdict as recorded, and the numbers behind it."""
    return Headline(
        verdict=word_of(run.verdict),
        # A name that begins it may be without a capital; the id of a finding stays as it is.
        sentence=re.sub(r"^the ", "The ", _sentence(run)),
        facts=_facts(run),
        exit_meaning=exit_meaning(run.verdict),
        certainty=_certainty(run),
        reservations=_reservations(run),
    )


def worst_first(points: list[PointEffect]) -> list[PointEffect]:
    """Regressions first, then by falling ratio; points without a ratio last."""
    return sorted(
        points,
        key=lambda p: (p.verdict != "regression", p.ratio is None, -(p.ratio or 0.0), p.point),
    )


def _sentence(run: Run) -> str:
    name = sglang(candidate_name(run))
    comparison = run.comparison
    other = fmt.shorten(reference_name(comparison, run), 48) if comparison else ""
    broken = [f.id for f in run.findings if f.verdict == "broken"]
    unclear = [f.id for f in run.findings if f.verdict == "inconclusive"]
    match run.verdict:
        case "regression" if comparison:
            text = _moved(name, other, comparison, "regression")
            return text + (f" Findings broken, too: {fmt.listed(broken)}." if broken else "")
        case "improvement" if comparison and comparison.verdict == "improvement":
            return _moved(name, other, comparison, "improvement")
        case "improvement":
            text = f"{name} has a lower floor than the study's bounds were made for: faster."
            return text + _beside(run)
        case "broken":
            verb = "no longer hold" if len(broken) > 1 else "no longer holds"
            return f"{fmt.listed(broken)} {verb} on {name}.{_beside(run)}"
        case "pass" if comparison and comparison.verdict == "pass":
            n = len(comparison.points)
            return f"{name} is not slower than {other}, over {fmt.plural(n, 'point')}."
        case "pass":
            text = f"Every finding that is asserted holds on {name}."
            return text + _beside(run)
        case "inconclusive" if comparison and comparison.verdict == "inconclusive":
            return f"Cannot tell yet whether {name} is slower than {other}."
        case "inconclusive":
            return (
                f"Cannot tell yet whether {fmt.listed(unclear) or 'the findings'} hold on {name}."
            )
        case "not-comparable" if comparison and not comparison.differing:
            return f"{name} was not compared with {other}: no point was measured on both sides."
        case "not-comparable" if comparison:
            fields = list(comparison.differing)
            verb = "differs" if len(fields) == 1 else "differ"
            return f"{name} was not compared with {other}: {fmt.listed(fields)} {verb}."
        case "infrastructure":
            failure = next((s.failure for s in run.starts if s.failure), None)
            cause = failure or _infrastructure(run) or "no cause was recorded"
            return f"Nothing valid was measured on {name}: {_first_line(cause)}."
        case None:
            return f"The run of {name} was recorded and not judged."
        case verdict:
            return f"{name}: {verdict}."


def _beside(run: Run) -> str:
    """What a comparison that did not make the verdict came to, as a sentence of its own."""
    comparison = run.comparison
    if comparison is None:
        return ""
    study = comparison.provenance == "study"
    whom = "the study's table" if study else reference_label(comparison, run)
    return f" Against {fmt.shorten(whom, 48)}: {comparison.verdict}."


def _moved(name: str, other: str, comparison: Comparison, verdict: str) -> str:
    """One sentence: X is up to 8 % slower than Y at 6 of 20 points, worst at L = …"""
    way, end = ("slower", "worst") if verdict == "regression" else ("faster", "most")
    effect = _extreme(comparison, verdict)
    if effect is None:
        return f"{name} is {way} than {other}."
    if isinstance(effect, Effect):
        return (
            f"{name} is {way} than {other}: {quantity_name(effect)} {fmt.change(effect.ratio)}; "
            "no single point stands out."
        )
    flagged = sum(p.verdict == verdict for p in comparison.points)
    where = fmt.place(effect.context_tokens, effect.append_tokens)
    total = len(comparison.points)
    at = f"{end} at {where}" if flagged > 1 else f"{where}"
    return (
        f"{name} is up to {fmt.size(effect.ratio)} {way} than {other} "
        f"at {flagged} of {fmt.plural(total, 'point')}, {at}."
    )


def _extreme(comparison: Comparison, verdict: str) -> PointEffect | Effect | None:
    """The largest effect among points of that verdict, else among the surface's quantities."""
    groups: tuple[list[PointEffect], list[Effect]] = (comparison.points, comparison.surface)
    for group in groups:
        flagged = [e for e in group if e.verdict == verdict and e.ratio is not None]
        if flagged:
            pick = max if verdict == "regression" else min
            return pick(flagged, key=lambda e: e.ratio or 0.0)
    return None


def _facts(run: Run) -> list[Fact]:
    comparison = run.comparison
    if run.verdict == "infrastructure":
        failed = [s for s in run.starts if s.failure]
        devices = sorted({s.device for s in run.starts})
        return [
            Fact("What failed", f"{len(failed)} of {fmt.plural(len(run.starts), 'server launch')}"),
            Fact("Where", fmt.listed(devices) or fmt.MISSING, "Device of the launches"),
            Fact("What it says about speed", "Nothing", "No value below may be read as a result"),
        ]
    facts: list[Fact] = []
    if comparison is None:
        facts.append(Fact("Compared with", "nothing", "No reference was given and none was stored"))
    elif comparison.verdict == "not-comparable":
        other = reference_name(comparison, run)
        facts.append(Fact("Compared with", other, comparison_reason(comparison)))
    else:
        facts += _comparison_facts(run, comparison)
    facts.append(_findings_fact(run))
    return facts


def _comparison_facts(run: Run, comparison: Comparison) -> list[Fact]:
    flagged_as = run.verdict if run.verdict in ("regression", "improvement") else None
    flagged = [p for p in comparison.points if p.verdict == flagged_as]
    total = len(comparison.points)
    if flagged_as:
        adjective = "slower" if flagged_as == "regression" else "faster"
        where_detail = f"{len(flagged)} of {fmt.plural(total, 'point')} {adjective}"
        where_detail += _extent(flagged)
    else:
        where_detail = f"Points: {_tally([p.verdict for p in comparison.points])}"
    return [
        Fact("Where", where_words(comparison), where_detail),
        _amount_fact(comparison, flagged_as, flagged),
        _certainty_fact(run, comparison),
    ]


def _extent(points: list[PointEffect]) -> str:
    if not points:
        return ""
    spans = []
    for letter, values in (
        ("L", [p.context_tokens for p in points]),
        ("m", [p.append_tokens for p in points]),
    ):
        low, high = fmt.count(min(values)), fmt.count(max(values))
        spans.append(f"{letter} {low}" if low == high else f"{letter} {low}–{high}")
    return f", within {', '.join(spans)}"


def _amount_fact(
    comparison: Comparison, flagged_as: str | None, flagged: list[PointEffect]
) -> Fact:
    effect = _extreme(comparison, flagged_as) if flagged_as else None
    if effect is None:
        measured = [p for p in comparison.points if p.ratio is not None]
        if not measured:
            return Fact("By how much", fmt.MISSING, "No ratio was measured")
        effect = max(measured, key=lambda p: abs((p.ratio or 1.0) - 1.0))
        text = f"Largest change {fmt.change(effect.ratio)}"
    else:
        text = f"{fmt.change(effect.ratio)} at {'worst' if flagged_as == 'regression' else 'best'}"
    detail = ""
    if effect.low is not None and effect.high is not None:
        detail = f"95 % interval {fmt.change_interval(effect.low, effect.high)}. "
    if isinstance(effect, PointEffect):
        detail += (
            f"Medians {fmt.number(effect.reference_ms)} → {fmt.number(effect.candidate_ms)} ms "
            f"at {fmt.place(effect.context_tokens, effect.append_tokens)}"
        )
    else:
        detail += quantity_name(effect)
    if len(flagged) > 1:
        ratios = [p.ratio for p in flagged if p.ratio is not None]
        detail += f"; all flagged points {fmt.change_interval(min(ratios), max(ratios))}"
    return Fact("By how much", text, detail)


def _certainty(run: Run) -> str:
    """The reservation, or its absence, that belongs beside the verdict's word; often empty."""
    words = []
    comparison = run.comparison
    moved = run.verdict in ("regression", "improvement")
    if comparison and moved and run.verdict == comparison.verdict:
        words.append("confirmed side by side" if comparison.confirmed else "not confirmed")
    if attached(run):
        words.append("attached server, its launches not replicated")
    return "; ".join(words)


def _certainty_fact(run: Run, comparison: Comparison) -> Fact:
    kind = "side by side" if comparison.kind == "side-by-side" else "against a stored baseline"
    if comparison.provenance == "study":
        kind = "against the study's table"
    if comparison.confirmed:
        text = f"Confirmed, {kind}"
    elif comparison.verdict in ("regression", "improvement"):
        text = f"Suspected only, {kind}"
    else:
        text = kind.capitalize()
    sides = [sum(s.side == side for s in run.starts) for side in ("candidate", "reference")]
    detail = f"{sides[0]} + {sides[1]} launches" if sides[1] else fmt.plural(sides[0], "launch")
    if comparison.mde is not None:
        detail += f"; can tell changes of {fmt.share(comparison.mde)} and more"
    if comparison.starts_needed is not None and comparison.verdict == "inconclusive":
        detail += f"; {fmt.plural(comparison.starts_needed, 'launch')} per side would settle it"
    return Fact("How sure", text, f"{detail}. {comparison_reason(comparison)}")


def _tally(verdicts: list[str]) -> str:
    counts = {v: verdicts.count(v) for v in dict.fromkeys(verdicts)}
    return ", ".join(f"{n} {v}" for v, n in counts.items())


def _findings_fact(run: Run) -> Fact:
    if not run.findings:
        return Fact("Findings", fmt.MISSING, "None was judged")
    verdicts = [f.verdict for f in run.findings]
    asserted = len(verdicts) - verdicts.count("not-applicable")
    named = []
    for verdict in dict.fromkeys(verdicts):
        ids = [f.id for f in run.findings if f.verdict == verdict]
        if verdict == "not-applicable":
            named.append(f"{len(ids)} reported without a gate")
        elif verdict != "holds":
            named.append(f"{len(ids)} {verdict}: {fmt.listed(ids)}")
    text = f"{verdicts.count('holds')} of {asserted} hold"
    return Fact("Findings", text, "; ".join(named))


def _reservations(run: Run) -> list[Reservation]:
    reservations: list[Reservation] = []
    comparison = run.comparison
    failure = next((s.failure for s in run.starts if s.failure), None)
    if run.verdict == "infrastructure" and failure:
        reservations.append(Reservation("First failure", "As the launch recorded it:", failure))
    moved = comparison is not None and comparison.verdict in ("regression", "improvement")
    if comparison and moved and comparison.kind == "baseline" and not comparison.confirmed:
        reservations.append(
            Reservation(
                "Not confirmed",
                "A stored baseline only suspects, since sessions differ more than launches do. "
                "Side by side on one device confirms or clears it:",
                pytest_command(run, against=comparison.reference_version or comparison.reference),
            )
        )
    if comparison and (note := shared_note(comparison)):
        reservations.append(Reservation("Points left out", note))
    beyond = [f for f in run.findings if f.verdict == "regime-shift"]
    shifted = [f.id for f in beyond if not f.standing]
    if shifted:
        reservations.append(
            Reservation(
                "Regime shift",
                f"{fmt.listed(shifted)}: beyond the bound, though against the reference the near "
                "end got faster and the far end not slower. A lower floor leaves the cost of a "
                "token more weight: the bound wants a review, not the server.",
            )
        )
    standing = [f.id for f in beyond if f.standing]
    if standing:
        reservations.append(
            Reservation(
                "Regime shift, standing",
                f"{fmt.listed(standing)}: beyond the bound, and in the reference as well. Nothing "
                "that this version brought; the bound was made for another regime.",
            )
        )
    return reservations


def _infrastructure(run: Run) -> str | None:
    """What ended the run, in the words of the error that did."""
    codes = ("infrastructure", "judging-failed")
    return next(
        (w.text for w in run.warnings if isinstance(w, RunWarning) and w.code in codes), None
    )


def _first_line(text: str) -> str:
    return (
        fmt.shorten(text.strip().splitlines()[0].rstrip("."), 240) if text.strip() else "no cause"
    )
