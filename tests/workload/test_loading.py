"""Profiles read from files."""

import re

import pytest

from append_prefill.errors import UsageError
from append_prefill.workload.loading import load_profile


def test_an_unknown_profile_names_the_shipped_ones():
    with pytest.raises(UsageError, match=r"--profile nope.*cpu-nano, cpu-nano-chat, "):
        load_profile("nope")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load_profile(str(tmp_path / "my.toml"))


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("= 3")
    with pytest.raises(UsageError, match="is not TOML"):
        load_profile(str(path))


def test_a_profile_that_extends_a_shipped_one_says_what_differs(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        """
        extends = "cpu-nano"
        name = "own"
        [plan]
        starts = 9
        [bounds.append_flatness]
        limit = 2
        argument = "A limit of its own, with an argument of its own."
        [link]
        name = "100 GbE"
        gb_per_s = 12.5
        """
    )
    own, shipped = load_profile(str(path)), load_profile("cpu-nano")
    assert own.plan == shipped.plan.model_copy(update={"starts": 9})
    assert own.bounds["append_flatness"].limit == 2
    assert own.bounds.keys() == shipped.bounds.keys()
    assert (own.link.name, own.experiments) == ("100 GbE", shipped.experiments)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('extends = "nope"\nname = "own"', "extends 'nope', which is not shipped. Shipped are"),
        ('extends = "cpu-nano"', "has no name of its own"),
        ('extends = "cpu-nano"\nname = "cpu-nano"', "has no name of its own"),
        ('extends = "cpu-nano"\nname = "own"\nplan = 3', "plan: Input should be"),
        ('extends = ["cpu-nano"]\nname = "own"', "is not shipped"),
        ('extends = "cpu-nano"\nname = "own"\nexperiments = [3]', "experiments"),
    ],
)
def test_a_wrong_extension_is_named(tmp_path, text, said):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(str(path))) as caught:
        load_profile(str(path))
    assert said in str(caught.value)
