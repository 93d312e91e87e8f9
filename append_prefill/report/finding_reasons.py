"""Sentences for why a finding has its verdict, from the record's codes and numbers.

Records of suites before 0.2 hold the sentences themselves; those are shown as they are.
"""

from __future__ import annotations

from append_prefill.records.grounds import FindingGround
from append_prefill.records.run import Finding
from append_prefill.report import format as fmt


def finding_reason(finding: Finding) -> str:
    """Why the finding has its verdict."""
    ground = finding.reason
    if isinstance(ground, str):
        return ground
    words = _finding_ground(ground, finding)
    study, corrected = (finding.details.get(k) for k in _STUDY_TRANSFER)
    if study is None or corrected is None:
        return words
    return (
        f"{words} Refuted as the study states it: {study:g} ms for 1024 tokens at 25 GB/s is "
        f"{corrected:.2f} ms by the model's geometry."
    )


def beside_words(finding: Finding) -> str:
    """The reason where interval and bound stand in columns beside it."""
    return finding_reason(finding).removeprefix(_beyond(finding)).strip()


def _beyond(finding: Finding) -> str:
    span = f"[{fmt.exact(finding.low)}, {fmt.exact(finding.high)}]"
    return f"The whole 95 % interval {span} is beyond the bound {fmt.exact(finding.bound)}."


_STUDY_TRANSFER = ("study_transfer_ms", "corrected_study_transfer_ms")


def _finding_ground(ground: FindingGround, finding: Finding) -> str:
    span = f"[{fmt.exact(finding.low)}, {fmt.exact(finding.high)}]"
    bound = fmt.exact(finding.bound)
    beyond = _beyond(finding)
    match ground.code:
        case "no-bound":
            return f"Profile {ground.text} sets no bound for it."
        case "no-meaning":
            return finding.argument
        case "not-gated":
            missing = "" if ground.text is None else f" Not measured: {ground.text}."
            return f"Reported, not gated.{missing}"
        case "not-planned":
            return f"Not planned: {ground.text}."
        case "not-measured":
            return f"Not measured: {ground.text}."
        case "one-launch":
            return "One launch gives no interval; two or more give a verdict."
        case "within":
            return f"The whole 95 % interval {span} is within the bound {bound}."
        case "straddles":
            return f"The 95 % interval {span} holds the bound {bound}."
        case "beyond" | "shifted":
            return f"{beyond} {_regime(ground)}"
        case "standing":
            return (
                f"{beyond} The reference is, too, at {fmt.exact(ground.reference_value)}: nothing "
                "this version brought."
            )
        case "further-out":
            return (
                f"{beyond} The reference is, too, at {fmt.exact(ground.reference_value)}, but "
                f"within {fmt.exact(ground.reference_high)}: this version is further out."
            )
        case "shift-unclear":
            return (
                f"{beyond} The cheap end got cheaper, which is no fault; whether the dear end got "
                "dearer cannot be told."
            )
        case "reply-lost":
            return (
                f"Turn {ground.turn} found {fmt.exact(ground.cached_tokens)} of the "
                f"{ground.planned_cached_tokens} tokens cached that this version keeps: the rest "
                "was prefilled again."
            )
        case "reply-kept":
            return "Turns found all tokens cached that this version keeps."
        case "held-up":
            return f"{beyond} Running decodes wait for the append-prefill."
        case "no-pair":
            return f"No prefill and decode server ran together. {ground.text}."
        case "pair-costs":
            return f"{beyond} The pair's first token comes later than the transfer may take."
        case "left-out":
            return f"The server is too small for {ground.text}, which was left out."


def _regime(ground: FindingGround) -> str:
    if ground.reference_lacks == "everything":
        return "No reference tells a lower floor from a slower far end."
    if ground.reference_lacks == "points" or ground.near_ratio is None:
        return "The reference lacks the points that would tell a lower floor."
    words = f"Against the reference the near end is at {ground.near_ratio:.3f}"
    if ground.far_ratio is None:
        return f"{words} times."
    return f"{words} and the far end at {ground.far_ratio:.3f} times."
