from pathlib import Path

from append_prefill import places
from tests.conftest import REPOSITORY


def test_a_checkout_is_known_from_inside_and_by_its_tests(tmp_path):
    assert places.checkout_of(REPOSITORY / "tests" / "cli") == REPOSITORY
    (tmp_path / "perf_tests").mkdir()
    assert places.checkout_of(tmp_path) is None


def test_shipped_runs_are_there():
    assert list(places.shipped_baselines().glob("*/*/*.json"))


def test_environments_are_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.delenv("APPEND_PREFILL_ENVIRONMENTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert places.environments_folder() == tmp_path / "append-prefill"
    monkeypatch.setenv("APPEND_PREFILL_ENVIRONMENTS", "~/there")
    assert places.environments_folder() == Path.home() / "there"


def test_the_command_is_the_one_of_where_the_user_is(tmp_path):
    assert places.make_environment(REPOSITORY, "0.5.23") == "tox -e sglang-0.5.23"
    assert places.make_environment(tmp_path, "0.5.23") == "append-prefill env 0.5.23"
