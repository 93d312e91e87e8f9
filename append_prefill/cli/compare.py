"""`append-prefill compare A B`: is B slower than A, where, by how much, and how sure is that?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from append_prefill.analysis.verdict.overall import ORDER
from append_prefill.cli.output import Commands, add_json, print_json, print_table, say
from append_prefill.errors import EXIT_INCONCLUSIVE, EXIT_REGRESSION, UsageError
from append_prefill.probe.planning import plan_of
from append_prefill.records.comparison import Comparison
from append_prefill.records.grounds import ComparisonVerdict
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.records.traffic import TrafficResult
from append_prefill.report import format as fmt
from append_prefill.report.names import candidate_name, reference_name
from append_prefill.report.reasons import (
    comparison_reason,
    detectable_words,
    method_words,
)
from append_prefill.report.sentence import comparison_sentence, sentence
from append_prefill.report.tables import joint_rows
from append_prefill.report.traffic import alone_speaking, traffic_words, worst_first
from append_prefill.report.traffic_sentence import traffic_sentence
from append_prefill.report.words import change_note, label_of, shared_note, word_of
from append_prefill.run.comparing import compare_stored
from append_prefill.run.references import References
from append_prefill.run.traffic import judge_traffic
from append_prefill.workload.loading import load_profile
from append_prefill.workload.profile import Profile

# A script asks this command one question, so "cannot tell" is a status of its own here, and not
# only under --strict-verdicts as in a run that also has findings to tell.
_STATUS: dict[ComparisonVerdict, int] = {
    "pass": 0,
    "improvement": 0,
    "regression": EXIT_REGRESSION,
    "inconclusive": EXIT_INCONCLUSIVE,
    "not-comparable": EXIT_INCONCLUSIVE,
}


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "compare",
        help="compare two stored runs",
        description="Compare run B (the candidate) with run A (the reference), as a nightly is "
        "compared with its baseline. Both were measured at different times, so a regression is a "
        "suspicion; pytest --against confirms it.",
        epilog="Exit status: 0 pass or improvement · 1 regression · 8 inconclusive or not "
        "comparable · 4 a file cannot be read.",
    )
    parser.add_argument("reference", metavar="A", type=Path, help="run.json, baseline or folder")
    parser.add_argument("candidate", metavar="B", type=Path, help="run.json, baseline or folder")
    parser.add_argument(
        "--profile",
        metavar="NAME|FILE",
        help="whose policy and noise to judge by (default: the profile B was measured with)",
    )
    parser.add_argument(
        "--not-binding",
        action="append",
        default=[],
        metavar="FIELD",
        help="identity field that may differ (driver, model.weights), as in a profile; repeatable",
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def compare_runs(
    candidate: Run, reference: Run, profile: Profile, not_binding: tuple[str, ...] = ()
) -> Comparison:
    """Judge two stored runs by the rules of a nightly.

    `not_binding` adds to the profile's. Raises UsageError for a candidate without samples.
    """
    if candidate.provenance == "study":
        raise UsageError(
            "B",
            candidate.version,
            "is the study's table, which has no samples and so cannot be a candidate.",
            "Give it as A.",
        )
    judged_by = _judged_by(candidate, profile, not_binding)
    replicable = candidate.replicated
    return compare_stored(candidate, judged_by, reference, replicable=replicable)


def compare_traffic(
    candidate: Run, reference: Run, profile: Profile, not_binding: tuple[str, ...] = ()
) -> list[TrafficResult]:
    """The same of every experiment in other traffic that the candidate measured.

    One that the reference has not has no comparison.
    """
    # What was measured beside it is another reference than the one that is asked for.
    others = {start.index for start in candidate.beside("reference")}
    alone = [s for s in candidate.starts if s.side == "candidate" or s.index not in others]
    return judge_traffic(
        candidate.model_copy(update={"starts": alone}),
        _judged_by(candidate, profile, not_binding),
        references=References(chosen=reference),
        replicable=candidate.replicated,
    ).results


def _judged_by(candidate: Run, profile: Profile, not_binding: tuple[str, ...]) -> Profile:
    """With the points' part of the false-alarm rate where other traffic is measured as well."""
    planned = plan_of(candidate, profile).narrowed(profile)
    return profile.model_copy(
        update={
            "traffic": planned.traffic,
            "policy": planned.policy,
            "identity_not_binding": (*profile.identity_not_binding, *not_binding),
        }
    )


def _run(args: argparse.Namespace) -> int:
    reference = read_run(args.reference, option="A")
    candidate = read_run(args.candidate, option="B")
    profile = load_profile(args.profile or candidate.profile)
    not_binding = tuple(args.not_binding)
    comparison = compare_runs(candidate, reference, profile, not_binding)
    traffic = compare_traffic(candidate, reference, profile, not_binding)
    if args.json:
        told = [result.model_dump(mode="json") for result in traffic]
        print_json(comparison.model_dump(mode="json") | {"traffic": told})
    else:
        print_traffic(traffic, candidate)
        print_comparison(comparison, candidate)
    judged = [comparison, *(t.comparison for t in traffic if t.comparison)]
    worst = min((one.verdict for one in judged), key=ORDER.index)
    if not args.json:
        judged_run = {"comparison": comparison, "traffic": traffic, "verdict": worst}
        _say_traffic(candidate.model_copy(update=judged_run))
    return _STATUS[worst]


def _say_traffic(told: Run) -> None:
    """The verdict over all, where other traffic than the points' made it."""
    alone = alone_speaking(told)
    if alone and told.verdict is not None:
        word = word_of(told.verdict)
        say(f"{word.sign} {told.verdict.upper()}, with other traffic: {word.meaning}.")
        say(sentence(traffic_sentence(told, alone)).plain)


def print_traffic(traffic: Sequence[TrafficResult], candidate: Run) -> None:
    """A row an experiment in other traffic, worst first; and what each that moved came to."""
    if not traffic:
        return
    results = worst_first(traffic)
    print_table(
        f"Other traffic of {candidate_name(candidate)}",
        ["experiment", "traffic", "change", "95 % interval", "", "verdict"],
        [_traffic_cells(result) for result in results],
        left=["experiment", "traffic", "", "verdict"],
    )


def _traffic_cells(result: TrafficResult) -> list[str]:
    comparison = result.comparison
    level = None if comparison is None else comparison.level
    change = [fmt.MISSING, fmt.MISSING]
    if level is not None:
        change = [fmt.change(level.ratio), fmt.change_interval(level.low, level.high)]
    verdict = ["", "not measured in A"]
    if comparison is not None:
        verdict = [word_of(comparison.verdict).sign, comparison.verdict]
    return [result.experiment, traffic_words(result.traffic), *change, *verdict]


def print_comparison(comparison: Comparison, candidate: Run) -> None:
    """The comparison in tables: points, surface, what differs, and the verdict with its reason."""
    label = candidate_name(candidate)
    other = reference_name(comparison, candidate)
    if comparison.points:
        print_table(
            f"TTFT of {label} against {other}",
            ["L", "m", other, label, "change", "95 % interval", "p", "", "label"],
            [
                [
                    fmt.count(effect.context_tokens),
                    fmt.count(effect.append_tokens),
                    _ms(effect.reference_ms),
                    _ms(effect.candidate_ms),
                    fmt.change(effect.ratio),
                    fmt.change_interval(effect.low, effect.high),
                    fmt.number(effect.p, 2),
                    label_of(effect).sign,
                    label_of(effect).word,
                ]
                for effect in comparison.points
            ],
            left=["", "label"],
        )
        if note := change_note(comparison):
            say(note)
    if note := shared_note(comparison):
        say(note)
    if rows := joint_rows(comparison):
        print_table(
            "All points together",
            ["quantity", "change", "95 % interval", "label"],
            [
                [
                    row.name,
                    fmt.change(row.effect.ratio),
                    fmt.change_interval(row.effect.low, row.effect.high),
                    row.word.word,
                ]
                for row in rows
            ],
            left=["quantity", "label"],
        )
    if comparison.differing:
        print_table(
            "What must be equal and is not",
            ["field", other, label],
            [
                [field, fmt.shorten(str(theirs), 60), fmt.shorten(str(ours), 60)]
                for field, (ours, theirs) in comparison.differing.items()
            ],
            left=["field", other, label],
        )
    word = word_of(comparison.verdict)
    say(f"{word.sign} {comparison.verdict.upper()}: {word.meaning}.")
    say(comparison_sentence(candidate, comparison).plain)
    say(comparison_reason(comparison))
    if comparison.detects != "unknown":
        needed = (
            ""
            if comparison.starts_needed is None
            else f" Launches per side to settle it: {comparison.starts_needed}."
        )
        say(f"Minimum detectable effect: {detectable_words(comparison)}.{needed}")
    say(f"Method: {method_words(comparison.method)}.")


def _ms(value: float | None) -> str:
    return fmt.MISSING if value is None else f"{fmt.number(value)} ms"
