"""Sample runs for the report's tests: every kind of record it must render."""

from __future__ import annotations

import random
from collections.abc import Callable

from append_prefill.records.comparison import Comparison, Look, PointEffect
from append_prefill.records.grounds import FindingVerdict
from append_prefill.records.launch import Void
from append_prefill.records.run import PointSummary, Run
from append_prefill.workload.points import Point
from tests.report.other_traffic import AGED, TOGETHER, TURNS, with_traffic
from tests.report.parts import (
    Model,
    additive,
    bare,
    findings,
    noise,
    profile,
    side_by_side,
    starts_of,
    study_points,
    subject,
    summaries,
)


def regression() -> Run:
    run = side_by_side(
        lambda p: 1 + 0.085 * max(0.0, (p.append_tokens - 256) / 768),
        "regression",
        "at long appends, m of 512 and more; the floor did not move",
        reason="Joint test p < 0.001; six points survive a false discovery rate of 5 %.",
        looks=[
            Look(look=1, candidate_starts=3, reference_starts=3, threshold=0.0051,
                 verdict="inconclusive", suspects=["L512-m1024", "L204-m820"],
                 decision="measure more of the suspects"),
            Look(look=2, candidate_starts=5, reference_starts=5, threshold=0.0138,
                 verdict="regression", suspects=["L512-m1024", "L204-m820", "L307-m717"],
                 decision="stop: decided"),
        ],
    )  # fmt: skip
    assert run.comparison is not None
    suspected = run.comparison.model_copy(
        update={
            "kind": "baseline",
            "confirmed": False,
            "reference": "0.5.22",
            "looks": [],
            "reason": "Suspected against the stored baseline; sessions differ more than launches.",
        }
    )
    comparison = run.comparison.model_copy(update={"others": [suspected]})
    starts = [s.model_copy(deep=True) for s in run.starts]
    starts[1].state[3].void = "throttled: hardware thermal slowdown"
    starts[6].state[7].void = "another process on the device (pid unknown, 3.1 GB)"
    for start, reason, n in ((starts[1], "cached_tokens is not L", 3), (starts[2], "retracted", 1)):
        start.series[4].void.append(Void(reason=reason, count=n))
    for series in starts[1].series:
        series.void.append(Void(reason="block invalid: throttled", count=1))
    assert starts[3].warmup is not None
    starts[3].warmup.stationary = False
    return run.model_copy(
        update={
            "comparison": comparison,
            "starts": starts,
            "warnings": ["candidate launch 4 was still drifting after 30 warm-up rounds."],
        }
    )


def passing() -> Run:
    run = side_by_side(
        lambda _: 1.0, "pass", "nowhere", reason="Every interval ends below +3 %.", sd=0.004
    )
    assert run.comparison is not None
    stored = run.comparison.model_copy(update={"kind": "baseline", "confirmed": False})
    return run.model_copy(
        update={"comparison": run.comparison.model_copy(update={"others": [stored]})}
    )


def everywhere(points: int = 20) -> Run:
    """The same milliseconds added to every point, with the model of change that says so."""
    drawn = [Point(300 + 10 * i, 40 + i) for i in range(points - len(study_points()))]
    run = side_by_side(
        lambda p: 1 + 2.2 / Model()(p),
        "regression",
        "unused",
        reason="Rejected.",
        sd=0.004,
        points=[*study_points(), *drawn],
    )
    comparison = run.comparison
    assert comparison is not None
    assert comparison.level is not None
    change = additive(comparison.points, comparison.level)
    return run.model_copy(
        update={"comparison": comparison.model_copy(update={"change": change, "where": []})}
    )


def improvement() -> Run:
    return side_by_side(
        lambda _: 0.93,
        "improvement",
        "everywhere, most at short appends",
        reason="Joint test p < 0.001.",
        candidate=Model(floor_ms=18.6),
    )


def regime_shift() -> Run:
    return side_by_side(
        lambda _: 1.0,
        "improvement",
        "at short appends, m of 512 and less: the floor fell from 19.4 to 12.1 ms",
        reason="Joint test p < 0.001.",
        candidate=Model(floor_ms=12.1),
        finding_verdicts={"append_flatness": "regime-shift", "cache_rate_band": "regime-shift"},
    )


def inconclusive() -> Run:
    return side_by_side(
        lambda _: 1.017,
        "inconclusive",
        "no part of the plane stands out",
        reason="The interval of the overall level, -1.1 to +4.6 %, holds both 0 and +3 %.",
        sd=0.035,
        mde=0.052,
        starts_needed=14,
        finding_verdicts={"append_flatness": "inconclusive"},
        seed=11,
    )


def baseline_run() -> Run:
    """The stored run of 0.5.22."""
    of, rng, points = profile(), random.Random(3), study_points()
    starts = starts_of(points, "candidate", Model(), rng, version="0.5.22")
    return bare(
        points,
        of,
        starts,
        subject=subject("0.5.22", torch="2.12.1", kernels="0.3.20"),
        points=summaries(starts, points, of),
        noise=noise(points),
        verdict="pass",
    )


def suspected() -> Run:
    """A regression against a stored baseline: not confirmed. Render with `baseline_run()`."""
    run = regression()
    assert run.comparison is not None
    comparison = run.comparison.model_copy(
        update={
            "kind": "baseline",
            "confirmed": False,
            "others": [],
            "looks": [],
            "reason": "Across sessions: the stored between-session scatter is in every interval.",
        }
    )
    starts = [s for s in run.starts if s.side == "candidate"]
    return run.model_copy(update={"comparison": comparison, "starts": starts, "warnings": []})


def sound(run: Run) -> Run:
    """The run without blocks that the device made invalid, whose samples no record may hold."""
    starts = [
        start.model_copy(
            update={"state": [b.model_copy(update={"void": None}) for b in start.state]}
        )
        for start in run.starts
    ]
    return run.model_copy(update={"starts": starts})


def broken() -> Run:
    """A finding broken, nothing to compare with."""
    run = passing()
    starts = [s for s in run.starts if s.side == "candidate"]
    return run.model_copy(
        update={
            "comparison": None,
            "starts": starts,
            "findings": findings(append_flatness="broken", context_flatness="broken"),
            "verdict": "broken",
        }
    )


def study_run() -> Run:
    """The study's table as a baseline: one value a point, nothing else."""
    of = profile()
    values = {Point(102, 922): 24.0, Point(204, 820): 21.7, Point(512, 128): 19.2}
    points = list(of.points)
    return bare(
        points,
        of,
        [],
        subject={"sglang": "0.5.5.post3"},
        identity={"device": {"name": "NVIDIA H100 80GB HBM3"}},
        state={},
        provenance="study",
        points=[
            PointSummary(
                experiment=of.experiments_of(p),
                context_tokens=p.context_tokens,
                append_tokens=p.append_tokens,
                median_ms=values.get(p, 20.1),
                low_ms=None,
                high_ms=None,
                starts=1,
                samples=1,
                void=0,
            )
            for p in points
        ],
    )


def against_study() -> Run:
    """Compared with the study's table: effect sizes, no verdict. Render with `study_run()`."""
    run = broken()
    study = {p.point: p.median_ms for p in study_run().points}
    effects = [
        PointEffect(
            context_tokens=s.context_tokens,
            append_tokens=s.append_tokens,
            reference_ms=study[s.point],
            candidate_ms=s.median_ms,
            ratio=(s.median_ms or 0.0) / (study[s.point] or 1.0),
            low=None,
            high=None,
            p=None,
            mde=None,
            verdict="inconclusive",
        )
        for s in run.points
        if s.point in study
    ]
    comparison = Comparison(
        reference="0.5.5.post3",
        kind="baseline",
        provenance="study",
        confirmed=False,
        method="ratios to the study's single values",
        points=effects,
        surface=[],
        mde=None,
        starts_needed=None,
        verdict="inconclusive",
        where="",
        reason="The study gives one value a point: effect sizes only, never a verdict.",
    )
    return run.model_copy(
        update={"comparison": comparison, "findings": findings(), "verdict": "pass"}
    )


def not_comparable() -> Run:
    run = broken()
    comparison = Comparison(
        reference="0.5.22",
        kind="baseline",
        provenance="suite",
        confirmed=False,
        method="none: the identities differ",
        points=[],
        surface=[],
        mde=None,
        starts_needed=None,
        verdict="not-comparable",
        where="",
        reason="The stored run differs in device.driver, device.power_limit_w: its times say "
        "nothing of this run.",
        differing={
            "device.driver": ["580.95.05", "570.133.20"],
            "device.power_limit_w": [700.0, None],
        },
    )
    return run.model_copy(
        update={"comparison": comparison, "findings": findings(), "verdict": "not-comparable"}
    )


def infrastructure() -> Run:
    """No launch got ready: no points at all."""
    started = starts_of([], "candidate", Model(), random.Random(1), count=2)
    failure = (
        "the server ended with status 1 before it was ready\n"
        "Last lines of candidate-0.log:\n"
        'File "/opt/envs/0.5.23/lib/python3.12/site-packages/sglang/srt/server.py", line 88\n'
        "RuntimeError: CUDA error: out of memory <allocator & pool>"
    )
    starts = [
        s.model_copy(
            update={
                "failure": failure, "ready_s": None, "measured_s": None, "warmup": None,
                "subject": {}, "state": [], "client_floor_ms": None, "server_args": [],
            }
        )
        for s in started
    ]  # fmt: skip
    return bare(
        study_points(),
        profile(),
        starts,
        subject={},
        verdict="infrastructure",
        warnings=[
            "candidate launch 1 failed: the server ended with status 1 before it was ready",
            "Nothing can be said of this run: no candidate launch was measured to its end",
        ],
    )


def attached() -> Run:
    run = broken()
    starts = [run.starts[0].model_copy(update={"ready_s": None, "server_args": []})]
    points = [p.model_copy(update={"low_ms": None, "high_ms": None}) for p in run.points]
    unsure: FindingVerdict = "inconclusive"
    return run.model_copy(
        update={
            "starts": starts,
            "points": points,
            "state": {**run.state, "replicated": False},
            "surface": None,
            "noise": None,
            "findings": [
                f.model_copy(
                    update={
                        "low": None,
                        "high": None,
                        "verdict": unsure,
                        "reason": "One launch gives no interval; two or more give a verdict.",
                    }
                )
                for f in findings()
            ],
            "verdict": "inconclusive",
            "warnings": [
                "A running server was measured: its launches cannot be replicated, so the "
                "intervals leave out how launches differ and are too narrow."
            ],
        }
    )


def many_points() -> Run:
    rng = random.Random(5)
    drawn = {
        Point(round(2 ** rng.uniform(4, 13)), round(2 ** rng.uniform(0, 12))) for _ in range(60)
    }
    return side_by_side(
        lambda p: 1.06 if p.context_tokens > 2000 else 1.0,
        "regression",
        "at long contexts, L of 2,000 and more",
        reason="Joint test p = 0.002.",
        points=[
            *profile().points,
            *sorted(drawn - set(profile().points), key=lambda p: p.append_tokens),
        ][:60],
    )


def huge_names() -> Run:
    """Hostile and overlong names everywhere a user's text can get in."""
    long = "/opt/environments/" + "very-long-directory-name/" * 12 + "bin/python3.12"
    evil = '<script>alert("x")</script> & "quoted" | `tick` *star* [a](b) @team'
    run = regression()
    assert run.comparison is not None
    comparison = run.comparison.model_copy(
        update={"reference": long + "-reference", "where": evil, "reason": evil}
    )
    bad = run.findings[0].model_copy(
        update={"claim": evil, "reason": evil, "argument": evil, "formula": "x" * 300}
    )
    return run.model_copy(
        update={
            "subject": {**run.subject, "sglang": long, evil: evil},
            "identity": {evil: {evil: evil}, "device": {"name": "N" * 400}},
            "comparison": comparison,
            "findings": [bad, *run.findings[1:]],
            "warnings": [evil, "w" * 500],
        }
    )


def turns_slower() -> Run:
    """Passes at the points, and is slower in later turns of a conversation."""
    return with_traffic(
        passing(),
        lambda e, c: 1.14 if e is TURNS and c.point.context_tokens > 500 else 1.0,
        experiments=(TURNS, TOGETHER, AGED),
    )


def replies_lost() -> Run:
    """Each turn prefills the last reply again."""
    return with_traffic(passing(), lambda _, __: 1.25, lost_tokens=50)


def unjudged() -> Run:
    run = broken()
    return run.model_copy(
        update={"verdict": None, "points": [], "findings": [], "surface": None, "noise": None}
    )


Sample = tuple[Run, Run | None]
SAMPLES: dict[str, Callable[[], Sample]] = {
    "regression": lambda: (regression(), None),
    "everywhere": lambda: (everywhere(), None),
    "suspected": lambda: (suspected(), baseline_run()),
    "pass": lambda: (passing(), baseline_run()),
    "improvement": lambda: (improvement(), None),
    "regime-shift": lambda: (regime_shift(), None),
    "inconclusive": lambda: (inconclusive(), None),
    "broken": lambda: (broken(), None),
    "against-study": lambda: (against_study(), study_run()),
    "study": lambda: (study_run(), None),
    "not-comparable": lambda: (not_comparable(), None),
    "infrastructure": lambda: (infrastructure(), None),
    "attached": lambda: (attached(), None),
    "many-points": lambda: (many_points(), None),
    "huge-names": lambda: (huge_names(), None),
    "turns-slower": lambda: (turns_slower(), None),
    "replies-lost": lambda: (replies_lost(), None),
    "unjudged": lambda: (unjudged(), None),
}
