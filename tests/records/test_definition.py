"""The definition changes with what a sample is, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from append_prefill.records import definition
from append_prefill.records.definition import UNTOLD, defined_by, definition_of, protocol_of
from append_prefill.workload.loading import load_profile, shipped_profiles
from append_prefill.workload.profile import Placement, Profile

Change = Callable[[Profile], Profile]


def _plan(**changes: object) -> Change:
    return lambda p: p.model_copy(update={"plan": p.plan.model_copy(update=changes)})


def _placed(policy: str) -> Change:
    return lambda p: p.model_copy(update={"placement": Placement(policy=policy)})


def _experiments(change: Callable[[list], list]) -> Change:
    return lambda p: p.model_copy(update={"experiments": tuple(change(list(p.experiments)))})


@pytest.mark.parametrize(
    "change",
    [
        _plan(starts=9, samples=3, budget_minutes=5.0, drawn_points=0),
        _plan(warmup_rounds_max=7, min_valid_share=0.9),
        _experiments(lambda e: e[::-1]),
        _experiments(lambda e: [x.model_copy(update={"title": "", "id": f"e{i}"})
                                for i, x in enumerate(e)]),
        lambda p: p.model_copy(update={"name": "other", "baseline_max_age_days": 1.0}),
    ],
)  # fmt: skip
def test_repeats_and_words_do_not_define(change: Change) -> None:
    profile = load_profile("llama-3.1-8b")
    assert definition_of(change(profile)) == definition_of(profile)


@pytest.mark.parametrize(
    "change",
    [
        _plan(output_tokens=3),
        _plan(share_output_tokens=64),
        _plan(idle_ms=0.0),
        _experiments(lambda e: e[:-1]),
        _plan(alternate="block"),
        _placed("off"),
    ],
)
def test_what_a_sample_is_defines(change: Change) -> None:
    profile = load_profile("llama-3.1-8b")
    assert definition_of(change(profile)) != definition_of(profile)


def test_the_untold_protocol_is_the_shipped_profiles() -> None:
    """What stored records are taken for, the profiles that measured them still say.

    But for what was added since, and says so.
    """
    for name in shipped_profiles():
        profile = load_profile(name)
        added = {"placement": "turns", "alternate": "sample"} if profile.device == "cuda" else {}
        if added and any(unit.conversation for e in profile.traffic for unit in e.units):
            added["turns"] = "alternate"
        assert protocol_of(profile) == UNTOLD | added


def test_conversations_whose_turns_alternate_are_another_protocol() -> None:
    profile = load_profile("llama-3.1-8b")
    assert protocol_of(profile)["turns"] == "alternate"
    assert "turns" not in protocol_of(profile.model_copy(update={"traffic": ()}))


def test_the_order_of_points_does_not_define() -> None:
    profile = load_profile("cpu-nano")
    assert defined_by(protocol_of(profile), profile.points[::-1]) == definition_of(profile)


def test_protocol_version_defines(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = load_profile("cpu-nano")
    before = definition_of(profile)
    monkeypatch.setattr(definition, "PROTOCOL_VERSION", definition.PROTOCOL_VERSION + 1)
    assert definition_of(profile) != before
    assert len(before) == 64
