"""What binds, what may differ, and how server arguments are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from append_prefill.records.definition import UNTOLD, definition_of, protocol_of
from append_prefill.records.identity import (
    arguments,
    compose_identity,
    differences,
    identity_differences,
    identity_of,
    is_secret,
    without_secrets,
)
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.workload.experiment import Experiment
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Placement
from tests.records import builders

ROOT = Path(__file__).parents[2]
STORED = sorted([*ROOT.glob("baselines/*/*/*.json"), *ROOT.glob("reports/sample*/run.json")])
MORE = (*builders.POINTS, Point(96, 64))


def test_equal_runs_do_not_differ_whatever_their_subject() -> None:
    one, other = builders.run("0.5.19"), builders.run("0.5.23", base_ms=30.0, starts=2)
    assert differences(one, other, ()) == {}


def test_fields_are_dotted_with_both_values() -> None:
    other = builders.identity(driver="590.1", model={"name": "x", "config_sha256": "ab" * 32})
    found = differences(builders.run(), builders.run(identity=other), ())
    assert found == {
        "driver": ["580.95.05", "590.1"],
        "model.dtype": ["bfloat16", None],
        "model.name": ["Llama-3.1-8B-Instruct", "x"],
    }
    assert list(found) == sorted(found)


def test_not_binding_excuses_a_field_and_its_children() -> None:
    other = builders.identity(driver="590.1", model={"name": "x"})
    runs = builders.run(), builders.run(identity=other)
    assert differences(*runs, ["driver", "model"]) == {}
    assert set(differences(*runs, ["model.name", "drive"])) == {
        "driver",
        "model.config_sha256",
        "model.dtype",
    }


def test_the_protocol_always_binds_field_by_field() -> None:
    other = builders.run(identity=builders.identity(protocol={**UNTOLD, "idle_ms": 0.0}))
    expected = {"protocol.idle_ms": [3.0, 0.0]}
    assert differences(builders.run(), other, ["protocol", "protocol.idle_ms"]) == expected


def test_points_do_not_bind() -> None:
    other = builders.run(definition="e" * 64, identity=builders.identity(definition="e" * 64))
    assert differences(builders.run(), other) == {}


def test_an_old_hash_gives_its_protocol_away_by_the_points_of_its_plan() -> None:
    old = builders.as_before_protocols(builders.run())
    assert "protocol" not in old.identity
    assert identity_of(old)["protocol"] == UNTOLD
    more = builders.as_before_protocols(builders.side_by_side(points=MORE), MORE)
    for other in (builders.run(), more):
        assert differences(old, other) == {} == differences(other, old)


def test_an_old_hash_that_says_nothing_binds_as_a_whole() -> None:
    """Of another protocol, or of a run of selected experiments: the record cannot tell which."""
    selected = builders.as_before_protocols(builders.run(), MORE)
    assert "protocol" not in identity_of(selected)
    again = builders.as_before_protocols(builders.run("0.5.22"), MORE)
    assert differences(selected, again) == {}
    for other in (builders.run(), builders.as_before_protocols(builders.run())):
        assert set(differences(selected, other, ["definition"])) == {"definition"}
    # A run that tells its protocol and is of the same hash is of the same protocol.
    told = builders.identity(definition=selected.definition)
    assert differences(builders.run(identity=told), selected) == {}


def test_a_definition_that_only_the_records_own_key_has_counts() -> None:
    old = builders.as_before_protocols(builders.run(), MORE)
    bare = {k: v for k, v in old.identity.items() if k != "definition"}
    one, other = (builders.run(identity=bare, definition=d) for d in ("x", "y"))
    assert differences(one, one) == {}
    assert set(differences(one, other)) == {"definition"}


@pytest.mark.parametrize("path", STORED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_is_stored_stays_comparable_when_its_profile_gets_an_experiment(path: Path) -> None:
    stored = read_run(path)
    if stored.provenance == "study":  # a table, which reaches no verdict anyway
        assert "protocol" not in identity_of(stored)
        return
    profile = load_profile(stored.profile)
    if "placement" not in stored.identity:  # measured before threads were placed
        plan = profile.plan.model_copy(update={"alternate": "block"})
        profile = profile.model_copy(update={"placement": Placement(), "plan": plan})
    added = Experiment(id="mine", title="mine", points=((96, 64), (96, 256)))
    grown = profile.model_copy(update={"experiments": (*profile.experiments, added)})
    identity = stored.identity | {
        "definition": definition_of(grown),
        "protocol": protocol_of(grown),
    }
    assert identity["definition"] != stored.definition
    assert identity_differences(identity, identity_of(stored)) == {}


def test_missing_and_null_are_the_same() -> None:
    other = builders.identity(compute_capability=None)
    assert differences(builders.run(), builders.run(identity=other), ()) == {}


def test_survives_json() -> None:
    run = builders.run(identity=builders.identity(cores=(0, 1)))
    back = Run.model_validate(json.loads(run.model_dump_json(by_alias=True)))
    assert differences(run, back, ()) == {}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (["--a", "1", "--flag"], ["--flag", "--a=1"]),
        (["--tp-size", "1"], ["--tp_size", "1"]),
        (["--a", "1", "--a", "2"], ["--a", "2"]),
        (["--host", "127.0.0.1", "--port", "3000", "--model-path", "/x"], []),
        (["--api-key", "s3cret"], []),
    ],
)
def test_arguments_that_mean_the_same(left: list[str], right: list[str]) -> None:
    assert arguments(left) == arguments(right)


def test_arguments_keep_what_matters() -> None:
    assert arguments(
        ["--disable-radix-cache", "--chunked-prefill-size", "-1", "--l", "a", "b"]
    ) == {
        "disable-radix-cache": True,
        "chunked-prefill-size": "-1",
        "l": ["a", "b"],
    }


@given(st.dictionaries(st.from_regex(r"\A[A-Z_]{1,9}\Z"), st.text(min_size=8), max_size=4))
def test_environment_values_stay_out(env: dict[str, str]) -> None:
    kept = compose_identity(
        device={}, model={}, server_args=[], server_env=env, definition="", protocol={}
    )
    text = json.dumps(kept["server_env"], ensure_ascii=False)
    assert kept["server_env"]["names"] == sorted(env)
    assert not any(value in text for value in env.values())


def test_environment_values_bind() -> None:
    def of(value: str) -> object:
        return compose_identity(
            device={},
            model={},
            server_args=[],
            server_env={"OMP": value},
            definition="",
            protocol={},
        )["server_env"]

    assert of("1") == of("1") != of("2")


def test_placement_binds_where_a_profile_asks_for_it() -> None:
    def of(placement: str | None) -> dict[str, object]:
        return compose_identity(
            device={},
            model={},
            server_args=[],
            server_env={},
            definition="",
            protocol={},
            placement=placement,
        )

    assert identity_differences(of("turns"), of("off")) == {"placement": ["turns", "off"]}
    assert "placement" not in of(None)


@pytest.mark.parametrize(
    ("option", "secret"),
    [
        ("api-key", True),
        ("admin-api-key", True),
        ("ssl_keyfile_password", True),
        ("hf-token", True),
        ("max-total-tokens", False),
        ("skip-tokenizer-init", False),
        ("tokenizer-path", False),
    ],
)
def test_secret_options(option: str, secret: bool) -> None:
    assert is_secret(option) is secret


def test_secrets_are_masked_in_both_spellings() -> None:
    given_args = ["--api-key", "a", "--port", "1", "--hf-token=b", "--flag"]
    assert without_secrets(given_args) == [
        "--api-key", "***", "--port", "1", "--hf-token=***", "--flag",
    ]  # fmt: skip


def test_version_is_the_subjects() -> None:
    assert builders.run("0.5.5.post3").version == "0.5.5.post3"
    assert builders.run(subject={}).version is None
