"""What to do about a verdict: a line and a command to copy, and what else is open."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from append_prefill.records.comparison import Comparison
from append_prefill.records.grounds import Ground
from append_prefill.records.run import Run
from append_prefill.records.traffic import TrafficResult
from append_prefill.report import format as fmt
from append_prefill.report.confirmation import confirming_folder, is_withdrawn
from append_prefill.report.failed import is_lacking, unjudged
from append_prefill.report.names import PYTEST, QUICK, attached, option_words, pytest_command
from append_prefill.report.traffic import alone_speaking, decided_by, lost_reply
from append_prefill.workload.pd_pair import EXPERIMENT as PD_PAIR
from append_prefill.workload.pd_pair import FINDING as PAIR_FINDING

LATEST = "reports/latest"
"""Where the newest run lies, for a command about a run that lies in no folder of its own."""


@dataclass(frozen=True, slots=True)
class Program:
    """How the suite was called, so that a command can be typed there.

    `run` begins a run, `command` is the console script, `folder` the run's. `other`: a version
    beside the candidate's whose environment is at hand, None where none is known; `make` makes one.
    """

    run: tuple[str, ...] = PYTEST
    command: str = "append-prefill"
    folder: str = LATEST
    other: str | None = None
    make: str = "append-prefill env VERSION"


@dataclass(frozen=True, slots=True)
class NextStep:
    """`text` says what `command` is for."""

    text: str
    command: str


def next_step_of(run: Run, folder: str = LATEST) -> NextStep | None:
    """The step that follows from the verdict of the run in `folder`; None for one not measured."""
    return next(iter(next_steps_of(run, Program(folder=folder))), None)


def next_steps_of(
    run: Run, program: Program | None = None, *, keepable: bool = True
) -> list[NextStep]:
    """That step, and what else is open; empty for a record that is no measured run.

    `keepable`: the run has what a baseline has to have, and is not stored as one.
    """
    if run.provenance != "suite":
        return []
    proposals = _Proposals(run, program or Program())
    kept = keepable and QUICK not in option_words(run)
    steps = [proposals.first(kept=kept)]
    comparison = run.compared
    judged = run.verdict not in (None, "infrastructure") and not run.interrupted
    compares = not _of_pair_alone(run)
    if compares and judged and not attached(run) and (comparison is None or _refused(comparison)):
        steps += [proposals.store(_FIRST)] if kept else []
        steps.append(proposals.beside("Or compare" if any(steps) else "Compare"))
    if run.verdict == "regression" and comparison and comparison.confirmed:
        steps.append(proposals.cause())
    return list(dict.fromkeys(step for step in steps if step is not None))


_FIRST = "Nothing of this machine is stored yet. Store this run (--save-baseline does it at once):"


def _of_pair_alone(run: Run) -> bool:
    """Whether only a P/D pair was asked for: nothing is stored of it, or held against it."""
    return run.plan.traffic == [PD_PAIR] and not any(point.experiment for point in run.points)


def _of_pair(run: Run, verdict: str) -> bool:
    """Whether that verdict is of what a P/D pair adds, and of no other finding."""
    return {one.id for one in run.findings if one.verdict == verdict} == {PAIR_FINDING}


def _refused(comparison: Comparison) -> bool:
    return comparison.verdict == "not-comparable"


def _suspected(comparison: Comparison) -> bool:
    return comparison.kind == "baseline" and not comparison.confirmed


TRAFFIC_TEST = "test_traffic_has_not_regressed"
REPLIES_TEST = "test_what_is_found_in_traffic_holds[reply_cached]"
PAIR_TEST = f"test_what_is_found_in_traffic_holds[{PAIR_FINDING}]"
"""Of `perf_tests/test_traffic.py`, by which other traffic than the points' is selected alone."""


def _marked(heavy: Sequence[bool], *, alone: bool) -> str | None:
    """The marker expression that takes such experiments; None where a run takes them by itself.

    Heavy traffic is measured only where its marker is named. `alone`: nothing else is to be taken.
    """
    if not any(heavy):
        return None
    return "append_prefill and load" if alone and all(heavy) else "append_prefill or load"


@dataclass(frozen=True, slots=True)
class _Proposals:
    run: Run
    program: Program

    def first(self, *, kept: bool) -> NextStep | None:
        run, comparison = self.run, decided_by(self.run)
        if attached(run) and run.verdict == "inconclusive":
            return NextStep(
                "Let the suite launch the server, so that launches are replicated:",
                pytest_command(
                    run.model_copy(update={"suite": {}, "state": {}}), program=self.program.run
                ),
            )
        if run.interrupted or run.verdict is None:
            return self._resumed("Go on where it was cut off:")
        confirmed = confirming_folder(run) is not None
        match run.verdict:
            case "infrastructure" if run.state.get("unfinished"):
                return self._resumed("Go on with it, once that is put right:")
            case "infrastructure" if (of := unjudged(run)) and not is_lacking(of[0]):
                return NextStep(
                    "Measure all that the profile judges:",
                    pytest_command(run, whole=True, program=self.program.run),
                )
            case "infrastructure" if any(start.usable for start in run.starts):
                return NextStep("Measure again, once that is put right:", self._again())
            case "infrastructure":
                return NextStep(
                    "See what is missing on this machine:", f"{self.program.command} doctor"
                )
            case "broken" if lost_reply(run) is not None:
                return NextStep(
                    "What is cached is counted, not timed: one launch of this test shows it again:",
                    self._again(starts=1, test=REPLIES_TEST),
                )
            case "broken":
                test = PAIR_TEST if _of_pair(run, "broken") else None
                return NextStep(
                    "See whether other launches show it too:",
                    self._again(seed=run.seed + 1, test=test),
                )
            case "not-comparable":
                return self.store("Store this run, so that the next has a reference:", kept=kept)
            case "inconclusive":
                return self._undecided(comparison)
            case "regression" if is_withdrawn(run):
                return None
            case "regression" if (
                comparison and _suspected(comparison) and not run.simulated and not confirmed
            ):
                return NextStep(
                    "A stored run only suspects. Confirm it with launches of their own:",
                    f"{self.program.command} confirm {self._folder}",
                )
            case "regression" | "improvement" if (
                comparison and _suspected(comparison) and not confirmed
            ):
                return NextStep(
                    "A stored run only suspects. Confirm it side by side:",
                    self._again(against=comparison.reference_version or comparison.reference),
                )
            case "regression" if (
                comparison and not self._only() and (between := self._between(comparison))
            ):
                return NextStep("Find the version that brought it:", between)
            case "regression" if confirmed or run.confirms is not None:
                return None  # other launches have shown it
            case "regression":
                others = "other launches" if self._only() else "other launches and points"
                return NextStep(
                    f"Before it is reported, see whether {others} show it too:", self._reseeded()
                )
            case "improvement" if comparison:
                reason = "--reason 'faster, confirmed'"
                promote = f"{self.program.command} baselines promote {self._folder} {reason}"
                return NextStep("Let the next runs be held against this one:", promote)
            case _ if comparison is None or comparison.provenance == "study":
                return self.store(_FIRST, kept=kept)
            case _:
                return self.store("Keep it as this version's baseline:", kept=kept)

    def _resumed(self, text: str) -> NextStep:
        command = shlex.join([*self.program.run, "--resume", self.program.folder])
        return NextStep(text, command)

    def store(self, text: str, *, kept: bool = True) -> NextStep | None:
        command = f"{self.program.command} baselines store {self._folder}"
        return NextStep(text, command) if kept else None

    def beside(self, verb: str) -> NextStep:
        made = "" if self.program.other else f" (its environment: {self.program.make})"
        return NextStep(
            f"{verb} with another version, side by side{made}:",
            self._again(against=self.program.other or "VERSION"),
        )

    def cause(self) -> NextStep | None:
        """Which functions it is in; None where there are none to look into."""
        if self.run.simulated or attached(self.run):
            return None
        command = f"{self.program.command} cause {self._folder}"
        return NextStep("See which functions it is in:", command)

    def _between(self, comparison: Comparison) -> str | None:
        """The command that looks between the sides' versions; None where they are no two."""
        ends = (comparison.reference_version, self.run.version)
        if self.run.simulated or None in ends or ends[0] == ends[1]:
            return None
        return f"{self.program.command} bisect {ends[0]}..{ends[1]} --from {self._folder}"

    @property
    def _folder(self) -> str:
        return shlex.quote(self.program.folder)

    def _again(
        self,
        *,
        against: str | None = None,
        starts: int | None = None,
        seed: int | None = None,
        test: str | None = None,
    ) -> str:
        """The run again; of other traffic that alone made the verdict, only its tests."""
        only, pair = self._only(), bool(self.run.pd_pair)  # which its marker alone launches
        pair_alone = test == PAIR_TEST
        if test is None:
            of = only or self.run.traffic
            pair = pair and not only
            test = " or ".join(f"{TRAFFIC_TEST}[{result.experiment}]" for result in only) or None
        else:
            of, pair = [], pair_alone
        heavy = [*(result.heavy for result in of), *([True] if pair else [])]
        return pytest_command(
            self.run,
            against=against,
            starts=starts,
            seed=seed,
            test=test,
            marked=_marked(heavy, alone=bool(only) or pair_alone or not self.run.plan.points),
            program=self.program.run,
        )

    def _only(self) -> list[TrafficResult]:
        """The experiments whose tests are enough, since they made the verdict; empty for all."""
        run = self.run
        if run.verdict not in ("regression", "improvement", "inconclusive") or run.interrupted:
            return []
        open_ = any(f.verdict in ("broken", "inconclusive") for f in run.findings)
        return [] if open_ and run.verdict == "inconclusive" else alone_speaking(run)

    def _reseeded(self) -> str:
        """The same run with other draws."""
        return self._again(seed=self.run.seed + 1)

    def _undecided(self, comparison: Comparison | None) -> NextStep:
        run = self.run
        if QUICK in option_words(run):
            return NextStep(
                "Measure the whole plan, of which a quick run is a part:",
                pytest_command(run, whole=True, program=self.program.run),
            )
        launches = sum(s.side == "candidate" for s in run.starts)
        if comparison is None or comparison.verdict != "inconclusive":
            # A finding straddles its bound: its interval narrows with the root of the launches.
            of_pair = _of_pair(run, "inconclusive")
            if of_pair:
                launches = max((len(one.launches) for one in run.pd_pair), default=0)
            return NextStep(
                "Four times the launches halve the interval:",
                self._again(starts=4 * max(1, launches), test=PAIR_TEST if of_pair else None),
            )
        ground = comparison.reason
        unknown = isinstance(ground, Ground) and ground.code == "between-nights-unknown"
        needed = comparison.starts_needed
        if comparison.kind == "baseline" and (unknown or needed is None):
            return NextStep(
                "Sessions differ more than launches do. Measure both side by side:",
                self._again(against=comparison.reference_version or comparison.reference),
            )
        if needed is None:
            return NextStep(
                "No number of launches was found that would settle it. Measure on a quieter "
                "machine:",
                self._reseeded(),
            )
        return NextStep(
            f"{fmt.plural(needed, 'launch')} per side would settle it:", self._again(starts=needed)
        )
