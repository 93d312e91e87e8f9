"""Whatever valid record it is given, the judge ends in a verdict of the schema.

No traceback, no RuntimeWarning (`filterwarnings = error`), and nothing that JSON cannot hold.
"""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from append_prefill.analysis.noise import noise_of
from append_prefill.analysis.verdict.sequential import schedule_of
from append_prefill.records.comparison import Look
from append_prefill.records.figures import SD_MAX, TIME_MAX_MS, TIME_MIN_MS
from append_prefill.records.grounds import Decision, Side
from append_prefill.records.launch import BlockState, Series, Start, Void
from append_prefill.records.noise import NoisePoint, NoiseRecord
from append_prefill.records.run import Run, RunVerdict
from append_prefill.records.store import run_text
from append_prefill.run.comparing import compare_sides
from append_prefill.run.judge import judge, too_few_valid
from append_prefill.run.reference_side import reference_record
from append_prefill.run.references import References
from append_prefill.workload.points import Point
from tests.analysis.factory import POINTS, profile
from tests.records import builders

PROFILE = profile()
PLANNED = [Point(64, 128), Point(512, 32), Point(512, 1024), Point(2048, 128), Point(512, 512)]

# How far things scatter on the log scale: not at all, as the clock's grain, as servers do, wildly.
SCATTER = st.sampled_from([0.0, 1e-7, 0.003, 0.003, 0.02, 0.02, 0.3, 3.0])
LEVELS = st.sampled_from([20.0] * 6 + [20.5, 24.0, 0.5, TIME_MIN_MS, TIME_MAX_MS])
RARELY = st.sampled_from([0.0] * 5 + [0.2, 0.6])
COUNTS = st.sampled_from([0, 1, 2, 2, 3, 3, 5, 5])


@st.composite
def points(draw: st.DrawFn) -> list[Point]:
    return draw(
        st.one_of(
            st.just(list(POINTS)),
            st.just(PLANNED),
            st.lists(st.sampled_from(PLANNED), min_size=1, max_size=5, unique=True),
            st.lists(
                st.builds(Point, st.integers(1, 10**6), st.integers(1, 10**6)),
                min_size=1,
                max_size=4,
                unique=True,
            ),
        )
    )


@st.composite
def sides(draw: st.DrawFn, side: Side, common: list[Point], interleaved: bool) -> list[Start]:
    """Launches of a side, maybe with holes, invalid blocks and failures, and with any scatter.

    They measured the `common` points, or now and then others.
    """
    measured = draw(st.sampled_from([common] * 7 + [PLANNED]))
    samples = draw(st.sampled_from([4, 4, 3, 2, 1, 0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    level, launch, point, sample = draw(LEVELS), draw(SCATTER), draw(SCATTER), draw(SCATTER)
    holes, broken, invalid, torn = draw(RARELY), draw(RARELY), draw(RARELY), draw(RARELY)
    starts = []
    for index in range(draw(COUNTS)):
        log = np.log(level) + launch * rng.normal()
        lost = [block for block in range(samples) if rng.random() < invalid]
        valid = [block for block in range(samples) if block not in lost]
        series = []
        for p in measured:
            blocks = [] if rng.random() < holes else valid
            size = len(blocks)
            of_point = log + point * rng.normal() + sample * rng.normal(size=size)
            ttft = np.clip(np.exp(np.clip(of_point, -50, 50)), TIME_MIN_MS, TIME_MAX_MS)
            series.append(
                Series(
                    context_tokens=p.context_tokens,
                    append_tokens=p.append_tokens,
                    ttft_ms=ttft.tolist(),
                    e2e_ms=np.clip(ttft * 1.3, TIME_MIN_MS, TIME_MAX_MS).tolist(),
                    itl_ms=[None] * size,
                    output_tokens=[2 + 30 * int(rng.random() < 0.2) for _ in range(size)],
                    cached_tokens=[p.context_tokens] * size,
                    block=blocks,
                    void=[Void(reason="invalid block", count=1) for _ in lost]
                    + [Void(reason="wrong split", count=1)] * int(rng.random() < 0.2),
                )
            )
        starts.append(
            builders.start(
                index,
                side,
                series=series,
                pair=index + int(rng.random() < torn),
                interleaved=interleaved and rng.random() >= torn,
                measured_s=None if rng.random() < broken else 12.0,
                failure="died" if rng.random() < broken else None,
                state=[BlockState(block=b, side=side, void="throttled", readings={}) for b in lost],
                kv_links_gb_per_s={"host_to_device": 24.0} if rng.random() < 0.2 else None,
            )
        )
    return starts


SDS = st.one_of(
    st.none(), st.sampled_from([0.0, 1e-300, 1e-9, 0.01, 1.0, SD_MAX]), st.floats(0, SD_MAX)
)


@st.composite
def noises(draw: st.DrawFn) -> NoiseRecord:
    return NoiseRecord(
        starts=draw(st.integers(0, 60)),
        nights=draw(st.integers(0, 12)),
        start_sd=draw(SDS),
        within_sd=draw(SDS),
        night_sd=draw(SDS),
        night_assumed=draw(st.booleans()),
        pair_sd=draw(SDS),
        pairs=draw(st.integers(0, 40)),
        points=[
            NoisePoint(
                context_tokens=512,
                append_tokens=32,
                start_sd=draw(SDS),
                within_sd=draw(SDS),
                lag1=draw(st.sampled_from([None, -1.0, 0.5, 1.0])),
                effective_n=None,
            )
        ],
    )


@st.composite
def stored(draw: st.DrawFn, common: list[Point]) -> Run:
    """A stored run: of this identity or another, with or without a noise, maybe the study's."""
    changes: dict[str, Any] = {
        "noise": draw(st.none() | noises()),
        "state": {"replicated": draw(st.booleans())},
        "provenance": draw(st.sampled_from(["suite", "suite", "suite", "study"])),
    }
    if draw(st.booleans()):
        changes["points"] = []
    if draw(st.integers(0, 4)) == 0:
        changes["identity"] = builders.identity(driver="1.2.3")
    made = builders.run(draw(st.sampled_from(["0.5.19", "0.5.23"])), **changes)
    made.starts = draw(sides("candidate", common, interleaved=False))
    return made


@st.composite
def rolling(draw: st.DrawFn, common: list[Point]) -> Run:
    """Several sessions as one run, as `references.gather` makes it."""
    count = draw(st.integers(2, 5))
    nights = [draw(sides("candidate", common, interleaved=False)) for _ in range(count)]
    noise = noise_of(nights) if draw(st.booleans()) else None
    whole = [start for night in nights for start in night]
    return builders.run().model_copy(update={"starts": whole, "noise": noise})


@st.composite
def cases(draw: st.DrawFn) -> tuple[Run, References]:
    """A run, not judged, and what it is to be held against."""
    common, interleaved = draw(points()), draw(st.booleans())
    starts = draw(sides("candidate", common, interleaved))
    match draw(st.sampled_from(["one side", "both", "both", "the same samples on both"])):
        case "both":
            starts += draw(sides("reference", common, interleaved))
        case "the same samples on both":
            starts += [start.model_copy(update={"side": "reference"}) for start in starts]
    version = draw(st.sampled_from([{"sglang": "0.5.23"}, {"sglang": None}, {}]))
    run = builders.run(subject=version, points=[], surface=None, verdict=None)
    run.starts = starts
    if draw(st.booleans()):  # else one of other points than the profile's
        run.plan.points = [(p.context_tokens, p.append_tokens) for p in POINTS]
    return run, References(
        chosen=draw(st.none() | stored(common)),
        pinned=draw(st.none() | stored(common)),
        rolling=draw(st.none() | rolling(common)),
        noise=draw(st.none() | noises()),
    )


@given(
    case=cases(),
    replicable=st.booleans(),
    kv_bytes=st.sampled_from([None, 1, 131_072]),
    interim=st.booleans(),
)
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_every_valid_record_ends_in_a_verdict(case, replicable, kv_bytes, interim):
    run, against = case
    looks = []
    if interim:
        alpha = schedule_of(PROFILE.policy, 2).analyses[0].alpha
        live = compare_sides(run, PROFILE, against, alpha=alpha)
        looks = [
            Look(
                look=1,
                candidate_starts=2,
                reference_starts=2,
                threshold=alpha,
                verdict="inconclusive" if live is None else live.verdict,
                suspects=[],
                decision=Decision(code="last"),
            )
        ]
    assert isinstance(too_few_valid(run, PROFILE), list)
    judged = judge(
        run,
        PROFILE,
        references=against,
        kv_bytes_per_token=kv_bytes,
        replicable=replicable,
        looks=looks,
    )
    beside = reference_record(judged, PROFILE)
    for record in (judged, *([] if beside is None else [beside])):
        assert record.verdict in get_args(RunVerdict)
        text = run_text(record)
        assert run_text(Run.model_validate_json(text)) == text
