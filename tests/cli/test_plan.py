"""`plan`: the numbers add up, come from stored runs where there are any, and nothing is sent."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from append_prefill.cli.main import main
from append_prefill.engines.base import Device
from append_prefill.probe.plan import Plan
from append_prefill.probe.planning import make_plan
from append_prefill.records.baselines import save_baseline
from append_prefill.records.definition import definition_of, protocol_of
from append_prefill.records.grounds import Side
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.run import Run
from append_prefill.run import resolve
from append_prefill.run.outlook import outlook_of
from append_prefill.run.pace import STOP_S
from append_prefill.workload.loading import load_profile
from append_prefill.workload.profile import DeviceKind, Profile
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
    traffic = "turns (conversation, replies in the context), 2 samples in every other block"
    assert f"Other traffic: {traffic}." in text


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
    points, starts = plan().samples_a_block, PROFILE.plan.starts
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
    assert re.search(r"Judged after 2 launches per side, about [\d.]+ min\w*, then 4, 6, 8, ", text)
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
    monkeypatch.setattr(resolve, "list_devices", lambda: [Device(kind, "one", "one", 1)])
    assert main(["plan", "--json", "--baselines", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["profile"] == profile


def planned(capsys: Captured, tmp_path: Path, *options: str) -> dict[str, Any]:
    base = ["plan", "--profile", "llama-3.1-8b", "--baselines", str(tmp_path), "--json"]
    assert main([*base, *options]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def test_minutes_are_split_into_launches_and_samples(tmp_path: Path, capsys: Captured) -> None:
    found = planned(capsys, tmp_path, "--against", "--minutes", "12")
    assert found["asked"] == {"minutes": 12}
    assert found["minutes"] <= 12
    (best,) = (s for s in found["splits"] if s["starts"] == found["starts"])
    # What is planned is the split, and what is said of the plan is what is said of the split.
    for key in ("samples", "minutes", "mde_side_by_side", "mde_floor", "mde_compute"):
        assert best[key] == pytest.approx(found[key])
    # To a tenth of a per cent, by which splits are told apart.
    least = min(s["mde_side_by_side"] for s in found["splits"])
    assert best["mde_side_by_side"] == pytest.approx(least, abs=0.001)
    assert len(found["splits"]) > 2
    more = planned(capsys, tmp_path, "--against", "--minutes", "30")
    assert more["mde_side_by_side"] < found["mde_side_by_side"]


@pytest.mark.parametrize("name", ["llama-3.1-8b", "cpu-nano"])
def test_a_shipped_profile_spends_its_minutes_as_well_as_can_be(
    name: str, tmp_path: Path, capsys: Captured
) -> None:
    """To two tenths of a per cent; who changes its noise or pace has to plan it anew."""

    def planned(*options: str) -> dict[str, Any]:
        command = ["plan", "--profile", name, "--baselines", str(tmp_path), "--against", "--json"]
        assert main([*command, *options]) == 0
        data: dict[str, Any] = json.loads(capsys.readouterr().out)
        return data

    own = planned()
    assert own["minutes"] <= 11  # ten as shipped, and room for somebody's further experiment
    best = planned("--minutes", str(own["minutes"] + 1e-6))
    assert own["mde_side_by_side"] <= best["mde_side_by_side"] + 0.002


def test_an_effect_takes_the_fewest_minutes(tmp_path: Path, capsys: Captured) -> None:
    found = planned(capsys, tmp_path, "--against", "--effect", "4%")
    assert found["asked"] == {"effect": 0.04}
    assert found["mde_side_by_side"] <= 0.04
    assert found["minutes"] == pytest.approx(min(s["minutes"] for s in found["splits"]))
    assert planned(capsys, tmp_path, "--against", "--effect", "0.04")["splits"] == found["splits"]
    # In those minutes nothing sees less, and in fewer nothing sees as much.
    for minutes, at_least in ((found["minutes"] + 1e-6, True), (0.97 * found["minutes"], False)):
        again = planned(capsys, tmp_path, "--against", "--minutes", str(minutes))
        assert (again["mde_side_by_side"] <= 0.04) is at_least
    by_default = planned(capsys, tmp_path, "--against", "--effect")
    assert by_default["asked"] == {"effect": PROFILE.policy.must_catch}
    neither = planned(capsys, tmp_path, "--against")
    assert (neither["asked"], neither["splits"]) == (None, [])


def planned_as_chosen(name: str, minutes: int, tmp_path: Path, capsys: Captured) -> str:
    """A profile that plans what sees most in so many minutes, whatever its points are."""
    common = ["--baselines", str(tmp_path), "--against", "--minutes", str(minutes)]
    assert main(["plan", "--profile", name, *common, "--json"]) == 0
    starts = json.loads(capsys.readouterr().out)["splits"][1]["starts"]
    path = tmp_path / "chosen.toml"
    path.write_text(
        f'extends = "{name}"\nname = "chosen"\n[plan]\nstarts = {starts}\n', encoding="utf-8"
    )
    assert main(["plan", "--profile", str(path), *common]) == 0
    return capsys.readouterr().out


def test_what_is_chosen_is_shown_among_its_neighbours(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # in a narrow terminal a cell breaks
    text = planned_as_chosen("llama-3.1-8b", 12, tmp_path, capsys)
    assert "The split of 12 minutes that sees most" in text
    assert text.count("planned above") == 1
    assert "floor alone" in text
    base = ["plan", "--profile", "llama-3.1-8b", "--baselines", str(tmp_path), "--against"]
    assert main([*base, "--effect"]) == 0
    assert "The fewest minutes that detect +3 %" in capsys.readouterr().out
    assert main(base) == 0
    text = capsys.readouterr().out
    assert "up to m = 308 alone: +" in text
    assert "beyond m = 308 alone: +" in text
    assert "In the fewest minutes, about" in text
    # A profile that does not tell its points apart has one column, and no such lines.
    text = planned_as_chosen("cpu-nano", 9, tmp_path, capsys)
    assert "alone" not in text
    assert text.count("planned above") == 1


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--minutes", "10"], "--minutes 10.0: chooses the launches and samples of a run of two"),
        (["--effect"], "--effect (of the profile): chooses"),
        (["--against", "--minutes", "10", "--starts", "4"], "--starts 4: is what --minutes"),
        (["--against", "--effect", "--samples", "4"], "--samples 4: is what --effect chooses"),
        (["--against", "--minutes", "0"], "--minutes 0.0: plans nothing"),
        (["--against", "--minutes", "nan"], "--minutes nan: plans nothing"),
        (["--against", "--minutes", "inf"], "--minutes inf: plans nothing"),
        (["--budget", "nan"], "--budget nan: plans nothing"),
        (["--against", "--minutes", "1"], "--minutes 1: are too few for two launches per side"),
        (["--against", "--effect", "3"], "--effect 3: is no slow-down"),
        (["--against", "--effect", "much"], "--effect much: is no slow-down"),
        (["--against", "--effect", "0%"], "--effect 0%: is no slow-down"),
        (["--against", "--effect", "nan%"], "--effect nan%: is no slow-down"),
        (["--against", "--effect", "1.5%"], "--effect 1.5%: is not above 1.5 %, below which"),
        (["--against", "--effect", "1.5001%"], "takes more launches than a session holds"),
    ],
)
def test_what_cannot_be_chosen_for_is_refused(
    options: list[str], what: str, tmp_path: Path, capsys: Captured
) -> None:
    base = ["plan", "--profile", "llama-3.1-8b", "--baselines", str(tmp_path)]
    assert main([*base, *options]) == 4
    assert what in capsys.readouterr().err.replace("\u00a0", " ")


def test_minutes_and_an_effect_are_two_questions(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main(["plan", "--against", "--minutes", "10", "--effect", "3%"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--minutes=10", "--effect"])
def test_a_noise_that_does_not_tell_of_pairs_chooses_nothing(
    option: str, tmp_path: Path, capsys: Captured
) -> None:
    noise = NoiseRecord(starts=9, nights=1, start_sd=0.01, within_sd=0.1, night_sd=None, points=[])
    run = builders.run(definition=definition_of(PROFILE), noise=noise)
    path = save_baseline(run, tmp_path)
    assert (
        main(["plan", "--profile", "llama-3.1-8b", "--like", str(path), "--against", option]) == 4
    )
    assert "does not say how pairs scatter" in capsys.readouterr().err


def test_the_named_experiments_are_planned_and_no_other(capsys: Captured) -> None:
    named = ["--experiment=append", "--experiment=together_8"]
    assert main(["plan", "--profile=cpu-nano", "--json", *named]) == 0
    planned = json.loads(capsys.readouterr().out)
    own = [p for p in planned["points"] if "append" in p["experiment"]]
    assert [p["append_tokens"] for p in own] == [8, 16, 32, 64, 128, 256]
    assert not any("scale" in p["experiment"] for p in planned["points"])
    assert [one["experiment"] for one in planned["traffic"]] == ["together_8"]
    whole = ["plan", "--profile=cpu-nano", "--json"]
    assert main(whole) == 0
    assert planned["minutes"] < json.loads(capsys.readouterr().out)["minutes"]


@pytest.mark.parametrize("name", ["nope", "cliffs"])
def test_an_experiment_that_is_not_there_is_refused(capsys: Captured, name: str) -> None:
    assert main(["plan", "--profile=cpu-nano", f"--experiment={name}"]) == 4
    assert f"--experiment {name}: profile cpu-nano has no such" in capsys.readouterr().err


def test_traffic_alone_is_planned_and_promises_nothing_of_points(capsys: Captured) -> None:
    alone = ["plan", "--profile=cpu-nano", "--experiment=turns", "--against"]
    assert main([*alone, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["points"] == []
    assert planned["minutes"] > 0
    assert {planned[key] for key in planned if key.startswith("mde_")} == {None}
    assert main(alone) == 0
    told = capsys.readouterr().out
    assert (
        told.splitlines()[-1] == "What it could see is told of points alone, and none is measured."
    )
    assert main([*alone, "--minutes=10"]) == 4
    assert "cannot be chosen for" in capsys.readouterr().err
