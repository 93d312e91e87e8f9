"""What a run warns of, as sentences; those of suites before 0.2 are sentences already."""

from __future__ import annotations

from append_prefill.records.grounds import (
    RunWarning,
)
from append_prefill.report import format as fmt


def _whole(value: float | None) -> str:
    return fmt.count(None if value is None else round(value))


def warning_words(warning: RunWarning | str) -> str:
    """One warning as a sentence."""
    if isinstance(warning, str):
        return warning
    who = f"{warning.side} launch {warning.launch}"
    match warning.code:
        case "baseline-expired":
            return (
                f"The baseline of {warning.version or '(unknown version)'} is "
                f"{_whole(warning.value)} days old, more than the profile's "
                f"{_whole(warning.limit)}: drivers and hosts move in that time. Measure it again "
                "with --save-baseline."
            )
        case "launch-failed":
            return f"{who} failed: {warning.text}"
        case "still-drifting":
            return f"{who} was still drifting after {_whole(warning.value)} warm-up rounds."
        case "slow-launch":
            return (
                f"{who} took {_whole(warning.value)} s to be ready, far more than the others: it "
                "may have compiled what they found in a cache. It counts; measure once more to see "
                "whether they are alike."
            )
        case "changed-within":
            return (
                f"{who} changed while it was measured: from block {_whole(warning.limit)} on its "
                f"times are {fmt.plain_change(warning.value)}. It counts, and is no replicate of a "
                "steady server: see its log, and what else the machine did."
            )
        case "commit-moved":
            return (
                f"The {warning.side}'s checkout moved while it was measured ({warning.text}): its "
                "launches are not of one SGLang. Measure again, and leave the checkout alone."
            )
        case "version-moved":
            return (
                f"The {warning.side}'s launches told several versions ({warning.text}): they are "
                "not of one SGLang. Measure again, and leave the environment alone."
            )
        case "not-placed":
            return f"Threads were not placed as the profile asks: {warning.text}."
        case "host-of-another-identity":
            return (
                f"{warning.host} was measured too and is of another identity "
                f"({', '.join(warning.fields)}): its record is {warning.text}."
            )
        case "measured-as-reference":
            return (
                f"Measured as the reference of {warning.version or '(unknown version)'}: "
                "other warnings call it so."
            )
        case "not-finished":
            return (
                f"The run ended before it was judged. Of its server launches "
                f"{fmt.count(warning.launches)} began and {fmt.count(warning.usable_launches)} "
                "were measured to their end; only these count."
            )
        case "interrupted":
            return (
                f"Interrupted: {fmt.count(warning.usable_launches)} of "
                f"{fmt.count(warning.launches)} planned server launches were measured to their "
                "end. Those were judged; so few tell less."
            )
        case "pair-interrupted":
            return (
                f"Interrupted: {fmt.count(warning.usable_launches)} of "
                f"{fmt.count(warning.launches)} planned launches of the P/D pair were measured to "
                "their end."
            )
        case "resumed":
            return (
                f"Cut off after {fmt.plural(warning.launches or 0, 'pair')} of launches and gone "
                f"on with {fmt.seconds(warning.value)} later: what was whole was kept, what was "
                "under way was measured again."
            )
        case "left-out":
            what = (warning.text or "limit").replace("-", " ").replace("kv", "KV")
            return (
                f"Not measured on the {warning.side}, whose {what} is {_whole(warning.limit)} "
                f"tokens: {fmt.listed(warning.fields)} (up to {_whole(warning.value)} with the "
                "output)."
            )
        case "elsewhere":
            return (
                "Nothing is stored for this machine yet: the baseline of "
                f"{warning.version or '(unknown version)'} is of another one "
                f"({fmt.listed(warning.fields)})."
            )
        case "engine" | "infrastructure" | "judging-failed":
            return warning.text or warning.code
