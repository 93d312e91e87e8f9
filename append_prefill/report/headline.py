"""The top of the report: the verdict, its sentence, how sure, what to do. Read off the record."""

from __future__ import annotations

from dataclasses import dataclass

from append_prefill.records.comparison import Comparison, PointEffect
from append_prefill.records.grounds import FindingVerdict
from append_prefill.records.run import Run
from append_prefill.report import format as fmt
from append_prefill.report.confirmation import confirmed_lines, confirms_lines, verdict_words
from append_prefill.report.failed import exit_words, failed_words, unjudged
from append_prefill.report.invalid import invalid_words
from append_prefill.report.names import attached, candidate_name, reference_label, sglang
from append_prefill.report.next_step import LATEST, NextStep, next_step_of
from append_prefill.report.reasons import comparison_reason, detectable_words
from append_prefill.report.sentence import (
    Sentence,
    begun,
    comparison_sentence,
    level_words,
    sentence,
)
from append_prefill.report.traffic import (
    REPLIES,
    alone_speaking,
    decided_by,
    lost_reply,
    lost_words,
    speaking,
    tally_words,
)
from append_prefill.report.traffic_sentence import (
    also_words,
    mean_sentence,
    sure_words,
    traffic_sentence,
)
from append_prefill.report.words import Word, shared_note, word_of


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
    """The verdict banner. `said` is the sentence, `next_step` what to do about it."""

    verdict: Word
    said: Sentence
    facts: list[Fact]
    exit_meaning: str
    certainty: str
    reservations: list[Reservation]
    next_step: NextStep | None

    @property
    def sentence(self) -> str:
        """What is said, without marks."""
        return self.said.plain


def headline_of(run: Run, folder: str = LATEST) -> Headline:
    """The banner of the `run` in `folder`: its verdict as recorded, and the numbers behind it."""
    return Headline(
        verdict=word_of(run.verdict),
        said=_sentence(run),
        facts=_facts(run),
        exit_meaning=exit_words(run),
        certainty=_certainty(run),
        reservations=_reservations(run),
        next_step=next_step_of(run, folder),
    )


def worst_first(points: list[PointEffect]) -> list[PointEffect]:
    """Regressions first, then by falling ratio; points without a ratio last."""
    return sorted(
        points,
        key=lambda p: (p.verdict != "regression", p.ratio is None, -(p.ratio or 0.0), p.point),
    )


def _sentence(run: Run) -> Sentence:
    name = sglang(candidate_name(run))
    comparison = run.comparison
    unclear = [f.id for f in run.findings if f.verdict == "inconclusive"]
    of_study = comparison is not None and comparison.provenance == "study"
    if comparison and run.verdict == comparison.verdict and not (of_study and unclear):
        said = comparison_sentence(run, comparison)
        moved = speaking(run) if run.verdict in ("regression", "improvement") else []
        also = sentence((also_words(moved) or sure_words(run)) + _broken_too(run))
        return Sentence((*said.pieces, *also.pieces))
    if run.verdict in _TOLD and (alone := alone_speaking(run)):
        return sentence(traffic_sentence(run, alone) + _nor(unclear) + _broken_too(run))
    if together := mean_sentence(run):
        return sentence(together + _broken_too(run))
    match run.verdict:
        case "improvement":
            text = f"{name} has a lower floor than the study's bounds were made for: faster."
        case "broken":
            text = _broken(run, name)
        case "pass":
            text = f"Every finding that is asserted holds on {name}."
        case "inconclusive":
            what = fmt.listed(unclear) or "the findings"
            verb = "holds" if len(unclear) == 1 else "hold"
            far = _how_far(run, "inconclusive")
            text = f"Cannot tell yet whether {what} {verb} on {name}{far}."
        case "infrastructure":
            return sentence(failed_words(run, name))
        case None:
            return sentence(f"The run of {name} was recorded and not judged.")
        case verdict:
            text = f"{name}: {verdict}."
    return sentence(begun(text) + _beside(run))


_TOLD = ("regression", "improvement", "inconclusive", "pass")
"""The verdicts that a comparison has a sentence for."""


def _broken_ids(run: Run) -> list[str]:
    """Of the broken findings those that have no sentence of their own."""
    lost = lost_reply(run)
    return [f.id for f in run.findings if f.verdict == "broken" and not (lost and f.id == REPLIES)]


def _broken(run: Run, name: str) -> str:
    """The sentence of a run whose verdict is a finding's."""
    broken, lost = _broken_ids(run), lost_reply(run)
    verb = "do not hold" if len(broken) > 1 else "does not hold"
    if lost is None:
        return f"{fmt.listed(broken)} {verb} on {name}{_how_far(run, 'broken')}."
    also = f" {fmt.listed(broken)} {verb}, too." if broken else ""
    return lost_words(run, lost, name) + also


def _broken_too(run: Run) -> str:
    """What is broken in a run whose verdict is a comparison's, as sentences after it."""
    broken, lost = _broken_ids(run), lost_reply(run)
    words = "" if lost is None else f" {lost_words(run, lost)}"
    return words + (f" Findings broken, too: {fmt.listed(broken)}." if broken else "")


def _how_far(run: Run, verdict: FindingVerdict) -> str:
    """What the one finding of that verdict measured, and its bound; empty for several, or none."""
    found = [f for f in run.findings if f.verdict == verdict]
    if len(found) != 1 or None in (found[0].low, found[0].bound):
        return ""
    (one,) = found
    span = fmt.interval(one.low, one.high)
    return f" (measured {fmt.number(one.measured)}, {span}; bound {fmt.exact(one.bound)})"


def _nor(unclear: list[str]) -> str:
    """Findings that are open beside other traffic that is."""
    verb = "holds" if len(unclear) == 1 else "hold"
    return f" Nor can it tell yet whether {fmt.listed(unclear)} {verb}." if unclear else ""


def _beside(run: Run) -> str:
    """What a comparison that did not make the verdict came to, as a sentence of its own."""
    comparison = run.comparison
    if comparison is None:
        return ""
    study = comparison.provenance == "study"
    whom = "the study's table" if study else reference_label(comparison, run)
    level = level_words(comparison.level)
    bracket = f" ({level})" if level else ""
    return f" Against {fmt.shorten(whom, 48)}: {comparison.verdict}{bracket}."


def _facts(run: Run) -> list[Fact]:
    comparison = run.compared
    if unjudged(run):
        return [
            Fact("Findings", "none applies", "why not stands beside each"),
            Fact("What it says about speed", "Nothing"),
        ]
    if run.verdict == "infrastructure":
        failed = [s for s in run.starts if s.failure]
        devices = sorted({s.device for s in run.starts})
        return [
            Fact(
                "What failed",
                f"{len(failed)} of {fmt.plural(len(run.starts), 'server launch')}",
                f"on {fmt.listed(devices)}" if devices else "",
            ),
            Fact("What it says about speed", "Nothing"),
        ]
    facts: list[Fact] = []
    if comparison is None:
        facts.append(Fact("Compared with", "nothing", "no reference given, none stored"))
    elif comparison.verdict == "not-comparable":
        facts.append(Fact("Why not", comparison_reason(comparison)))
    else:
        facts.append(_certainty_fact(comparison, run))
    facts.append(_findings_fact(run))
    if run.confirms is not None:
        answers = "; ".join(confirms_lines(run))
        facts.append(Fact(f"What {fmt.shorten(run.confirms.folder, 60)} suspects", answers))
    if run.confirmations:
        facts.append(Fact("Measured again", "; ".join(confirmed_lines(run))))
    counted, others = tally_words(run)
    if counted:
        facts.append(Fact("Other traffic", counted, others))
    return facts


def _certainty(run: Run) -> str:
    """The reservation, or its absence, that belongs beside the verdict's word; often empty."""
    words = []
    comparison = decided_by(run)
    moved = run.verdict in ("regression", "improvement")
    if comparison and moved and run.verdict == comparison.verdict:
        words.append("confirmed side by side" if comparison.confirmed else "not confirmed")
    if again := verdict_words(run):
        words = [again]
    if attached(run):
        words.append("attached server, its launches not replicated")
    return "; ".join(words)


def _certainty_fact(comparison: Comparison, run: Run) -> Fact:
    points = f"over {fmt.plural(len(comparison.points), 'point')}"
    if comparison is not run.comparison:
        points += " of other traffic"
    if comparison.detects == "effect":
        return Fact("Can tell", f"changes from {detectable_words(comparison)}", points)
    far = comparison.detects == "no-doubling"
    told = detectable_words(comparison) if far else "no change for certain"
    return Fact("Can tell", told, points)


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
    if (words := invalid_words(run)) is not None:
        reservations.append(Reservation("Invalid samples", words))
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
