import pytest

from append_prefill.analysis.findings import STUDY_EXPERIMENTS
from append_prefill.errors import UsageError
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile, load_profile, shipped_profiles


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


def test_an_unknown_profile_names_the_shipped_ones():
    with pytest.raises(UsageError, match=r"--profile nope.*cpu-nano, llama-3.1-8b"):
        load_profile("nope")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load_profile(str(tmp_path / "my.toml"))


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("= 3")
    with pytest.raises(UsageError, match="is not TOML"):
        load_profile(str(path))


def test_a_bound_without_an_argument_does_not_validate(tmp_path):
    data = load_profile("cpu-nano").model_dump(mode="json")
    data["bounds"]["scale_factor"]["argument"] = "because"
    with pytest.raises(ValueError, match="argument"):
        Profile.model_validate(data)


def test_a_point_beyond_the_limit_does_not_validate():
    data = load_profile("cpu-nano").model_dump(mode="json")
    data["limits"]["total_tokens"] = 100
    with pytest.raises(ValueError, match="more than limits.total_tokens"):
        Profile.model_validate(data)


def test_an_unknown_experiment_names_those_there_are():
    with pytest.raises(KeyError, match="cache_rate"):
        load_profile("cpu-nano").experiment("nope")
