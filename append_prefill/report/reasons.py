"""Sentences for what the record holds as codes and numbers: why a verdict, and by what.

Records of suites before 0.2 hold the sentences themselves; those are shown as they are.
"""

from __future__ import annotations

from append_prefill.records.comparison import Comparison, Effect, Look
from append_prefill.records.grounds import Decision, Ground, Method, NoiseSource
from append_prefill.records.traffic import TrafficMean
from append_prefill.report import format as fmt

_QUANTITIES = {
    "level": "overall level",
    "append_growth": "growth with m",
    "context_growth": "growth with L",
    "append_end": "at the largest m",
    "context_end": "at the largest L",
    "floor_points": "where TTFT is at its floor",
    "compute_points": "where computing shows",
    "floor": "floor",
    "new_token": "per new token",
    "cached_token": "per cached token",
}


STATISTICS = {
    "faster_half": "the mean of the faster half of each launch's samples",
    "like_samples": "the interquartile mean of the differences of like samples",
}
"""What two sides are compared by, by `Method.statistic`."""


def quantity_name(effect: Effect) -> str:
    """What an effect is on: "overall level", "at m = 1024", "at m ≥ 512", "at m ≤ 308"."""
    if effect.name == "floor_points" and effect.tokens is not None:
        return f"at m ≤ {effect.tokens}"
    letter = "L" if effect.name == "context_end" else "m"
    if effect.from_tokens is not None:
        return f"at {letter} ≥ {effect.from_tokens}"
    if effect.tokens is not None:
        return f"at {letter} = {effect.tokens}"
    return _QUANTITIES[effect.name]


def method_words(method: Method | str | None) -> str:
    """How two sides were compared."""
    if isinstance(method, str):
        return method
    if method is None:
        return "effect sizes only"
    how = (
        "moderated t over pairs whose blocks alternated"
        if method.paired
        else "unpaired moderated t over launches"
    )
    return (
        f"{STATISTICS[method.statistic]}, on the log scale; {how}; joint test at a one-sided "
        f"false-alarm rate of {method.alpha:.3g}; a pass by the upper ends of "
        f"{100 * method.pass_confidence:.3g} % intervals; variance from this run and "
        f"{noise_words(method.noise)}"
    )


def noise_words(source: NoiseSource) -> str:
    """What noise a comparison or a plan assumes."""
    if source.kind == "profile":
        return "the profile's noise"
    if source.kind == "family":
        return f"what {source.experiments} experiments in other traffic scatter by"
    parts = [f"{source.starts} launches", f"{source.nights} sessions"]
    if source.night_assumed:
        parts.append("how sessions differ is assumed")
    return f"stored noise ({', '.join(parts)})"


def comparison_reason(comparison: Comparison) -> str:
    """Why the comparison has its verdict."""
    ground = comparison.reason
    if isinstance(ground, str):
        return ground
    words = _ground(ground, comparison)
    if ground.left_out_starts or ground.left_out_points:
        words += (
            f" Left out of the joint test as incomplete: {ground.left_out_starts} launch(es), "
            f"{ground.left_out_points} point(s)."
        )
    if ground.medians_ratio is not None:
        words += (
            f" In medians the level is {fmt.plain_change(ground.medians_ratio)}: samples scatter "
            "differently on the two sides."
        )
    if ground.suspected_by is not None:
        words += f" Measured because the stored {ground.suspected_by} suspected a regression."
    return words


def _ground(ground: Ground, comparison: Comparison) -> str:
    match ground.code:
        case "rejected":
            return _rejected(ground, comparison)
        case "nothing-hides":
            return (
                f"No slow-down of {_catch(comparison)} can hide in the level, at the largest m "
                "or L."
            )
        case "undecided":
            return _undecided(comparison)
        case "no-common-point":
            return "No point was measured on both sides."
        case "one-value-a-point":
            words = "The study's table holds one value a point and no scatter: effect sizes only."
            if ground.slower_points is None or ground.least_effect is None:
                return words
            return (
                f"{words} {ground.slower_points} of {len(comparison.points)} points are at least "
                f"{100 * ground.least_effect:g} % slower."
            )
        case "between-nights-unknown":
            return (
                "How sessions differ is not known, so they cannot be told from versions; measure "
                "both side by side (--against)."
            )
        case "too-few-launches":
            return (
                f"{ground.candidate_starts} launch(es) of the candidate and "
                f"{ground.reference_starts} of the reference measured the same points; the scatter "
                "between launches takes two per side."
            )
        case "identity-differs":
            return (
                f"The stored run differs in {', '.join(comparison.differing)}: its times say "
                "nothing of this run."
            )
        case "not-replicated":
            return (
                "One running server cannot show how launches differ; taken alone its samples "
                f"would say {ground.taken_alone}. Let the suite start the server to decide."
            )


def _rejected(ground: Ground, comparison: Comparison) -> str:
    parts = [_QUANTITIES[quantity] for quantity in ground.quantities]
    parts += ["single points"] if ground.single_points else []
    words = f"the joint test rejects by {', '.join(parts)}."
    if comparison.kind == "side-by-side":
        return words[0].upper() + words[1:]
    against = comparison.reference_version or comparison.reference
    return (
        f"Suspected, not confirmed: {words} Sessions differ more than launches do; --against "
        f"{against} would confirm it side by side."
    )


def _catch(comparison: Comparison) -> str:
    method = comparison.method
    return f"{100 * method.must_catch:g} %" if isinstance(method, Method) else "the size to catch"


def detectable_words(comparison: Comparison | TrafficMean) -> str:
    """The least change that would be told 95 times in 100: "1.9 %", "nothing below a doubling"."""
    match comparison.detects:
        case "effect":
            return fmt.share(comparison.mde)
        case "no-doubling":
            return "nothing below a doubling"
        case "unknown":
            return "unknown"


def told_words(comparison: Comparison) -> str:
    """The same as a clause: "changes from 1.9 % can be told"; "" where it is unknown."""
    match comparison.detects:
        case "effect":
            return f"changes from {fmt.share(comparison.mde)} can be told"
        case "no-doubling":
            return "cannot tell below a doubling"
        case "unknown":
            return ""


def _undecided(comparison: Comparison) -> str:
    catch, level = _catch(comparison), comparison.level
    needed = comparison.starts_needed
    effort = "more launches than a run holds" if needed is None else f"{needed} launches per side"
    mde = detectable_words(comparison).replace("\u00a0", " ")
    shown = fmt.plain_change(level.ratio if level else None)
    return (
        f"Neither a regression nor a slow-down below {catch} is shown (level {shown}); detectable "
        f"is {mde}, and {catch} would take {effort}."
    )


def decision_words(look: Look) -> str:
    """What an interim analysis decided, and why."""
    decision = look.decision
    if isinstance(decision, str):
        return decision
    match decision.code:
        case "settled":
            return f"Settled: {look.verdict}."
        case "nights":
            return "Sessions differ more than launches do: more launches would not settle it."
        case "last":
            return f"Inconclusive after the last of {look.look} interim analyses."
        case "continue":
            return f"{_open(look, decision)}: {decision.more_pairs} more pair(s)."
        case "findings":
            return (
                f"The comparison is settled ({look.verdict}), a finding is not: "
                f"{decision.more_pairs} more pair(s), as planned."
            )
        case "budget":
            return (
                f"{_open(look, decision)}: {decision.more_pairs} more pair(s) were due. The budget "
                f"leaves time for {decision.budget_pairs}: stopped."
            )


def _open(look: Look, decision: Decision) -> str:
    needed = decision.starts_needed
    words = "an unknown number of launches" if needed is None else f"{needed}"
    return f"Undecided at {look.candidate_starts} launches per side ({words} would settle it)"
