import numpy as np
import pytest

from append_prefill.analysis.findings import (
    FINDINGS,
    Inputs,
    NotApplicableError,
    append,
    band,
    context,
    ends,
    planned,
    ranges_of,
    total,
)
from append_prefill.analysis.measures import elasticity, log_table
from append_prefill.analysis.verdict.findings import judge_findings
from append_prefill.analysis.verdict.regime import Against
from append_prefill.records.launch import Start
from append_prefill.records.run import Finding
from append_prefill.report.finding_reasons import finding_reason
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile
from tests.analysis.factory import POINTS, profile, start, starts_of

PROFILE = profile()
M = np.array([p.append_tokens for p in POINTS])
CONTEXT = np.array([p.context_tokens for p in POINTS])
WHY = {"argument": "An argument of at least twenty letters."}


def judged(
    starts: list[Start],
    profile: Profile = PROFILE,
    *,
    reference=None,
    before=(),
    kv=131_072,
    link=450.0,
) -> dict[str, Finding]:
    found = judge_findings(
        starts,
        profile,
        against=None if reference is None else Against({}, reference),
        before=before,
        kv_bytes_per_token=kv,
        link_gb_per_s=link,
    )
    return {finding.id: finding for finding in found if finding.id in PROFILE.bounds}


def flat(starts: int = 5, sd: float = 0.01, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(starts, 1))
    return np.log(20) + sd * common + sd * rng.normal(size=(starts, len(POINTS)))


def test_ids_are_the_audits() -> None:
    assert [spec.id for spec in FINDINGS if spec.id in PROFILE.bounds] == [
        "cache_rate_band",
        "scale_factor",
        "append_flatness",
        "context_flatness",
        "context_factor",
        "cache_range_consistency",
        "ttft_share",
        "kv_transfer_time",
    ]


def test_a_flat_ttft_holds_everything() -> None:
    found = judged(starts_of(flat()))
    assert {f.id for f in found.values() if f.verdict == "holds"} == set(found) - {"ttft_share"}
    assert found["ttft_share"].verdict == "not-applicable"
    for finding in found.values():
        if finding.verdict == "holds":
            assert finding.low is not None
            assert finding.high is not None
            assert finding.low <= finding.measured <= finding.high <= finding.bound


def test_linear_prefill_breaks_the_study() -> None:
    linear = flat() + np.log(1 + 0.01 * M)
    found = judged(starts_of(linear))
    for name in ("cache_rate_band", "scale_factor", "append_flatness", "cache_range_consistency"):
        assert found[name].verdict == "broken", name
    assert found["context_flatness"].verdict == "holds"
    assert found["append_flatness"].details["elasticity_over_append"] > 0.3
    assert "No reference" in finding_reason(found["append_flatness"])


def test_one_start_reaches_no_verdict() -> None:
    found = judged(starts_of(flat(starts=1)))
    for finding in found.values():
        if finding.id != "ttft_share":
            assert finding.verdict == "inconclusive"
            assert finding.measured is not None
            assert (finding.low, finding.high) == (None, None)


def test_no_start_at_all_is_inconclusive_not_green() -> None:
    found = judged([])
    for finding in found.values():
        assert finding.measured is None
        assert finding.verdict == (
            "not-applicable" if finding.id == "ttft_share" else "inconclusive"
        )
    assert "no valid sample at" in finding_reason(found["append_flatness"])


def test_a_bound_inside_the_interval_is_inconclusive() -> None:
    table = flat(starts=3, sd=0.03) + np.log(1.2) * (M == 1024)
    assert judged(starts_of(table))["append_flatness"].verdict == "inconclusive"


def test_a_planned_point_without_samples_is_inconclusive() -> None:
    table = flat()
    table[:, POINTS.index(Point(512, 1024))] = np.nan
    finding = judged(starts_of(table))["append_flatness"]
    assert finding.verdict == "inconclusive"
    assert "L512-m1024" in finding_reason(finding)


def test_what_the_profile_does_not_plan_does_not_apply() -> None:
    keep = [e.model_dump() for e in PROFILE.experiments if e.id != "append"]
    finding = judged(starts_of(flat()), profile(experiments=keep))["append_flatness"]
    assert finding.verdict == "not-applicable"
    assert "no experiment 'append'" in finding_reason(finding)


def test_bounds_decide_what_is_gated() -> None:
    bounds = {
        "append_flatness": {"limit": 1.2, "meaningful": False, **WHY},
        "context_flatness": WHY,
    }
    found = judged(starts_of(flat()), profile(bounds=bounds))
    meaningless, reported = found["append_flatness"], found["context_flatness"]
    assert (meaningless.verdict, finding_reason(meaningless)) == ("not-applicable", WHY["argument"])
    assert (reported.verdict, finding_reason(reported)) == (
        "not-applicable",
        "Reported, not gated.",
    )
    assert reported.measured is not None
    assert reported.low is not None
    assert "sets no bound" in finding_reason(found["scale_factor"])


def test_a_lower_floor_is_a_regime_shift() -> None:
    before = np.full(len(POINTS), np.log(20.0))
    reference = dict.fromkeys(POINTS, 20.0)
    # Small m gets 30 % faster, m >= 700 stays: the study's ratio breaks, nothing is slower.
    after = flat(sd=0.005) + np.log(0.7) * (M < 700)
    found = judged(starts_of(after), reference=reference)
    assert found["append_flatness"].verdict == "regime-shift"
    assert found["cache_rate_band"].verdict == "regime-shift"
    # The same ratio from a slower far end is broken.
    slower = before + np.log(1 / 0.7) * (M > 700) + (flat(sd=0.005) - np.log(20))
    found = judged(starts_of(slower), reference=reference)
    assert found["append_flatness"].verdict == "broken"
    assert "far end at 1.4" in finding_reason(found["append_flatness"])


def test_a_reference_without_the_points_explains_nothing() -> None:
    after = flat(sd=0.005) + np.log(0.7) * (M < 700)
    finding = judged(starts_of(after), reference={Point(1, 1): 20.0})["append_flatness"]
    assert finding.verdict == "broken"
    assert "lacks the points" in finding_reason(finding)


def test_what_was_beyond_the_bound_before_is_nothing_this_version_brought() -> None:
    """Every run on a server whose floor fell long ago would else be red."""
    after = np.log(0.7) * (M < 700)
    tonight, stored = starts_of(flat(sd=0.005) + after), starts_of(flat(sd=0.005, seed=1) + after)
    reference = dict(zip(POINTS, 20 * np.exp(after), strict=True))
    found = judged(tonight, reference=reference, before=stored)
    for name in ("append_flatness", "cache_rate_band"):
        assert (found[name].verdict, found[name].standing) == ("regime-shift", True)
        assert "The reference is, too, at " in finding_reason(found[name])
    # A reference that held makes it this version's doing.
    held = starts_of(flat(sd=0.005, seed=1))
    finding = judged(tonight, reference=dict.fromkeys(POINTS, 14.0), before=held)["append_flatness"]
    assert (finding.verdict, finding.standing) == ("broken", False)
    # Against a reference that had shifted less, a floor that falls further is news again.
    higher = dict(zip(POINTS, 22 * np.exp(0.5 * after), strict=True))
    finding = judged(tonight, reference=higher, before=stored)["append_flatness"]
    assert (finding.verdict, finding.standing) == ("regime-shift", False)


def test_further_beyond_the_bound_than_the_reference_is_broken_all_the_same() -> None:
    shifted = np.log(0.7) * (M < 700)
    worse = shifted + np.log(1.3) * (M == 1024)
    tonight, stored = starts_of(flat(sd=0.005) + worse), starts_of(flat(sd=0.005, seed=1) + shifted)
    reference = dict(zip(POINTS, 20 * np.exp(shifted), strict=True))
    finding = judged(tonight, reference=reference, before=stored)["append_flatness"]
    assert (finding.verdict, finding.standing) == ("broken", False)
    assert "this version is further out" in finding_reason(finding)


def test_a_reference_that_lacks_the_points_excuses_nothing() -> None:
    after = flat(sd=0.005) + np.log(0.7) * (M < 700)
    stored = starts_of(after[:, :3], POINTS[:3])
    finding = judged(starts_of(after), before=stored)["append_flatness"]
    assert finding.verdict == "broken"


def test_drawn_points_and_reference_starts_change_nothing() -> None:
    starts = starts_of(flat())
    other = starts_of(flat(seed=1) + 3, side="reference", first=5)
    assert judged([*starts, *other]) == judged(starts)


def test_transfer_is_cheap_on_nvlink_and_not_on_pcie() -> None:
    starts = starts_of(flat())
    slow, fast = judged(starts, link=25.0), judged(starts, link=450.0)
    assert slow["kv_transfer_time"].verdict == "broken"
    assert slow["kv_transfer_time"].measured == pytest.approx(5.37 / 20, rel=0.02)
    assert fast["kv_transfer_time"].verdict == "holds"
    details = slow["kv_transfer_time"].details
    assert details["transfer_ms"] == pytest.approx(5.3687, abs=1e-4)
    assert details["study_transfer_ms"] == 0.04
    assert details["study_off_by"] == 128
    assert details["context_tokens"] == 1024
    assert "Refuted as the study states it" in finding_reason(fast["kv_transfer_time"])
    assert judged(starts, kv=None)["kv_transfer_time"].verdict == "not-applicable"


def test_links_the_device_was_seen_to_have_stand_beside_the_nominal_one() -> None:
    starts = starts_of(flat())
    assert "host_to_device_gb_per_s" not in judged(starts)["kv_transfer_time"].details
    starts[0] = starts[0].model_copy(update={"kv_links_gb_per_s": {"host_to_device": 50.0}})
    details = judged(starts)["kv_transfer_time"].details
    assert details["host_to_device_gb_per_s"] == 50.0
    assert details["host_to_device_transfer_ms"] == pytest.approx(2.684, abs=1e-3)


def test_ttft_share_takes_the_samples_with_the_planned_output() -> None:
    starts = [
        start(i, {Point(512, 128): [20.0, 20.0]}, output_tokens=32, e2e_ms=[200.0 + i, 220.0])
        for i in range(2)
    ]
    finding = judged(starts)["ttft_share"]
    assert finding.measured == pytest.approx(0.0953, abs=5e-4)
    assert finding.low is not None
    assert finding.verdict == "not-applicable"
    assert finding_reason(finding) == "Reported, not gated."
    short = [start(0, {Point(512, 128): [20.0]}, output_tokens=2)]
    assert "32 output tokens" in finding_reason(judged(short)["ttft_share"])


def test_ranges_count_a_point_once_for_each_experiment() -> None:
    counts = {name: len(points) for name, points in ranges_of(PROFILE).items()}
    assert counts == {"low": 2, "mid": 11, "high": 8}


def test_experiments_beyond_the_studys_are_not_in_its_ranges() -> None:
    more = [e.model_dump() for e in PROFILE.experiments]
    more.append({"id": "beyond", "title": "beyond", "points": [[1024, 4096]]})
    assert ranges_of(profile(experiments=more)) == ranges_of(PROFILE)


@pytest.mark.simulation
def test_noise_at_the_bound_breaks_nothing_above_the_nominal_rate() -> None:
    """TTFT exactly at each bound: `broken` in at most 2.5 % of sessions for each finding.

    200 sessions; at a true 2.5 % more than 13 (6.5 %) are seen once in 1000 seeds.
    """
    rng = np.random.default_rng(3)
    far_append = np.log(1.2) * (M == 1024)
    broken = 0
    for _ in range(200):
        noise = 0.02 * rng.normal(size=(4, 1)) + 0.02 * rng.normal(size=(4, len(POINTS)))
        broken += judged(starts_of(noise + far_append))["append_flatness"].verdict == "broken"
    assert broken <= 13


# What each kind of finding measures and tells beside it, on few points.

A, B, C = Point(100, 100), Point(300, 100), Point(100, 300)
CELLS = {A: {0: 10.0, 1: 11.0}, B: {0: 12.0, 1: 14.0}, C: {0: 30.0, 1: 36.0}}


def inputs(points=(A, B, C), cells=CELLS, starts=(), experiment="append", **changes) -> Inputs:
    row = {"id": experiment, "title": "x", "points": [pair(p) for p in points]}
    given = {"kv_bytes_per_token": 1000, "link_gb_per_s": 2.0} | changes
    of = profile(experiments=[row], bounds={})
    return Inputs(starts, cells, of, **given)


def pair(point: Point) -> tuple[int, int]:
    return point.context_tokens, point.append_tokens


def geometric(point: Point) -> float:
    return float(np.sqrt(CELLS[point][0] * CELLS[point][1]))


def test_ends_tell_their_ratio_and_the_elasticities_beside_it() -> None:
    measure = ends("append", append, {"append": append, "total": total}, over=total)
    found = measure(inputs())
    # m from 100 to 300 at L = 100, so N from 200 to 400.
    assert found.value == pytest.approx(geometric(C) / geometric(A) / 2)
    assert (found.near, found.far) == ((A,), (C,))
    table = log_table(CELLS, [A, B, C])
    assert found.details == {
        "elasticity_over_append": pytest.approx(elasticity(table, [100, 100, 300])),
        "elasticity_over_total": pytest.approx(elasticity(table, [200, 400, 400])),
        "max_over_min": pytest.approx(geometric(C) / geometric(A)),
    }
    plain = ends("append", append, {})(inputs())
    assert plain.value == pytest.approx(geometric(C) / geometric(A))


def test_two_different_points_are_enough_for_ends_and_for_a_band() -> None:
    assert ends("append", append, {})(inputs((A, C))).value == pytest.approx(
        geometric(C) / geometric(A)
    )
    assert band("append")(inputs((A, B))).value == pytest.approx(1 - geometric(A) / geometric(B))
    with pytest.raises(NotApplicableError, match="append has fewer than two different points"):
        ends("append", append, {})(inputs((A, B)))
    with pytest.raises(NotApplicableError, match="append has fewer than two points"):
        band("append")(inputs((A,)))


def test_axes_are_those_of_the_point() -> None:
    assert (context(B), append(B), total(B)) == (300.0, 100.0, 400.0)
    assert planned(inputs().profile, "append") == (A, B, C)


@pytest.mark.parametrize(("points", "applies"), [((A, B), True), ((A,), False), ((B,), False)])
def test_ranges_need_two_of_the_three(points, applies) -> None:
    """A has a cache rate of a half, B of three quarters."""
    rows = [
        {"id": name, "title": name, "points": [pair(p) for p in points]}
        for name in ("cache_rate", "scale", "append", "context")
    ]
    of = profile(experiments=rows, bounds={})
    (ranges,) = (spec for spec in FINDINGS if spec.id == "cache_range_consistency")
    given = Inputs((), CELLS, of, None, 1.0)
    if applies:
        assert ranges.measure(given).value == pytest.approx(geometric(B) / geometric(A))
    else:
        with pytest.raises(NotApplicableError, match="one range of the cache rate"):
            ranges.measure(given)


def measure_of(name: str):
    (spec,) = (spec for spec in FINDINGS if spec.id == name)
    return spec.measure


def test_a_share_of_ttft_is_of_the_candidates_medians() -> None:
    starts = [
        start(0, {A: [10.0, 20.0, 40.0]}, output_tokens=32, e2e_ms=[100.0, 100.0, 100.0]),
        start(1, {A: [30.0]}, output_tokens=32, e2e_ms=[100.0]),
        start(2, {A: [90.0]}, output_tokens=32, e2e_ms=[100.0], side="reference"),
        start(3, {A: [90.0]}, output_tokens=2, e2e_ms=[100.0]),
    ]
    found = measure_of("ttft_share")(inputs(starts=starts))
    assert (found.value, found.starts) == (pytest.approx(np.sqrt(0.2 * 0.3)), 2)


def test_a_transfer_is_told_with_everything_it_is_made_of() -> None:
    """3000 is nearer to 1024 than 100, by ratio; of two points there the shorter m counts."""
    far, near, longer = Point(100, 32), Point(3000, 32), Point(3000, 64)
    cells = {near: {0: 10.0, 1: 40.0}, longer: {0: 1.0}, far: {0: 1.0}}
    starts = [
        start(0, {near: [1.0]}),
        start(1, {near: [1.0]}).model_copy(update={"kv_links_gb_per_s": {"peer": 4.0}}),
        start(2, {near: [1.0]}).model_copy(update={"kv_links_gb_per_s": {"peer": 9.0}}),
    ]
    found = measure_of("kv_transfer_time")(inputs((far, longer, near), cells, starts))
    took_ms = 1000 * 3000 / 2e9 * 1e3
    assert found.value == pytest.approx(took_ms / 20)
    assert (found.near, found.far, found.starts) == ((near,), (), 2)
    assert found.details == {
        "kv_bytes_per_token": 1000.0,
        "link_gb_per_s": 2.0,
        "context_tokens": 3000.0,
        "append_tokens": 32.0,
        "transfer_ms": pytest.approx(took_ms),
        "ttft_ms": pytest.approx(20.0),
        "study_transfer_ms": 0.04,
        "corrected_study_transfer_ms": pytest.approx(5.36870912),
        "study_off_by": 128.0,
        "peer_gb_per_s": 4.0,
        "peer_transfer_ms": pytest.approx(took_ms / 2),
    }
    state = inputs((near,), cells, starts, kv_fixed_bytes=1_000_000)
    more = measure_of("kv_transfer_time")(state).details
    assert more["transfer_ms"] == pytest.approx(took_ms + 0.5)
    assert (more["kv_fixed_bytes"], more["kv_bytes_per_token"]) == (1e6, 1000)
    assert more["peer_transfer_ms"] == pytest.approx((took_ms + 0.5) / 2)
