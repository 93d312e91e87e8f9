"""A control: what both sessions had beside them turns a session's level into a ratio.

Sessions here differ by tens of per cent in all they measure; the ratio to the control does not.
"""

import random

import pytest

from append_prefill.analysis.prior import prior_of
from append_prefill.records.baselines import save_baseline
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.run.against import control_of
from append_prefill.run.judge import judge
from append_prefill.run.references import References
from append_prefill.workload.policy import Noise
from tests.report.parts import Model, bare, profile, starts_of, study_points

POINTS = study_points()
PROFILE = profile()
CONTROL = "0.5.15"


def session(version, change=1.0, *, night=1.0, pairs=5, seed=1, control=CONTROL, role=True) -> Run:
    """A session of `version` with the control beside it; `night` is how slow all of it is."""
    rng = random.Random(seed)
    starts = []
    for side, name, factor in (
        ("candidate", version, change * night),
        ("reference", control, night),
    ):
        made = starts_of(
            POINTS,
            side,
            Model(),
            rng,
            count=pairs,
            sd=0.004,
            change=lambda _, factor=factor: factor,
            version=name,
        )
        starts += [
            start.model_copy(update={"interleaved": True, "alternated": "sample"}) for start in made
        ]
    run = bare(POINTS, PROFILE, starts)
    told = control if role else None
    return run.model_copy(
        update={
            "plan": run.plan.model_copy(update={"control": told}),
            "subject": {**run.subject, "sglang": version},
        }
    )


def judged(run, stored):
    return judge(
        run,
        PROFILE,
        references=References(stored),
        kv_bytes_per_token=131_072,
        replicable=True,
    )


@pytest.mark.parametrize(
    ("change", "verdict"), [(1.06, "regression"), (0.94, "improvement"), (1.0, "pass")]
)
def test_a_night_that_is_slow_in_everything_does_not_hide_what_changed(change, verdict):
    result = judged(
        session("0.5.23", change, night=1.3, seed=2), session("0.5.22", seed=3)
    ).comparison
    assert (result.kind, result.verdict) == ("baseline", verdict)
    assert (result.method.control, result.method.statistic) == (CONTROL, "like_samples")
    assert result.level.ratio == pytest.approx(change, rel=0.01)


def test_without_the_control_the_same_nights_tell_nothing():
    run, stored = session("0.5.23", 1.06, night=1.3, seed=2), session("0.5.22", seed=3)
    alone = run.model_copy(
        update={
            "starts": run.beside("candidate") or [s for s in run.starts if s.side == "candidate"]
        }
    )
    result = judged(alone, stored).comparison
    assert result.method.control is None
    assert result.level.ratio == pytest.approx(1.06 * 1.3, rel=0.02)


def test_the_control_itself_is_never_held_against_the_candidate():
    run = session("0.5.23", 1.2)
    assert run.beside("candidate") == run.beside("reference") == []
    assert judged(run, None).comparison is None
    assert len(run.control_pairs(CONTROL)) == 5


def test_what_was_measured_for_its_own_sake_serves_as_a_control_too():
    run = session("0.5.23", 1.06, night=1.2, seed=2, role=False)
    stored = session("0.5.22", seed=3, role=False)
    result = judged(run, stored)
    assert result.comparison.kind == "side-by-side"
    (other,) = result.comparison.others
    assert other.method.control == CONTROL
    assert other.level.ratio == pytest.approx(1.06, rel=0.01)


@pytest.mark.parametrize(
    ("run", "stored"),
    [
        (session("0.5.23", pairs=1), session("0.5.22")),
        (session("0.5.23"), session("0.5.22", pairs=1)),
        (session("0.5.23"), session("0.5.22", control="0.5.9")),
    ],
    ids=["one pair", "one pair stored", "another version"],
)
def test_a_control_is_one_that_both_have_in_two_pairs(run, stored):
    assert control_of(run, stored) is None


def test_two_pairs_of_each_session_are_enough_for_a_control():
    found = control_of(session("0.5.23", pairs=2), session("0.5.22", pairs=2))
    assert found is not None
    assert found.version == CONTROL


def test_a_suspect_measured_beside_the_candidate_later_is_judged_without_the_control_pairs():
    """A stored run suspects, and the same run goes on with the suspect in place of the control."""
    run = session("0.5.23", 1.06, pairs=3)
    later = session("0.5.23", 1.06, pairs=4, seed=5, control="0.5.22").starts
    more = [s.model_copy(update={"index": s.index + 3, "pair": s.pair + 3}) for s in later]
    both = run.model_copy(update={"starts": [*run.starts, *more]})
    assert {s.version for s in both.beside("reference")} == {"0.5.22"}
    result = judged(both, None).comparison
    assert (result.kind, result.reference_version) == ("side-by-side", "0.5.22")
    assert result.verdict == "regression"


def test_a_stored_run_keeps_its_control_and_no_other_reference(tmp_path):
    of_control, beside = session("0.5.23"), session("0.5.22", role=False)
    for run, kept in ((of_control, {"candidate", "reference"}), (beside, {"candidate"})):
        path = save_baseline(judged(run, None), tmp_path)
        assert {s.side for s in read_run(path, option="x").starts} == kept


def test_how_ratios_differ_by_session_is_assumed_unless_it_is_known():
    noise = Noise(
        start_sd=0.05,
        within_sd=0.1,
        night_sd=0.08,
        pair_sd=0.01,
        argument="Only for this test, whatever it says.",
    )
    prior = prior_of(noise).through_control()
    assert (prior.start_sd, prior.night_sd) == (0.01, pytest.approx(0.003))
    record = NoiseRecord(
        starts=20,
        nights=5,
        start_sd=0.05,
        within_sd=0.1,
        night_sd=0.08,
        pair_sd=0.01,
        pairs=10,
        ratio_night_sd=0.002,
        points=[],
    )
    known = prior_of(record).through_control()
    assert (known.night_sd, known.night_df) == (0.002, 4.0)
