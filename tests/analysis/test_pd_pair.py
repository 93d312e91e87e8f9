import pytest
from scipy import stats

from append_prefill.analysis.pd_pair import pair_finding, summarise_backend
from append_prefill.records.pd_pair import PairBackend, PairLaunch, PairSeries
from append_prefill.workload.experiment import Bound
from append_prefill.workload.pd_pair import PdPair
from tests.analysis.factory import profile

WHY = "An argument of at least twenty letters."
POINTS = [(512, 128), (1024, 128), (8192, 128)]
TOKEN_BYTES = 100_000
PLAN = PdPair(backends=("nixl", "tcp"), points=tuple(POINTS), argument=WHY)


def launch(index, *, fixed_ms=5.0, ms_per_gb=40.0, alone_ms=20.0, points=POINTS, failure=None):
    def series(context, append):
        more = fixed_ms + ms_per_gb * (context + append) * TOKEN_BYTES / 1e9
        return PairSeries(
            context_tokens=context,
            append_tokens=append,
            alone_ms=[alone_ms + late for late in (0, 1, 1, 1, 2)],
            pair_ms=[alone_ms + more + late for late in (0, 1, 1, 1, 9)],
            void=0,
        )

    taken = [] if failure else [series(*point) for point in points]
    return PairLaunch(index=index, series=taken, failure=failure)


def backend(name="nixl", launches=None):
    launches = launches or [launch(0, fixed_ms=4.0), launch(1, fixed_ms=5.0), launch(2, fixed_ms=6)]
    reason = None if any(one.failure is None for one in launches) else launches[-1].failure
    return PairBackend(backend=name, launches=launches, reason=reason)


def with_pair(limit):
    bound = Bound(limit=limit, argument=WHY)
    made = profile()
    return made.model_copy(
        update={"pd_pair": PLAN, "bounds": {**made.bounds, "pd_pair_time": bound}}
    )


def judged(*backends, limit=0.5):
    return pair_finding([summarise_backend(b, TOKEN_BYTES) for b in backends], with_pair(limit))


def test_the_handshake_and_the_link_are_told_apart():
    told = summarise_backend(backend(), TOKEN_BYTES)
    assert told.fixed_ms.value == pytest.approx(5)
    assert told.fixed_ms.low < 4
    assert told.fixed_ms.high > 6
    assert told.ms_per_gb.value == pytest.approx(40)
    assert told.gb_per_s == pytest.approx(25)
    near = told.points[1]
    assert near.moved_bytes == 1152 * TOKEN_BYTES
    assert near.alone_ms.value == 21
    assert near.more_ms.value == pytest.approx(5 + 40 * 0.1152)


def test_two_lengths_are_a_line_and_one_is_none():
    two = summarise_backend(backend(launches=[launch(0, points=POINTS[:2])]), TOKEN_BYTES)
    assert two.fixed_ms.value == pytest.approx(5, rel=1e-11)
    assert two.ms_per_gb.value == pytest.approx(40, rel=1e-11)
    same = [(512, 128), (128, 512)]  # of 640 tokens each
    one = summarise_backend(backend(launches=[launch(0, points=same)]), TOKEN_BYTES)
    assert (one.fixed_ms.value, one.ms_per_gb.value) == (None, None)


def test_bytes_that_any_prompt_sends_are_sent_too():
    told = summarise_backend(backend(), TOKEN_BYTES, 7)
    assert [p.moved_bytes for p in told.points] == [
        tokens * TOKEN_BYTES + 7 for tokens in (640, 1152, 8320)
    ]


def test_a_point_without_a_valid_sample_has_no_time_and_is_not_judged():
    launches = [launch(0), launch(1)]
    for one in launches:
        one.series[1].alone_ms, one.series[1].pair_ms = [], []
    told = summarise_backend(backend(launches=launches), TOKEN_BYTES)
    assert (told.points[1].alone_ms.value, told.points[1].more_ms.value) == (None, None)
    assert told.points[0].alone_ms.value == 21
    assert told.ms_per_gb.value == pytest.approx(40)
    finding = judged(backend(launches=launches))
    assert (finding.verdict, finding.reason.code) == ("inconclusive", "not-measured")
    assert (finding.measured, finding.low, finding.high) == (None, None, None)


def test_without_a_geometry_there_are_points_and_no_line():
    told = summarise_backend(backend(), None)
    assert [point.moved_bytes for point in told.points] == [None] * 3
    assert told.ms_per_gb.value is None
    assert told.gb_per_s is None


def test_what_takes_no_longer_with_more_bytes_is_no_speed():
    flat = backend(launches=[launch(0, ms_per_gb=-1.0), launch(1, ms_per_gb=-1.0)])
    assert summarise_backend(flat, TOKEN_BYTES).gb_per_s is None


@pytest.mark.parametrize(
    ("limit", "verdict", "code"),
    [
        (0.6, "holds", "within"),
        (0.47, "inconclusive", "straddles"),
        (0.3, "broken", "pair-costs"),
        (None, "not-applicable", "not-gated"),
    ],
)
def test_the_share_at_the_studys_length_is_held_against_the_bound(limit, verdict, code):
    """(4 to 6 + 4.6) / 21 ms."""
    finding = judged(backend(), limit=limit)
    half = stats.t(2).ppf(0.975) * (1 / 21) / 3**0.5
    assert finding.measured == pytest.approx((5 + 4.608) / 21)
    assert finding.low == pytest.approx(finding.measured - half)
    assert finding.high == pytest.approx(finding.measured + half)
    assert (finding.bound, finding.argument) == (limit, WHY)
    assert (finding.verdict, finding.reason.code) == (verdict, code)
    assert finding.details["nixl_ms_per_gb"] == pytest.approx(40)


def test_launches_that_agree_leave_open_what_their_own_samples_do():
    """Two launches of 21 and 21 ms, each of two samples 2 ms apart: 1 / 21 of scatter each."""
    launches = [launch(0), launch(1)]
    for one in launches:
        at = one.series[1]
        at.alone_ms, at.pair_ms = [21.0, 21.0], [25.0, 27.0]
    finding = judged(backend(launches=launches))
    half = stats.t(2).ppf(0.975) * (1 / 21) / 2**0.5
    assert (finding.low, finding.high) == pytest.approx((5 / 21 - half, 5 / 21 + half))


def test_without_a_bound_there_is_nothing_to_hold_it_against():
    own = with_pair(0.5)
    unbound = own.model_copy(update={"bounds": profile().bounds})
    finding = pair_finding([summarise_backend(backend(), TOKEN_BYTES)], unbound)
    assert (finding.bound, finding.argument, finding.reason.code) == (None, "", "no-bound")
    assert finding.measured == pytest.approx((5 + 4.608) / 21)


def test_the_size_of_the_kv_is_told_where_it_is_known():
    gone = [backend("nixl", [launch(0, failure="gone")])]
    assert pair_finding(gone, with_pair(0.5), TOKEN_BYTES, 7).details == {
        "kv_bytes_per_token": TOKEN_BYTES,
        "kv_fixed_bytes": 7,
    }


def test_one_launch_decides_nothing():
    assert judged(backend(launches=[launch(0)])).reason.code == "one-launch"


def test_the_first_backend_that_ran_is_judged():
    gone = backend("nixl", [launch(0, failure="no module")])
    finding = judged(gone, backend("tcp"), limit=0.6)
    assert finding.verdict == "holds"
    assert set(finding.details) == {"tcp_fixed_ms", "tcp_ms_per_gb"}


def test_where_no_pair_runs_it_is_not_applicable_for_each_reason():
    gone = [backend(name, [launch(0, failure=f"no {name}")]) for name in ("nixl", "tcp")]
    finding = judged(*gone)
    assert (finding.verdict, finding.reason.code) == ("not-applicable", "no-pair")
    assert finding.reason.text == "nixl: no nixl; tcp: no tcp"
    assert (finding.measured, finding.low, finding.details) == (None, None, {})


def test_a_launch_that_failed_is_left_out():
    told = summarise_backend(backend(launches=[launch(0), launch(1, failure="gone")]), TOKEN_BYTES)
    assert told.fixed_ms.value == pytest.approx(5)
    assert told.fixed_ms.low is None


def test_nothing_is_found_where_none_was_planned():
    assert pair_finding([], with_pair(0.5)) is None
    assert pair_finding([backend()], profile()) is None


def test_what_was_taken_one_way_alone_is_no_entry() -> None:
    with pytest.raises(ValueError, match="alone_ms has 1 entries and pair_ms 2"):
        PairSeries(context_tokens=8, append_tokens=8, alone_ms=[1.0], pair_ms=[2.0, 3.0], void=0)
