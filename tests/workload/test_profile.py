import json

import pytest

from append_prefill.analysis.findings import STUDY_EXPERIMENTS
from append_prefill.errors import UsageError
from append_prefill.records.definition import definition_of, protocol_of
from append_prefill.workload.loading import load_profile, shipped_profiles
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profiles_validate_and_argue_every_bound(name):
    profile = load_profile(name)
    assert profile.name == name
    assert {e.id for e in profile.experiments} >= {"cache_rate", "scale", "append", "context"}
    assert all(len(bound.argument) > 40 for bound in profile.bounds.values())


def test_the_llama_profile_has_the_studys_points():
    profile = load_profile("llama-3.1-8b")
    studys = [profile.experiment(name) for name in STUDY_EXPERIMENTS]
    assert sum(len(e.points) for e in studys) == 21
    assert len({point for e in studys for point in e.as_points}) == 18
    assert profile.experiments_of(Point(512, 512))[:3] == ["cache_rate", "scale", "append"]
    assert profile.experiments_of(Point(1, 1)) == []


def test_a_bound_without_an_argument_does_not_validate(tmp_path):
    data = load_profile("cpu-nano").model_dump(mode="json")
    data["bounds"]["scale_factor"]["argument"] = "because"
    with pytest.raises(ValueError, match="argument"):
        Profile.model_validate(data)


LONG_ENOUGH = "The span is 4: in proportion it would be 4."
MINE = {
    "id": "mine",
    "title": "Mine",
    "points": [[1024, 32], [1024, 64], [1024, 128]],
    "findings": [
        {
            "id": "mine_flat",
            "claim": "Flat",
            "measure": "append_ends",
            "limit": 1.2,
            "argument": LONG_ENOUGH,
        }
    ],
}


def refused(tmp_path, experiment=MINE, **finding):
    """What is said of an own profile with that experiment, its finding changed."""
    toml = 'extends = "cpu-nano"\nname = "own"\n[[experiments]]\n'
    own = {**experiment["findings"][0], **finding}
    for table, values in (("", experiment), ("[[experiments.findings]]\n", own)):
        lines = (f"{k} = {json.dumps(v)}\n" for k, v in values.items() if k != "findings")
        toml += table + "".join(lines)
    path = tmp_path / "own.toml"
    path.write_text(toml)
    with pytest.raises(UsageError) as caught:
        load_profile(str(path))
    return str(caught.value)


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        (
            {"measure": "slope"},
            "experiments.mine.findings.mine_flat.measure: Input should be 'append_ends', "
            "'context_ends', 'total_ends', 'total_factor' or 'band'",
        ),
        (
            {"argument": "seems fine"},
            "experiments.mine.findings.mine_flat.argument: Value error, 'seems fine' is no "
            "argument for a number that can turn a run red: say in 20 characters or more why it is "
            "this one and not twice or half of it",
        ),
        ({"limit": 0}, "experiments.mine.findings.mine_flat.limit"),
        ({"id": "Mine!"}, "experiments.mine.findings.Mine!.id"),
        ({"axis": "append"}, "experiments.mine.findings.mine_flat.axis: Extra inputs"),
        ({"id": "append_flatness"}, "two findings share an id: append_flatness"),
        (
            {"measure": "context_ends"},
            "mine_flat: context_ends takes one point with the fewest and one with the most context "
            "tokens, and the points have [1024, 1024, 1024]",
        ),
    ],
)
def test_a_claim_that_cannot_be_is_refused_by_its_place(tmp_path, finding, said):
    assert said in refused(tmp_path, **finding)


def test_points_that_cannot_be_are_refused_by_their_place(tmp_path):
    said = refused(tmp_path, MINE | {"points": [[0, 32], [8, 64]]})
    assert "experiments.mine.points: Value error, a point needs at least one context" in said
    one = refused(tmp_path, MINE | {"points": [[1024, 32]]})
    assert "mine_flat: append_ends takes two points or more" in one
    again = refused(tmp_path, MINE | {"id": "append"})
    assert "two experiments share an id" in again


def test_a_point_beyond_the_limit_does_not_validate():
    data = load_profile("cpu-nano").model_dump(mode="json")
    data["limits"]["total_tokens"] = 100
    with pytest.raises(ValueError, match="more than limits.total_tokens"):
        Profile.model_validate(data)


def test_an_unknown_experiment_names_those_there_are():
    with pytest.raises(KeyError, match="cache_rate"):
        load_profile("cpu-nano").experiment("nope")


@pytest.mark.parametrize("name", ["cpu-nano", "llama-3.1-8b"])
@pytest.mark.parametrize(("both", "starts"), [(True, "pairs"), (False, "starts")])
def test_a_quick_profile_measures_less_and_the_same(name, both, starts):
    whole = load_profile(name)
    quick = whole.quickened(both=both)
    assert quick.plan.starts == getattr(whole.quick, starts)
    assert quick.plan.samples == whole.quick.samples <= whole.plan.samples
    assert (quick.plan.drawn_points, quick.policy.looks) == (0, 1)
    assert protocol_of(quick) == protocol_of(whole)
    assert definition_of(quick) == definition_of(whole)
    assert 0 < len(whole.quick_experiments) < len(whole.experiments)


def test_a_profile_without_quick_experiments_measures_all_of_them():
    data = load_profile("cpu-nano").model_dump(mode="json")
    del data["quick"]
    profile = Profile.model_validate(data)
    assert profile.quick_experiments == tuple(e.id for e in profile.experiments)
    data["quick"] = {"experiments": ["context", "append"]}
    assert Profile.model_validate(data).quick_experiments == ("append", "context")
    data["quick"] = {"experiments": ["append", "nope"]}
    with pytest.raises(ValueError, match="quick.experiments: there is no nope"):
        Profile.model_validate(data)
