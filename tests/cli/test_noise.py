"""`noise --runs`: the noise of A/A runs that were measured already, and what is none."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from append_prefill.cli.main import main
from append_prefill.records.baselines import save_baseline
from append_prefill.records.pinned import pin
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.run.judge import judge
from append_prefill.run.references import References
from append_prefill.workload.loading import load_profile
from tests.cli.test_cli import STUDY, Captured, call_json, refused, stored
from tests.records import builders

PROFILE = load_profile("llama-3.1-8b")


def night(number: int = 0, *, hours: int = 24, reference: str = "0.5.23", **changes: Any) -> Run:
    """The number-th A/A run, `hours` after the one before."""
    created = builders.CREATED + timedelta(hours=hours * number)
    run = builders.side_by_side("0.5.23", reference, seed=number, created_at=created, **changes)
    return judge(run, PROFILE, references=References(), kv_bytes_per_token=None, replicable=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "baselines"


def test_nights_of_several_days_are_stored_with_the_baseline(
    root: Path, tmp_path: Path, capsys: Captured
) -> None:
    baseline = save_baseline(builders.run("0.5.23", base_ms=19.0), root)
    before = read_run(baseline)
    nights = [night(0), night(1), night(2)]
    first, *others = (stored(tmp_path, str(n), run) for n, run in enumerate(nights))
    command = ["noise", "--runs", str(Path(first).parent), *others, "--baselines", str(root)]
    status, data = call_json(capsys, *command)
    assert (status, data["baseline"]) == (0, str(baseline))
    assert (data["noise"]["nights"], data["noise"]["starts"]) == (3, 18)
    assert data["noise"]["night_sd"] is not None
    verdicts = [run.comparison.verdict for run in nights if run.comparison]
    assert data["verdicts"] == verdicts
    after = read_run(baseline)
    assert after.noise is not None
    assert after.model_copy(update={"noise": None}) == before
    assert main(command) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"A/A verdicts: {verdicts[0]} (")
    assert "From 18 launches in 3 sessions." in text
    assert f"stored in {baseline}" in text


def test_runs_of_one_day_do_not_tell_how_nights_differ(
    root: Path, tmp_path: Path, capsys: Captured
) -> None:
    """And without a baseline, the last of them becomes it, in whichever order they are given."""
    runs = [night(n, hours=1) for n in range(2)]
    late, early = (stored(tmp_path, str(n), runs[n]) for n in (1, 0))
    _, data = call_json(capsys, "noise", "--runs", late, early, "--baselines", str(root))
    assert (data["noise"]["nights"], data["noise"]["night_sd"]) == (2, None)
    assert read_run(Path(data["baseline"])).created_at == runs[1].created_at


def test_either_a_server_or_runs(tmp_path: Path, capsys: Captured) -> None:
    assert "--sglang (not given)" in refused(capsys, "noise")
    run = stored(tmp_path, "a", night())
    for option, value in (
        ("--sglang", "0.5.23"),
        ("--nights", "2"),
        ("--starts", "3"),
        ("--samples", "4"),
        ("--seed", "0"),
        ("--report-dir", "reports"),
    ):
        error = refused(capsys, "noise", "--runs", run, option, value)
        assert f"{option} {value}: cannot go with --runs" in error
    assert "--nights 0" in refused(capsys, "noise", "--sglang", "simulated", "--nights", "0")


def renamed(side: str, **subject: Any) -> Run:
    """A session of which one side's servers told something else of themselves."""
    run = night()
    for start in run.starts:
        if start.side == side:
            start.subject = start.subject | subject
    return run


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (night().model_copy(update={"verdict": "infrastructure"}), "a run that failed"),
        (builders.run(), "no valid launches of both sides"),
        (night(reference="0.5.19"), "sglang 0.5.23 and 0.5.19"),
        (renamed("reference", prefill_graph="off"), "prefill_graph None and off"),
        (night(1, identity=builders.identity(driver="590.1")), "in driver."),
        (night(1, identity=builders.identity(protocol={"version": 9})), "in protocol."),
        (night(), "once more"),
    ],
    ids=["failed", "one side", "versions", "environments", "identity", "protocol", "twice"],
)
def test_a_run_that_is_no_night_like_the_others_is_named(
    run: Run, what: str, root: Path, tmp_path: Path, capsys: Captured
) -> None:
    good, bad = stored(tmp_path, "good", night()), stored(tmp_path, "bad", run)
    error = refused(capsys, "noise", "--runs", good, bad, "--baselines", str(root))
    assert f"--runs {bad}: " in error
    assert what in error
    assert not root.exists()


def test_another_version_and_the_study_are_no_nights_either(
    root: Path, tmp_path: Path, capsys: Captured
) -> None:
    good = stored(tmp_path, "good", night())
    older = builders.side_by_side("0.5.19", "0.5.19", created_at=builders.CREATED)
    for other, what in ((stored(tmp_path, "old", older), "in sglang."), (str(STUDY), "both sides")):
        error = refused(capsys, "noise", "--runs", good, other, "--baselines", str(root))
        assert f"--runs {other}: " in error
        assert what in error


def test_sides_of_other_arguments_are_no_noise(
    root: Path, tmp_path: Path, capsys: Captured
) -> None:
    run = night()
    for start in run.starts:
        if start.side == "reference":
            start.server_args = ["--chunked-prefill-size", "4096"]
    path = stored(tmp_path, "other-arguments", run)
    text = refused(capsys, "noise", "--runs", path, "--baselines", str(root))
    assert "server_args.chunked-prefill-size 8192 and 4096" in text


def test_the_free_memory_of_two_servers_may_differ(
    root: Path, tmp_path: Path, capsys: Captured
) -> None:
    run = stored(tmp_path, "a", renamed("reference", kv_capacity_tokens=98_000))
    assert main(["noise", "--runs", run, "--baselines", str(root)]) == 0


def test_fields_that_the_profile_does_not_bind_may_differ(
    root: Path, tmp_path: Path, capsys: Captured
) -> None:
    shipped = Path(__file__).parents[2] / "append_prefill/profiles/llama-3.1-8b.toml"
    lenient = tmp_path / "mine.toml"
    lenient.write_text(
        shipped.read_text().replace(
            "identity_not_binding = []", 'identity_not_binding = ["driver"]'
        )
    )
    runs = [
        stored(tmp_path, "a", night()),
        stored(tmp_path, "b", night(1, identity=builders.identity(driver="590.1"))),
    ]
    options = ["--profile", str(lenient), "--baselines", str(root)]
    assert main(["noise", "--runs", *runs, *options]) == 0


def test_the_baseline_is_not_written_over_another_identitys_or_a_pinned_one(
    root: Path, tmp_path: Path, capsys: Captured
) -> None:
    run = stored(tmp_path, "a", night())
    command = ["noise", "--runs", run, "--baselines", str(root)]
    path = save_baseline(builders.run(identity=builders.identity(driver="590.1")), root)
    assert "another identity (driver differ)" in refused(capsys, *command)
    path.unlink()
    pin(save_baseline(builders.run(), root), version="0.5.23", reason="we ship it")
    assert "is the pinned reference" in refused(capsys, *command)


def pairs_up_together(number: int) -> Run:
    """A session whose pairs were up together, blocks taking turns as before there were samples."""
    run = night(number)
    return run.model_copy(
        update={"starts": [s.model_copy(update={"interleaved": True}) for s in run.starts]}
    )


def test_components_are_stored_and_shown_by_stratum(
    root: Path, tmp_path: Path, capsys: Captured
) -> None:
    """The profile says where TTFT is at its floor; old runs, whose blocks alternated, tell too."""
    runs = [stored(tmp_path, str(n), pairs_up_together(n)) for n in range(2)]
    command = ["noise", "--runs", *runs, "--baselines", str(root)]
    status, data = call_json(capsys, *command)
    assert status == 0
    noise = data["noise"]
    assert (noise["pairs"], noise["rounds"]) == (6, 5.0)
    assert noise["components"]["round_sd"] > 0
    # Of the four points one is beyond the floor: too few for a stratum.
    assert noise["strata"] == {}
    assert main(command) == 0
    text = capsys.readouterr().out.replace("\u00a0", " ")
    for name in ("request", "block", "point in a launch", "launch", "round", "pair", "session"):
        assert f"\n{name} " in text
    assert "6 pairs of 5.0 rounds" in text
    assert "samples per launch, by" in text
    minutes = PROFILE.plan.budget_minutes
    assert f"append-prefill plan --profile llama-3.1-8b --against --minutes {minutes:g}" in text


def test_the_strata_are_the_profiles(root: Path, tmp_path: Path, capsys: Captured) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text(
        'extends = "llama-3.1-8b"\nname = "mine"\n[plane]\nfloor_append_tokens = 128\n'
        'argument = "An argument of at least twenty letters."\n'
    )
    run = pairs_up_together(0)
    points = [(64, 128), (512, 32), (512, 1024), (2048, 1024)]
    for launch in run.starts:
        for series, (context, append) in zip(launch.series, points, strict=True):
            series.context_tokens, series.append_tokens = context, append
            series.cached_tokens = [context] * len(series.cached_tokens)
    path = stored(tmp_path, "a", run)
    command = ["noise", "--runs", path, "--baselines", str(root), "--profile", str(profile)]
    _, data = call_json(capsys, *command)
    assert set(data["noise"]["strata"]) == {"floor", "compute"}
    assert main(command) == 0
    header = next(line for line in capsys.readouterr().out.splitlines() if "component" in line)
    assert [name.strip() for name in header.split("┃")[1:4]] == ["all points", "floor", "compute"]
