"""The commands, as a user or a CI job calls them: text, JSON, exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import append_prefill
from append_prefill.cli.compare import compare_runs
from append_prefill.cli.main import EXIT_BROKEN_PIPE, main
from append_prefill.records.baselines import save_baseline
from append_prefill.records.definition import definition_of, protocol_of
from append_prefill.records.run import Run
from append_prefill.records.store import SCHEMA_FILE, read_run, write_run
from append_prefill.report.write import FILES, rendered
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from tests.records import builders
from tests.report import parts, samples
from tests.report.other_traffic import TURNS, with_traffic

STUDY = (
    Path(__file__).parents[2]
    / "baselines/nvidia-h100-80gb-hbm3/llama-3.1-8b-instruct/0.5.5.post3.json"
)
Captured = pytest.CaptureFixture[str]


def stored(folder: Path, name: str, run: Run) -> str:
    return str(write_run(run, folder / name / "run.json"))


def call_json(capsys: Captured, *arguments: str) -> tuple[int, Any]:
    status = main([*arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def refused(capsys: Captured, *arguments: str) -> str:
    """The one paragraph on stderr of a command that ends with the usage status."""
    assert main(arguments) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_the_version_is_told_without_importing_a_command() -> None:
    """Statistics and charts take a second and more to import; a script may ask often."""
    asked = (
        "import sys\nfrom append_prefill.cli.main import main\n"
        "try:\n    main(['--version'])\n"
        "finally:\n    print(*sorted(m for m in sys.modules if m.startswith('append_prefill')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=False
    )
    version, modules = done.stdout.splitlines()
    assert version == append_prefill.__version__
    assert modules.split() == [
        "append_prefill",
        "append_prefill.cli",
        "append_prefill.cli.main",
        "append_prefill.errors",
    ]


def test_unknown_command_is_a_usage_error(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["frobnicate"])
    assert caught.value.code == 4
    assert "frobnicate" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("doctor", "--json"), ("doctor",), ("baselines", "list")])
def test_a_reader_that_has_enough_gets_no_traceback(arguments: tuple[str, ...]) -> None:
    code = "import sys; from append_prefill.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == EXIT_BROKEN_PIPE


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "env",
        "compare",
        "report",
        "baselines",
        "history",
        "alerts",
        "plan",
        "doctor",
        "noise",
        "schema",
    ],
)
def test_every_command_explains_itself(command: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "usage: append-prefill" in capsys.readouterr().out


# compare: far effects and a spread of 0.5 % between launches, so that a false verdict of this seed
# would be a defect; the error rates themselves are the analysis' own tests.


def test_compare_names_a_regression(tmp_path: Path, capsys: Captured) -> None:
    old = stored(tmp_path, "old", builders.run("0.5.19"))
    new = stored(tmp_path, "new", builders.run("0.5.23", base_ms=26.0, seed=1))
    status, data = call_json(capsys, "compare", old, new)
    assert status == 1
    assert data["verdict"] == "regression"
    assert (data["reference"], data["kind"], data["confirmed"]) == ("0.5.19", "baseline", False)
    assert [p["ratio"] for p in data["points"]] == pytest.approx([1.3] * 4, rel=0.05)
    assert main(["compare", old, new]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "REGRESSION" in text
    assert "scatters less than the medians" in text
    assert "+30." in text or "+29." in text


def test_compare_the_other_way_is_an_improvement(tmp_path: Path, capsys: Captured) -> None:
    old = stored(tmp_path, "old", builders.run("0.5.19"))
    new = stored(tmp_path, "new", builders.run("0.5.23", base_ms=26.0, seed=1))
    status, data = call_json(capsys, "compare", new, old)
    assert (status, data["verdict"]) == (0, "improvement")


def test_compare_without_evidence_is_inconclusive(tmp_path: Path, capsys: Captured) -> None:
    old = stored(tmp_path, "old", builders.run("0.5.19"))
    new = stored(tmp_path, "new", builders.run("0.5.23", starts=1))
    status, data = call_json(capsys, "compare", old, new)
    assert (status, data["verdict"]) == (8, "inconclusive")


def test_compare_of_other_identity_names_the_fields(tmp_path: Path, capsys: Captured) -> None:
    old = stored(tmp_path, "old", builders.run("0.5.19"))
    other = builders.identity(driver="590.1")
    new = stored(tmp_path, "new", builders.run("0.5.23", identity=other, base_ms=26.0, seed=1))
    status, data = call_json(capsys, "compare", old, new)
    assert (status, data["verdict"]) == (8, "not-comparable")
    assert data["differing"] == {"driver": ["590.1", "580.95.05"]}
    assert main(["compare", old, new]) == 8
    assert "driver" in capsys.readouterr().out
    status, data = call_json(capsys, "compare", old, new, "--not-binding", "driver")
    assert (status, data["verdict"]) == (1, "regression")


def test_compare_with_the_study_shows_effects_and_no_verdict(
    tmp_path: Path, capsys: Captured
) -> None:
    new = stored(tmp_path, "new", builders.run("0.5.23", base_ms=30.0))
    status, data = call_json(capsys, "compare", str(STUDY), new)
    assert (status, data["verdict"]) == (8, "inconclusive")
    assert len(data["points"]) == len(builders.POINTS)
    assert main(["compare", str(STUDY), new]) == 8
    assert "Times are medians" not in capsys.readouterr().out
    assert "cannot be a candidate" in refused(capsys, "compare", new, str(STUDY))


def test_compare_names_the_file_that_cannot_be_read(tmp_path: Path, capsys: Captured) -> None:
    run = stored(tmp_path, "a", builders.run())
    assert "B " in refused(capsys, "compare", run, str(tmp_path / "missing.json"))


def test_compare_with_a_profile_that_is_not_at_hand(tmp_path: Path, capsys: Captured) -> None:
    run = stored(tmp_path, "a", builders.run(profile="mine"))
    assert "--profile mine" in refused(capsys, "compare", run, run)


def test_report_is_written_beside_the_run(tmp_path: Path, capsys: Captured) -> None:
    path = Path(stored(tmp_path, "a", builders.run()))
    assert main(["report", str(path.parent)]) == 0
    assert (path.parent / "report.html").read_text(encoding="utf-8").startswith("<!")
    assert (path.parent / "summary.md").is_file()
    out = tmp_path / "elsewhere"
    capsys.readouterr()
    status, data = call_json(capsys, "report", str(path), "--out", str(out))
    assert status == 0
    assert data[str(path)]["report.html"] == str(out / "report.html")


def test_report_in_another_tools_format_writes_that_alone(tmp_path: Path, capsys: Captured) -> None:
    path = stored(tmp_path, "a", builders.run())
    formats = ["--format", "csv", "--format", "bencher"]
    status, data = call_json(capsys, "report", path, *formats)
    assert status == 0
    assert sorted(data[path]) == ["bencher.json", "samples.csv"]
    assert not (tmp_path / "a" / "report.html").exists()
    with pytest.raises(SystemExit) as caught:
        main(["report", path, "--format", "pdf"])
    assert caught.value.code == 4
    assert "pytest-benchmark" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["status", "github-summary", "pr-comment", "slack", "teams"])
def test_a_message_is_written_beside_the_run_or_printed(
    name: str, tmp_path: Path, capsys: Captured
) -> None:
    path = stored(tmp_path, "a", builders.run())
    status, data = call_json(capsys, "report", path, "--format", name)
    assert status == 0
    ((file, written),) = data[path].items()
    assert file == FILES[name]
    assert main(["report", path, "--format", name, "--out", "-"]) == 0
    assert capsys.readouterr().out == Path(written).read_text(encoding="utf-8")
    if name in ("slack", "teams"):
        assert json.loads(Path(written).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "options",
    [[], ["--format", "slack", "--format", "teams"], ["--format", "slack", "--json"]],
)
def test_only_one_document_is_printed(options: list[str], tmp_path: Path, capsys: Captured) -> None:
    path = stored(tmp_path, "a", builders.run())
    assert "--out -: prints one document" in refused(capsys, "report", path, "--out", "-", *options)


def test_report_draws_the_stored_run_it_was_compared_with(tmp_path: Path, capsys: Captured) -> None:
    root = tmp_path / "baselines"
    old = builders.run("0.5.19")
    later = old.created_at + timedelta(days=1)
    save_baseline(old, root)
    new = builders.run("0.5.23", created_at=later)
    compared = compare_runs(new, old, load_profile("llama-3.1-8b"))
    page = Path(stored(tmp_path, "new", new.model_copy(update={"comparison": compared})))
    where = ["--baselines", str(root)]
    assert main(["report", str(page), *where]) == 0
    assert capsys.readouterr().err == ""
    drawn = (page.parent / "report.html").read_text(encoding="utf-8")
    # Stored anew since, it is another run; and where nothing is stored there is no curve.
    save_baseline(builders.run("0.5.19", created_at=later + timedelta(days=1)), root)
    for folder in (root, tmp_path / "none"):
        assert main(["report", str(page), "--baselines", str(folder)]) == 0
        assert "SGLang 0.5.19, which the run was compared with" in capsys.readouterr().err
        assert (page.parent / "report.html").read_text(encoding="utf-8") != drawn
    # Of a running server that told no device, which was held against a file.
    nameless = new.model_copy(update={"comparison": compared, "identity": {}})
    assert main(["report", stored(tmp_path, "nameless", nameless), *where]) == 0


def test_report_draws_the_study_where_that_was_compared_with(
    tmp_path: Path, capsys: Captured
) -> None:
    """Its name is no version, and it lies beside runs that were measured."""
    device = {"device": "NVIDIA H100 80GB HBM3"}
    root = tmp_path / "baselines"
    home = root / STUDY.parent.relative_to(STUDY.parents[2])
    home.mkdir(parents=True)
    (home / STUDY.name).write_bytes(STUDY.read_bytes())
    new = builders.run("0.5.23", identity=builders.identity(**device))
    study = read_run(STUDY)
    compared = compare_runs(new, study, load_profile("llama-3.1-8b"))
    page = Path(stored(tmp_path, "new", new.model_copy(update={"comparison": compared})))
    assert main(["report", str(page), "--baselines", str(root)]) == 0
    assert capsys.readouterr().err == ""
    drawn = page.with_name("report.html").read_text(encoding="utf-8")
    profile = load_profile("llama-3.1-8b")
    assert drawn == rendered("html", read_run(page), profile, study, home=page.parent)


def test_report_of_several_has_no_single_folder(tmp_path: Path, capsys: Captured) -> None:
    runs = [stored(tmp_path, name, builders.run()) for name in ("a", "b")]
    assert "Give one RUN" in refused(capsys, "report", *runs, "--out", str(tmp_path))


def test_report_says_when_the_profile_is_not_at_hand(tmp_path: Path, capsys: Captured) -> None:
    path = stored(tmp_path, "a", builders.run(profile="mine"))
    assert main(["report", path]) == 0
    assert "mine is not a shipped profile" in capsys.readouterr().err


@pytest.fixture
def baselines(tmp_path: Path) -> str:
    folder = tmp_path / "baselines"
    for version in ("0.5.9", "0.5.12"):
        save_baseline(builders.run(version), folder)
    return str(folder)


def test_baselines_list_and_promote(baselines: str, tmp_path: Path, capsys: Captured) -> None:
    status, listed = call_json(capsys, "baselines", "list", "--baselines", baselines)
    assert status == 0
    assert [(b["version"], b["pinned"], b["floor_ms"]) for b in listed] == [
        ("0.5.9", False, 20.0), ("0.5.12", False, 20.0),
    ]  # fmt: skip
    options = ["--baselines", baselines, "--reason", "the release we ship"]
    assert main(["baselines", "promote", "0.5.9", *options]) == 0
    out = capsys.readouterr().out
    assert "Nothing is pinned for this device and model yet." in out
    assert "Pinned 0.5.9 for" in out
    new = stored(tmp_path, "new", builders.run("0.5.23", base_ms=22.0))
    assert main(["baselines", "promote", new, *options]) == 0
    out = capsys.readouterr().out
    assert out.index("TTFT of 0.5.23 against 0.5.9") < out.index("Pinned 0.5.23 (was 0.5.9)")
    assert "+10" in out
    assert main(["baselines", "list", "--baselines", baselines]) == 0
    pinned = [line for line in capsys.readouterr().out.splitlines() if "pinned" in line]
    assert len(pinned) == 1
    assert "0.5.23" in pinned[0]


def test_promote_without_a_reason_shows_the_difference_and_moves_nothing(
    baselines: str, tmp_path: Path, capsys: Captured
) -> None:
    where = ["--baselines", baselines]
    assert main(["baselines", "promote", "0.5.9", *where]) == 0
    assert "Nothing was moved" in capsys.readouterr().out
    assert not list(Path(baselines).rglob("pinned.json"))
    assert main(["baselines", "promote", "0.5.9", *where, "--reason", "we ship it"]) == 0
    capsys.readouterr()
    new = stored(tmp_path, "new", builders.run("0.5.23"))
    status, data = call_json(capsys, "baselines", "promote", new, *where)
    assert (status, data["pinned"]) == (0, None)
    assert data["comparison"]["reference"] == "0.5.9"
    assert not list(Path(baselines).rglob("0.5.23.json"))


def test_the_pinned_version_measured_anew_takes_its_own_place(
    baselines: str, tmp_path: Path, capsys: Captured
) -> None:
    """What an expired reference asks for; `--save-baseline` alone may not do it."""
    options = ["--baselines", baselines, "--reason", "90 days old"]
    assert main(["baselines", "promote", "0.5.9", *options]) == 0
    anew = stored(tmp_path, "anew", builders.run("0.5.9", base_ms=21.0))
    assert main(["baselines", "promote", anew, *options]) == 0
    assert "Pinned 0.5.9 (was 0.5.9)" in capsys.readouterr().out
    status, shown = call_json(capsys, "baselines", "show", "0.5.9", "--baselines", baselines)
    assert (status, shown["points"][0]["median_ms"] > 20.5) == (0, True)


def test_promote_needs_a_stored_version_with_samples(baselines: str, capsys: Captured) -> None:
    options = ["--baselines", baselines, "--reason", "because"]
    error = refused(capsys, "baselines", "promote", "0.6", *options)
    assert "0.5.9, 0.5.12" in error
    study = ["baselines", "promote", "0.5.5.post3", "--reason", "because"]
    root, folder = str(STUDY.parents[2]), str(STUDY.parent.relative_to(STUDY.parents[2]))
    where = ["--baselines", root, "--folder", folder]
    assert "the study's table" in refused(capsys, *study, *where)


def test_store_is_save_baseline_after_the_fact(tmp_path: Path, capsys: Captured) -> None:
    run = builders.run("0.5.23")
    path = Path(stored(tmp_path, "new", run))
    root = tmp_path / "baselines"
    where = ["--baselines", str(root)]
    status, data = call_json(capsys, "baselines", "store", str(path.parent), *where)
    assert (status, data["version"]) == (0, "0.5.23")
    assert data["path"] == str(root / "nvidia-h200/llama-3.1-8b-instruct/0.5.23.json")
    expected = save_baseline(run, tmp_path / "expected")
    assert Path(data["path"]).read_bytes() == expected.read_bytes()
    assert main(["baselines", "store", str(path), *where]) == 0
    assert data["path"] in capsys.readouterr().out


def both_sides(**changes: Any) -> Run:
    profile = load_profile("llama-3.1-8b")
    identity = builders.identity(protocol=protocol_of(profile))
    given = {"definition": definition_of(profile), "points": profile.points, "identity": identity}
    changes = given | changes
    return builders.side_by_side("0.5.23", "0.5.19", reference_ms=30.0, **changes)


def test_store_the_reference_of_a_side_by_side_run(tmp_path: Path, capsys: Captured) -> None:
    path = stored(tmp_path, "both", both_sides())
    where = ["--baselines", str(tmp_path / "baselines")]
    status, data = call_json(capsys, "baselines", "store", path, "--side", "reference", *where)
    assert (status, data["version"], Path(data["path"]).name) == (0, "0.5.19", "0.5.19.json")
    kept = read_run(Path(data["path"]))
    assert [start.side for start in kept.starts] == ["candidate"] * 3
    assert all(point.median_ms is not None and point.median_ms > 29 for point in kept.points)
    assert (kept.comparison, kept.subject) == (None, {"sglang": "0.5.19"})
    # The candidate of the same file is another version's baseline.
    _, data = call_json(capsys, "baselines", "store", path, *where)
    assert Path(data["path"]).name == "0.5.23.json"


def test_store_the_reference_by_a_profile_that_has_more_experiments_by_now(
    tmp_path: Path, capsys: Captured
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        """
        extends = "llama-3.1-8b"
        name = "mine"
        [[experiments]]
        id = "more"
        title = "More"
        points = [[96, 64]]
        """
    )
    path = stored(tmp_path, "both", both_sides())
    where = ["--baselines", str(tmp_path / "baselines"), "--profile", str(mine)]
    status, data = call_json(capsys, "baselines", "store", path, "--side", "reference", *where)
    assert status == 0
    kept = read_run(Path(data["path"]))
    assert (96, 64) not in {(p.context_tokens, p.append_tokens) for p in kept.points}


def test_compare_says_which_points_it_leaves_out(tmp_path: Path, capsys: Captured) -> None:
    more = builders.run()
    more.starts = [builders.start(i, points=(*builders.POINTS, Point(96, 64))) for i in range(5)]
    more.plan.points.append((96, 64))
    paths = stored(tmp_path, "old", builders.run("0.5.19")), stored(tmp_path, "new", more)
    main(["compare", *paths])
    said = " ".join(capsys.readouterr().out.split())
    assert "Compared at the 4 points both have; not in the baseline: L96-m64." in said
    _, data = call_json(capsys, "compare", *paths)
    assert (data["only_candidate"], data["only_reference"]) == ([[96, 64]], [])
    main(["compare", *paths[::-1]])
    assert "not in this run: L96-m64." in " ".join(capsys.readouterr().out.split())


def test_store_needs_a_reference_and_its_profile(tmp_path: Path, capsys: Captured) -> None:
    options = ["--side", "reference", "--baselines", str(tmp_path / "baselines")]
    definition = both_sides().definition
    alone = stored(tmp_path, "alone", builders.run(definition=definition))
    error = refused(capsys, "baselines", "store", alone, *options)
    assert "--side reference" in error
    assert "measured with --against" in error
    both = stored(tmp_path, "both", both_sides())
    error = refused(capsys, "baselines", "store", both, *options, "--profile", "cpu-nano")
    assert "--profile cpu-nano: measures something else" in error
    mine = stored(tmp_path, "mine", both_sides(profile="mine"))
    assert "--profile mine" in refused(capsys, "baselines", "store", mine, *options)
    assert not (tmp_path / "baselines").exists()


@pytest.mark.parametrize("side", ["candidate", "reference"])
def test_store_refuses_what_save_baseline_refuses(
    side: str, tmp_path: Path, capsys: Captured
) -> None:
    options = ["--side", side, "--baselines", str(tmp_path / "baselines")]

    def refusal(name: str, run: Run) -> str:
        return refused(capsys, "baselines", "store", stored(tmp_path, name, run), *options)

    assert "the study's table" in refused(capsys, "baselines", "store", str(STUDY), *options)
    assert "running server" in refusal("url", both_sides(state={"replicated": False}))
    once = both_sides()
    once.plan.starts = 1
    assert "one launch" in refusal("once", once)
    assert "no valid launch" in refusal("failed", both_sides(verdict="infrastructure"))
    whole = stored(tmp_path, "whole", both_sides())
    assert main(["baselines", "store", whole, *options]) == 0
    capsys.readouterr()
    protocol = protocol_of(load_profile("llama-3.1-8b"))
    other = both_sides(identity=builders.identity(driver="590.1", protocol=protocol))
    assert "another identity (driver differ)" in refusal("other", other)
    version = "0.5.23" if side == "candidate" else "0.5.19"
    pin = ["baselines", "promote", version, "--reason", "we ship it", *options[2:]]
    assert main(pin) == 0
    capsys.readouterr()
    assert "is the pinned reference" in refused(capsys, "baselines", "store", whole, *options)


def test_baselines_show(baselines: str, capsys: Captured) -> None:
    status, data = call_json(capsys, "baselines", "show", "0.5.12", "--baselines", baselines)
    assert (status, data["schema"]) == (0, "append-prefill/run/2")
    assert main(["baselines", "show", "0.5.12", "--baselines", baselines]) == 0
    text = capsys.readouterr().out
    assert "identity.driver" in text
    assert "580.95.05" in text
    assert main(["baselines", "show", str(STUDY)]) == 0
    assert "24.7" in capsys.readouterr().out


def test_a_version_that_is_not_stored_names_each_that_is_once(
    baselines: str, capsys: Captured
) -> None:
    other = builders.identity(device="NVIDIA H100 80GB HBM3")
    save_baseline(builders.run("0.5.9", identity=other), Path(baselines))
    error = refused(capsys, "baselines", "show", "nosuch", "--baselines", baselines)
    assert error.count("0.5.9") == 1
    assert "0.5.12" in error


def test_no_baselines_says_how_to_get_one(tmp_path: Path, capsys: Captured) -> None:
    assert main(["baselines", "list", "--baselines", str(tmp_path)]) == 0
    assert "--save-baseline" in capsys.readouterr().out


def test_schema_is_the_checked_in_one(tmp_path: Path, capsys: Captured) -> None:
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == SCHEMA_FILE.read_text(encoding="utf-8")
    assert main(["schema", "--out", str(tmp_path / "s.json")]) == 0
    assert (tmp_path / "s.json").read_bytes() == SCHEMA_FILE.read_bytes()


def test_compare_holds_other_traffic_too(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = parts.profile().model_copy(update={"traffic": (TURNS,)})
    monkeypatch.setattr("append_prefill.cli.compare.load_profile", lambda _: of)
    old = stored(tmp_path, "old", with_traffic(samples.baseline_run()))
    new = stored(tmp_path, "new", with_traffic(samples.passing(), lambda _, __: 1.5))
    status, data = call_json(capsys, "compare", old, new)
    assert status == 1
    assert data["verdict"] != "regression"
    ((name, verdict),) = ((t["experiment"], t["comparison"]["verdict"]) for t in data["traffic"])
    assert (name, verdict) == ("turns", "regression")
    assert main(["compare", old, new]) == 1
    text = capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ")
    assert "REGRESSION, with other traffic: " in text
    assert "slower than 0.5.22 in conversations (turns: " in text
    # What the reference did not measure is not compared with, and the other side is no stand-in.
    bare = stored(tmp_path, "bare", samples.baseline_run())
    _, data = call_json(capsys, "compare", bare, new)
    assert [t["comparison"] for t in data["traffic"]] == [None]
    main(["compare", bare, new])
    assert "not measured in A" in capsys.readouterr().out
