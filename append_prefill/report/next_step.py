"""What to do about a verdict: one line and a command to copy."""

from __future__ import annotations

from dataclasses import dataclass

from append_prefill.records.grounds import Ground
from append_prefill.records.run import Comparison, Run
from append_prefill.report import format as fmt
from append_prefill.report.names import attached, pytest_command

STORE = "append-prefill baselines store reports/latest"
PROMOTE = "append-prefill baselines promote reports/latest --reason"


@dataclass(frozen=True, slots=True)
class NextStep:
    """`text` says what `command` is for."""

    text: str
    command: str


def next_step_of(run: Run) -> NextStep | None:
    """The step that follows from the verdict; None for a record that is no measured run."""
    if run.provenance != "suite":
        return None
    comparison = run.comparison
    if attached(run) and run.verdict == "inconclusive":
        return NextStep(
            "Let the suite launch the server, so that launches are replicated:",
            pytest_command(run.model_copy(update={"suite": {}, "state": {}})),
        )
    match run.verdict:
        case None:
            return NextStep("Measure again, to the end:", pytest_command(run))
        case "infrastructure":
            return NextStep("See what is missing on this machine:", "append-prefill doctor")
        case "broken":
            return NextStep("See whether other launches show it too:", _reseeded(run))
        case "not-comparable":
            return NextStep("Store this run, so that the next has a reference:", STORE)
        case "inconclusive":
            return _undecided(run, comparison)
        case "regression" | "improvement" if comparison and _suspected(comparison):
            version = comparison.reference_version or comparison.reference
            return NextStep(
                "A stored run only suspects. Confirm it side by side:",
                pytest_command(run, against=version),
            )
        case "regression":
            return NextStep(
                "Before it is reported, see whether other launches and points show it too:",
                _reseeded(run),
            )
        case "improvement" if comparison:
            return NextStep(
                "Let the next runs be held against this one:", f"{PROMOTE} 'faster, confirmed'"
            )
        case _ if comparison is None or comparison.provenance == "study":
            return NextStep("Nothing of this machine is stored yet. Store this run:", STORE)
        case _:
            return NextStep("Keep it as this version's baseline:", STORE)


def _suspected(comparison: Comparison) -> bool:
    return comparison.kind == "baseline" and not comparison.confirmed


def _reseeded(run: Run) -> str:
    """The same run with other draws."""
    return pytest_command(run, seed=run.seed + 1)


def _undecided(run: Run, comparison: Comparison | None) -> NextStep:
    launches = sum(s.side == "candidate" for s in run.starts)
    if comparison is None or comparison.verdict != "inconclusive":
        # A finding straddles its bound: its interval narrows with the root of the launches.
        return NextStep(
            "Four times the launches halve the interval:",
            pytest_command(run, starts=4 * max(1, launches)),
        )
    ground = comparison.reason
    unknown = isinstance(ground, Ground) and ground.code == "between-nights-unknown"
    needed = comparison.starts_needed
    if comparison.kind == "baseline" and (unknown or needed is None):
        version = comparison.reference_version or comparison.reference
        return NextStep(
            "Sessions differ more than launches do. Measure both side by side:",
            pytest_command(run, against=version),
        )
    if needed is None:
        return NextStep(
            "No number of launches was found that would settle it. Measure on a quieter machine:",
            _reseeded(run),
        )
    return NextStep(
        f"{fmt.plural(needed, 'launch')} per side would settle it:",
        pytest_command(run, starts=needed),
    )
