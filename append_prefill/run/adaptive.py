"""What to measure next: confirm a suspect side by side, measure on while undecided, or stop.

The statistics of going on are `analysis.verdict.sequential`; here they meet the clock and the
queue. An interim analysis is made when every pair that the queue has given out is done, so none is
under way when it ends the run, and what it judged is what the record holds.
"""

from __future__ import annotations

from collections.abc import Callable

from append_prefill.analysis.verdict.sequential import (
    Schedule,
    in_reach,
    next_step,
    schedule_of,
)
from append_prefill.engines.base import Engine
from append_prefill.probe.plan import PLANE_SHARE, Plan, abba
from append_prefill.records.comparison import Comparison, Look
from append_prefill.records.grounds import Side
from append_prefill.records.run import Run
from append_prefill.report.reasons import decision_words
from append_prefill.run.comparing import Level, compare_references, compare_sides
from append_prefill.run.judge import judged_findings
from append_prefill.run.queue import QueueState
from append_prefill.run.references import References
from append_prefill.run.settings import Settings
from append_prefill.run.traffic import judge_traffic

SUSPECT_RATE = 0.2
"""False-alarm rate at which a stored run asks for a confirmation that can be had.

The confirmation decides, at its own rate, so a loose suspicion costs minutes and no false alarm.
At a quiet device's noise 13 sessions in 100 measure both sides for nothing; +3 % on the floor is
suspected 73 times in 100 and +5 % 96 times, which at the policy's own 1 % would be 7 and 24
(`python -m benchmarks.verdicts --across-sessions`)."""


class Decider:
    """Decides, whenever all pairs given out are done, whether the queue gets more.

    `at_once`: pairs that are measured at the same time, one a device. `elapsed_s` is the run's age,
    `record` everything measured so far by all workers.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        references: References,
        *,
        at_once: int,
        elapsed_s: Callable[[], float],
        record: Callable[[], Run],
        tell: Callable[[str], None],
    ) -> None:
        self._settings, self._plan, self._references = settings, plan, references
        self._profile = plan.narrowed(settings.profile)
        self._at_once = at_once
        self._elapsed_s, self._record, self._tell = elapsed_s, record, tell

    @property
    def first_pairs(self) -> int:
        """Pairs that are measured before anything is judged: of both sides those of the first
        interim analysis, of one side all that are planned.
        """
        if self._judges_sides:
            return self._schedule(self._plan.starts).starts[0]
        return self._plan.starts

    @property
    def _judges_sides(self) -> bool:
        """Whether the points of the plan's own sides are held against each other.

        A control is not; and without points there is nothing that interim analyses look at, so that
        all planned launches are measured.
        """
        beside = "reference" in self._plan.sides and self._plan.control is None
        return beside and bool(self._plan.all_points)

    def sides(self, pair: int, state: QueueState) -> tuple[Side, ...]:
        """The sides of a pair, in the order they are to be measured."""
        if state.confirm_from is None or pair < state.confirm_from:
            return self._plan.pair(pair).sides
        return abba(("candidate", "reference"), pair)

    def engine(self, side: Side, state: QueueState) -> Engine:
        """The engine of a side; the suspecting version's own environment when confirming.

        Raises LookupError for a reference that this run has not.
        """
        engine: Engine | None = self._settings.candidate
        if side == "reference":
            engine = self._settings.reference
            if state.confirm_with is not None:
                engine = self._settings.confirming(state.confirm_with)
        if engine is None:
            raise LookupError("this run has no reference engine")
        return engine

    def decide(self, state: QueueState) -> QueueState:
        """The queue's next state, once all pairs given out are done."""
        if state.confirm_at_once:
            return state.model_copy(update={"closed": "all pairs that confirm are measured"})
        side_by_side = self._judges_sides or state.confirm_from is not None
        return self._look(state) if side_by_side else self._confirm(state)

    def next_level(self, state: QueueState) -> Level:
        """That of the interim analysis which would be next: an interrupted run is judged at it."""
        schedule = self._schedule(state.confirm_pairs or self._plan.starts)
        at = min(len(state.looks), len(schedule.starts) - 1)
        analysis = schedule.analyses[at]
        return Level(analysis.alpha, analysis.pass_confidence)

    def may_plan_more(self, state: QueueState) -> bool:
        """Whether the analysis that follows the planned pairs could ask for more of the same."""
        if state.confirm_at_once or (not self._judges_sides and state.confirm_from is None):
            return False  # what confirms a suspicion has another side
        schedule = self._schedule(state.confirm_pairs or self._plan.starts)
        return len(state.looks) + 1 < len(schedule.starts)

    def _confirm(self, state: QueueState) -> QueueState:
        """A stored baseline can only suspect: measure both sides now, if that can be done.

        Interim analyses look at the points. Where those are not suspected and other traffic is, all
        pairs are measured, and it is judged as it is in any run side by side.
        """
        done = state.model_copy(update={"closed": "all planned launches are measured"})
        run, at_points = self._record(), bool(self._plan.all_points)
        found = [(one, False) for one in self._suspicions(run)] if at_points else []
        found += [(one, True) for one in self._suspicions_in_traffic(run)]
        suspicions = [
            (suspicion, in_traffic, engine)
            for suspicion, in_traffic in found
            if suspicion.verdict == "regression"
            and suspicion.reference_version is not None
            # Beside the candidate as a control it is not judged; `--against` would do that.
            and suspicion.reference_version != self._plan.control
            and (engine := self._settings.confirming(suspicion.reference_version)) is not None
        ]
        if not suspicions:
            return done
        suspicion, at_once, engine = suspicions[0]
        pairs = min(self._plan.starts, self._pairs_left(sides=2))
        if pairs < 2:
            return state.model_copy(
                update={"closed": "suspected, but the budget left no time to confirm"}
            )
        where = " in other traffic" if at_once else ""
        self._tell(
            f"the stored {suspicion.reference} ({suspicion.role}) suspects a regression{where}: "
            f"measuring {engine.label} side by side, {pairs} pairs"
        )
        return state.model_copy(
            update={
                "confirm_from": state.planned,
                "confirm_with": suspicion.reference_version,
                "confirm_pairs": pairs,
                "confirm_at_once": at_once,
                "planned": state.planned + (pairs if at_once else self._schedule(pairs).starts[0]),
            }
        )

    def _suspicions(self, run: Run) -> list[Comparison]:
        """Of the points, against each stored run."""
        return compare_references(
            run,
            self._profile,
            self._references,
            replicable=self._settings.candidate.replicable,
            rate=SUSPECT_RATE,
        )

    def _suspicions_in_traffic(self, run: Run) -> list[Comparison]:
        """Of other traffic, against each stored run."""
        rate = SUSPECT_RATE * (PLANE_SHARE if self._plan.all_points else 1.0)
        policy = self._profile.policy.model_copy(update={"false_alarm_rate": rate})
        results = judge_traffic(
            run,
            self._profile.model_copy(update={"policy": policy}),
            references=self._references,
            replicable=self._settings.candidate.replicable,
        ).results
        made = [one.comparison for one in results if one.comparison is not None]
        return [c for one in made for c in (one, *one.others) if c.kind == "baseline"]

    def _look(self, state: QueueState) -> QueueState:
        number, measured = len(state.looks), len(state.done) - (state.confirm_from or 0)
        schedule = self._schedule(state.confirm_pairs or self._plan.starts)
        now, run = schedule.analyses[number], self._record()
        comparison = compare_sides(
            run,
            self._profile,
            self._references,
            alpha=now.alpha,
            pass_confidence=now.pass_confidence,
            hold_rate=now.hold_rate,
        )
        if comparison is None:
            return state.model_copy(update={"closed": "no pair was measured on both sides"})
        # A confirmation comes after all launches that were planned for the findings.
        open_findings = state.confirm_from is None and self._a_finding_is_open(run, measured)
        step = next_step(comparison, state.looks, schedule, open_findings=open_findings)
        decision, goes_on = step.decision, step.goes_on
        # What was planned is measured, whatever it takes; the budget holds what is added to it.
        if goes_on and schedule.starts[number + 1] > schedule.planned:
            left = self._pairs_left(sides=2)
            if left < decision.more_pairs:
                goes_on = False
                decision = decision.model_copy(update={"code": "budget", "budget_pairs": left})
        look = Look(
            look=number + 1,
            candidate_starts=measured,
            reference_starts=measured,
            threshold=now.alpha,
            pass_confidence=now.pass_confidence,
            verdict=comparison.verdict,
            suspects=list(step.suspects),
            decision=decision,
        )
        self._tell(f"interim analysis {look.look}: {look.verdict}. {decision_words(look)}")
        update: dict[str, object] = {"looks": [*state.looks, look]}
        if goes_on:
            update["planned"] = state.planned + decision.more_pairs
        else:
            update["closed"] = decision_words(look)
        return state.model_copy(update=update)

    def _schedule(self, pairs: int) -> Schedule:
        return schedule_of(self._profile.policy, pairs, at_once=self._at_once)

    def _a_finding_is_open(self, run: Run, launches: int) -> bool:
        """Whether one that needs more than `launches` can be settled by those that are planned."""
        findings = judged_findings(
            run,
            self._profile,
            self._references,
            kv_bytes_per_token=self._settings.kv_bytes_per_token,
            kv_fixed_bytes=self._settings.kv_fixed_bytes,
        )
        return any(
            finding.verdict == "inconclusive" and in_reach(finding, launches, self._plan.starts)
            for finding in findings
        )

    def _pairs_left(self, *, sides: int) -> int:
        """How many more pairs of `sides` starts the budget holds, by what launches took so far."""
        starts = [s for s in self._record().starts if s.measured_s is not None]
        if not starts:
            return 0
        elapsed_s = self._elapsed_s()
        # Workers measure at the same time: what counts is the run's own pace.
        per_start_s = elapsed_s / len(starts)
        left = (self._plan.budget_minutes * 60 - elapsed_s) // (per_start_s * sides)
        return max(0, int(left))
