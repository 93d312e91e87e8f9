"""The options of a run that was cut off take the place of those that are not given again."""

from __future__ import annotations

from argparse import Namespace

import pytest

from append_prefill.errors import UsageError
from append_prefill.plugin.options import declare_options
from append_prefill.plugin.resuming import take_over
from append_prefill.run.options import Options


def given(**changes: object) -> Namespace:
    """pytest's options where only these were given."""
    made = Namespace()

    def add(flag: str, **settings: object) -> None:
        absent = False if settings.get("action") == "store_true" else None
        setattr(made, flag[2:].replace("-", "_"), settings.get("default", absent))

    declare_options(add)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


RUN = Options(
    sglang="0.5.23",
    against="0.5.22",
    server_arg=("--chunked-prefill-size=4096", "--mem-fraction-static", "0.8"),
    against_server_arg=("--x",),
    label="after it",
    against_label="before",
    profile="cpu-nano",
    model="some where",
    dummy_weights=True,
    starts=3,
    samples=4,
    budget_minutes=2.5,
    seed=7,
    lock_clocks=True,
)


def test_every_option_of_a_run_comes_back() -> None:
    option = given()
    take_over(option, RUN.command())
    assert option.server_arg == list(RUN.server_arg)
    assert option.against_server_arg == list(RUN.against_server_arg)
    for name in ("sglang", "against", "label", "against_label", "profile", "model", "starts"):
        assert getattr(option, name) == getattr(RUN, name)
    assert (option.budget, option.seed, option.samples) == (2.5, 7, 4)
    assert (option.dummy_weights, option.lock_clocks, option.quick) == (True, True, False)
    assert (option.baseline, option.save_baseline) == ("auto", False)


def test_the_same_again_and_what_becomes_of_the_result_may_be_given() -> None:
    option = given(sglang="0.5.23", seed=7, save_baseline=True, strict_verdicts=True)
    take_over(option, RUN.command())
    assert (option.sglang, option.save_baseline, option.strict_verdicts) == ("0.5.23", True, True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 8}, "--seed 8: contradicts --resume: that run was begun with --seed 7"),
        ({"starts": 9}, "--starts 9: contradicts --resume"),
        ({"quick": True}, "--quick True: contradicts --resume: that run was begun without --quick"),
        ({"control": "0.5.9"}, "--control 0.5.9: contradicts --resume: that run was begun without"),
        ({"server_arg": ["--y"]}, "--server-arg --y: contradicts --resume"),
        ({"server_arg": ["--api-key=hunter2"]}, r"--server-arg '--api-key=\*\*\*': contradicts"),
    ],
)
def test_what_contradicts_is_named_without_its_secrets(changes, named) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        take_over(given(**changes), RUN.command())
    assert "hunter2" not in str(caught.value)


def test_a_secret_is_given_again() -> None:
    secret = ["--hf-token=hunter2", "--x"]
    recorded = Options(server_arg=secret).command()
    assert "hunter2" not in recorded
    with pytest.raises(UsageError, match="Give every --server-arg of the run again"):
        take_over(given(), recorded)
    option = given(server_arg=secret)
    take_over(option, recorded)
    assert option.server_arg == secret


@pytest.mark.parametrize("recorded", ["--sglang '", "--no-such-option 1", "--starts many"])
def test_a_hostile_record_is_refused(recorded) -> None:
    with pytest.raises(UsageError, match="has options in its record that are none"):
        take_over(given(), recorded)
