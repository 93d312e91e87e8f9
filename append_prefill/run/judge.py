"""From a measured record to a judged one: findings, surface, comparisons, verdict.

Pure: what to compare with has been read by the caller. Every rule of judgement is in `analysis/`,
which launches are compared in `run.comparing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from append_prefill.analysis.cliffs.jump import kept_on
from append_prefill.analysis.interference import decode_interference
from append_prefill.analysis.pd_pair import pair_finding, summarise_backend
from append_prefill.analysis.replies import reply_cached
from append_prefill.analysis.summary import summarise_points, usable
from append_prefill.analysis.surface import fit_surface
from append_prefill.analysis.verdict.findings import judge_findings
from append_prefill.analysis.verdict.overall import run_verdict
from append_prefill.records.cliffs import EXPERIMENT, alone_in
from append_prefill.records.comparison import Look
from append_prefill.records.launch import Start
from append_prefill.records.run import Finding, Run
from append_prefill.run.against import held_against, reference_starts
from append_prefill.run.comparing import Level, compare_all
from append_prefill.run.references import References
from append_prefill.run.traffic import judge_traffic
from append_prefill.workload.profile import Profile
from append_prefill.workload.traffic import DEFAULT, Condition


def judge(
    run: Run,
    profile: Profile,
    *,
    references: References,
    kv_bytes_per_token: int | None,
    replicable: bool,
    kv_fixed_bytes: int = 0,
    looks: Sequence[Look] = (),
    level: Level | None = None,
) -> Run:
    """A copy of `run` with everything judged.

    `references` are the stored runs to compare with; `replicable` says whether the launches
    are real server launches (they are not when a running server is measured). `level` is that of a
    comparison side by side which is not the last of the `looks` once more.
    """
    candidate = usable(run.starts, "candidate")
    alone = alone_in(run.plan.cliffs)
    kept = {point for cliff in alone for point in cliff.points}
    own = set(profile.points)
    points = [
        p.model_copy(update={"experiment": [*p.experiment, EXPERIMENT]}) if p.point in kept else p
        for p in summarise_points(candidate, profile)
    ]
    comparison = None
    if run.plan.has_points:
        comparison = compare_all(
            run, profile, references, replicable=replicable, looks=looks, level=level
        )
    findings = judged_findings(
        run,
        profile,
        references,
        kv_bytes_per_token=kv_bytes_per_token,
        kv_fixed_bytes=kv_fixed_bytes,
    )
    pairs = [summarise_backend(one, kv_bytes_per_token, kv_fixed_bytes) for one in run.pd_pair]
    paired = pair_finding(pairs, profile, kv_bytes_per_token, kv_fixed_bytes)
    findings += [] if paired is None else [paired]
    traffic, mean = judge_traffic(
        run,
        profile,
        references=references,
        replicable=replicable,
        looks=looks,
        level=level,
        points=comparison,
    )
    return run.model_copy(
        update={
            "points": points,
            "findings": findings,
            # A cliff is what the surface does not have, and would bend it.
            "surface": fit_surface([start.without(kept - own) for start in candidate]),
            "cliffs": kept_on(
                run.starts,
                run.plan.cliffs,
                run.plan.sides,
                {e.id: e.traffic for e in profile.traffic},
            ),
            "comparison": comparison,
            "traffic": traffic,
            "pd_pair": pairs,
            "traffic_mean": mean,
            "verdict": run_verdict(findings, comparison, traffic, mean),
        }
    )


def judged_findings(
    run: Run,
    profile: Profile,
    references: References,
    *,
    kv_bytes_per_token: int | None,
    kv_fixed_bytes: int = 0,
) -> list[Finding]:
    """The findings, judged on the candidate's launches."""
    candidate = usable(run.starts, "candidate")
    findings = judge_findings(
        candidate,
        profile,
        against=held_against(run, profile, references.chosen, references.noise),
        before=reference_starts(run, profile, references.chosen),
        kv_bytes_per_token=kv_bytes_per_token,
        kv_fixed_bytes=kv_fixed_bytes,
        link_gb_per_s=profile.link.gb_per_s,
    )
    others = (reply_cached(candidate, profile.traffic), decode_interference(candidate, profile))
    return findings + [finding for finding in others if finding is not None]


def nothing_valid(starts: Sequence[Start], pair: int) -> str | None:
    """Why the run ends after this pair of launches: of one of them no block was valid; else None.

    As many blocks as a launch may repeat were spent on it, and the next launches would find the
    device no quieter.
    """
    for start in starts:
        voids = [block.void for block in start.state if block.void is not None]
        if start.pair == pair and voids and len(voids) == len(start.state):
            return (
                f"None of the {len(voids)} blocks of {start.side} launch {start.index + 1} was "
                f"valid, the last because of this: {voids[-1]}. Nothing more is launched; make "
                "sure that the device is this run's alone."
            )
    return None


def too_few_valid(run: Run, profile: Profile) -> list[str]:
    """What makes the run worthless, a sentence per side; empty if enough samples are valid.

    Worthless is a side without a whole launch, or with a condition of which fewer than
    `plan.min_valid_share` of the samples are valid.
    """
    problems = []
    sides = {*run.plan.sides, *(start.side for start in run.starts)}
    for side in sorted(sides):
        starts = usable(run.starts, side)
        if not starts:
            problems.append(f"No {side} launch was measured to its end.")
            continue
        valid: Counter[Condition] = Counter()
        void: Counter[Condition] = Counter()
        reasons: Counter[str] = Counter()
        measured = [
            *((Condition(DEFAULT, s.point), s) for start in starts for s in start.series),
            *((s.condition, s) for start in starts for s in start.traffic),
        ]
        for condition, series in measured:
            valid[condition] += len(series.ttft_ms)
            for entry in series.void:
                void[condition] += entry.count
                reasons[entry.reason] += entry.count
        share = profile.plan.min_valid_share
        poor = sorted(c for c in void if valid[c] < share * (valid[c] + void[c]))
        if not poor:
            continue
        states = [b.void for s in starts for b in s.state if b.void is not None]
        shown = ", ".join(f"{c.label} ({valid[c]} of {valid[c] + void[c]})" for c in poor[:3])
        more = f" and {len(poor) - 3} more" if len(poor) > 3 else ""
        why = "; ".join(f"{reason} ({n})" for reason, n in reasons.most_common(3))
        state = f" The last invalid block: {states[-1]}." if states else ""
        problems.append(
            f"Too few samples of the {side} are valid at {shown}{more}. Invalid because: "
            f"{why}.{state}"
        )
    return problems
