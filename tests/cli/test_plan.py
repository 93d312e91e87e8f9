"""`plan`: the numbers add up, come from stored runs where there are any, and nothing is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from append_prefill.cli.main import main
from append_prefill.engines.base import Device
from append_prefill.probe.plan import Plan, make_plan
from append_prefill.records.baselines import save_baseline
from append_prefill.records.definition import definition_of, protocol_of
from append_prefill.records.grounds import Side
from append_prefill.records.run import NoiseRecord, Run
from append_prefill.run import settings
from append_prefill.run.outlook import outlook_of
from append_prefill.run.pace import STOP_S
from append_prefill.workload.profile import DeviceKind, Profile, load_profile
from tests.records import builders

PROFILE = load_profile("llama-3.1-8b")
TESTS = Path(__file__).parents[1]
Captured = pytest.CaptureFixture[str]


def plan(profile: Profile = PROFILE, **options: Any) -> Plan:
    sides: tuple[Side, ...] = options.pop("sides", ("candidate",))
    return make_plan(profile, seed=0, sides=sides, **options)


def test_study_points_and_promise() -> None:
    """Five launches at 1 % catch 3 % side by side: what the design says of the default plan."""
    outlook = outlook_of(plan(sides=("candidate", "reference")), PROFILE, None)
    tagged = [p for p in outlook["points"] if p["experiment"]]
    assert len(tagged) == len(PROFILE.points)
    assert sum(len(p["experiment"]) for p in tagged) == sum(
        len(set(experiment.points)) for experiment in PROFILE.experiments
    )
    assert outlook["mde_side_by_side"] < outlook["mde_baseline"]
    assert outlook["starts_needed_side_by_side"] > 1
    assert outlook["minutes_from"].startswith("assumed")


def test_requests_scale_with_starts_and_sides() -> None:
    one = outlook_of(plan(starts=1), PROFILE, None)["requests"]
    assert outlook_of(plan(starts=3), PROFILE, None)["requests"] == 3 * one
    both = outlook_of(plan(starts=3, sides=("candidate", "reference")), PROFILE, None)
    assert both["requests"] == 6 * one


def test_a_run_of_two_sides_says_when_it_is_judged() -> None:
    outlook = outlook_of(plan(sides=("candidate", "reference")), PROFILE, None)
    minutes = outlook["minutes"] / 5
    assert outlook["analyses"] == [
        {"starts": starts, "minutes": pytest.approx(starts * minutes)} for starts in (3, 5, 8, 11)
    ]
    assert outlook_of(plan(), PROFILE, None)["analyses"] == []


def test_a_run_that_is_judged_once_says_no_more(capsys: Captured, tmp_path: Path) -> None:
    one = (TESTS / "tiny.toml").as_posix()
    assert main(["plan", "--profile", one, "--baselines", str(tmp_path), "--against"]) == 0
    text = capsys.readouterr().out
    assert "Judged after 2 launches per side, about" in text
    assert "until the answer is in" not in text


def test_more_starts_detect_less() -> None:
    effects = [outlook_of(plan(starts=n), PROFILE, None)["mde_side_by_side"] for n in (2, 3, 5, 10)]
    assert effects == sorted(effects, reverse=True)
    assert outlook_of(plan(starts=1), PROFILE, None)["mde_side_by_side"] is None


def test_stored_run_gives_noise_and_pace() -> None:
    noise = NoiseRecord(
        starts=20,
        nights=4,
        start_sd=0.002,
        within_sd=0.01,
        night_sd=0.001,
        pair_sd=0.003,
        pairs=10,
        points=[],
    )
    quiet = outlook_of(plan(), PROFILE, builders.run(noise=noise))
    assert quiet["noise_from"] == "stored noise (20 launches, 4 sessions)"
    assert quiet["mde_side_by_side"] < outlook_of(plan(), PROFILE, None)["mde_side_by_side"]
    # Four points: ready after 40 s, six warm-up rounds in 3 s of 12, five blocks in the rest.
    points, starts = len(plan().all_points), PROFILE.plan.starts
    warmup_s, blocks_s = 6 * points * 3 / 24, PROFILE.plan.samples * (points + 1) * 9 / 25
    assert quiet["minutes"] == pytest.approx(
        starts * (40 + STOP_S + warmup_s + blocks_s) / 60, rel=1e-3
    )
    assert "NVIDIA H200" in quiet["minutes_from"]


def test_unknown_noise_is_null_not_zero() -> None:
    noise = NoiseRecord(starts=1, nights=1, start_sd=None, within_sd=0.01, night_sd=None, points=[])
    outlook = outlook_of(plan(), PROFILE, builders.run(noise=noise))
    assert outlook["mde_side_by_side"] is None
    assert outlook["mde_baseline"] is None


def test_command(tmp_path: Path, capsys: Captured) -> None:
    base = ["plan", "--profile", "llama-3.1-8b", "--baselines", str(tmp_path)]
    assert main([*base, "--against", "--starts", "4"]) == 0
    text = capsys.readouterr().out
    assert "4 launches of candidate and reference" in text
    assert "Minimum detectable effect" in text
    assert "Side by side, +3 % takes" in text
    assert "Judged after 2 launches per side, about 3.9 minutes, then 4, 6, 8, until" in text
    save_baseline(builders.run(definition=definition_of(PROFILE)), tmp_path)
    assert main([*base, "--json"]) == 0
    assert "as in the run of 2026-11-02" in json.loads(capsys.readouterr().out)["minutes_from"]


def test_a_stored_run_of_fewer_points_is_told_from_one_of_another_benchmark(
    tmp_path: Path, capsys: Captured
) -> None:
    """After an experiment was added the old baseline's pace and noise still serve."""
    base = ["plan", "--profile", "llama-3.1-8b", "--baselines", str(tmp_path), "--json"]

    def pace_of(run: Run) -> str:
        save_baseline(run, tmp_path)
        assert main(base) == 0
        return str(json.loads(capsys.readouterr().out)["minutes_from"])

    fewer = builders.run(identity=builders.identity(protocol=protocol_of(PROFILE)))
    fewer.plan.points = [(p.context_tokens, p.append_tokens) for p in PROFILE.points[:3]]
    other = fewer.identity | {"protocol": {"version": 1, "idle_ms": 9.0}}
    assert pace_of(fewer.model_copy(update={"identity": other})).startswith("assumed")
    elsewhere = fewer.model_copy(deep=True)
    elsewhere.plan.points = [(9, 9)]
    path = tmp_path / "nvidia-h200" / "llama-3.1-8b-instruct" / "0.5.23.json"
    path.unlink()
    assert pace_of(elsewhere).startswith("assumed")
    path.unlink()
    assert pace_of(fewer).startswith("as in the run of 2026-11-02")


def test_budget_that_is_too_small_is_said(tmp_path: Path, capsys: Captured) -> None:
    base = ["plan", "--profile", "cpu-nano", "--baselines", str(tmp_path)]
    assert main([*base, "--budget", "0.1"]) == 0
    assert "More than the budget" in capsys.readouterr().out
    assert main([*base, "--starts", "0"]) == 4
    assert "--starts 0" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "profile"), [("cuda", "llama-3.1-8b"), ("cpu", "cpu-nano")])
def test_the_profile_is_by_default_the_devices(
    kind: DeviceKind,
    profile: str,
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings, "list_devices", lambda: [Device(kind, "one", "one", 1)])
    assert main(["plan", "--json", "--baselines", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["profile"] == profile
