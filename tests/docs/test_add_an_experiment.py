"""docs/add-an-experiment.md, done to the letter on a copy of the checkout."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from append_prefill.workload.loading import load_profile, shipped_profiles
from append_prefill.workload.profile import Profile
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "add-an-experiment.md"
BLOCK = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
MOST_LINES, MOST_FILES = 10, 2
# What is built, cached or measured in a checkout and is no part of it.
LEFT_BEHIND = shutil.ignore_patterns(
    *(".git", ".tox", ".venv", ".*_cache", ".hypothesis", "*.egg-info"),
    *("build", "dist", "site"),
    *("2*T*", "latest", "history.sqlite*", "history.jsonl"),  # runs, in reports/
)
# What broke when an experiment was added to a shipped profile and its points were counted here.
ONCE_BROKEN = (
    "tests/workload/test_profile.py",
    "tests/records/test_definition.py",
    "tests/records/test_study_baseline.py",
    "tests/analysis/test_findings.py",
    "tests/analysis/test_real_nights.py::test_a_rolling_reference_of_few_nights_ends_in_a_verdict[5-4]",
    "tests/report/test_charts.py",
    "tests/cli/test_plan.py",
    "tests/benchmarks/test_replay.py",
    "tests/benchmarks/verdicts/test_table.py::test_the_h200s_noise_is_that_of_its_sample_run",
)


def blocks(language: str) -> dict[str, str]:
    """The page's fenced blocks of a language, by title; the untitled under ""."""
    found = BLOCK.finditer(PAGE.read_text(encoding="utf-8"))
    return {b["title"] or "": b["text"] for b in found if b["language"] == language}


def shipped_and_own() -> tuple[Path, str, str, str]:
    """The shipped profile's path and lines, then the own profile's name and first lines."""
    (path, lines), (name, head) = blocks("toml").items()
    return Path(path), lines, name, head


class Copy:
    """A copy of the checkout, in which what the page says is done."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(REPOSITORY, root, ignore=LEFT_BEHIND)

    def warm_up_briefly(self, path: Path) -> None:
        """Whether times are stationary is none of what the runs on the copy are for."""
        profile = self.root / path
        text = profile.read_text(encoding="utf-8")
        assert text.count("[plan]\n") == 1
        profile.write_text(text.replace("[plan]\n", "[plan]\nwarmup_rounds_max = 2\n"), "utf-8")

    def append(self, path: Path, lines: str) -> None:
        with (self.root / path).open("a", encoding="utf-8") as file:
            file.write(lines)

    def pytest(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": str(self.root), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )

    def measure(self, *arguments: str, version: str) -> tuple[str, dict[str, Any]]:
        """A short run on a simulated server of that version: what it printed, and its record."""
        server = f"--sglang=simulated:floor_ms=2,new_token_us=0.5,sglang_version={version}"
        result = self.pytest(*arguments, server, "--starts=2", "--samples=3")
        assert result.returncode in (0, 1), result.stdout + result.stderr
        return result.stdout, json.loads((self.report() / "run.json").read_text())

    def report(self) -> Path:
        return self.root / "reports" / "latest"


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "checkout")


def commands() -> tuple[list[str], list[str]]:
    """The arguments that the page gives pytest: for the claim alone, and for everything."""
    alone, everything = (shlex.split(line) for line in blocks("bash")[""].splitlines())
    assert alone[0] == everything[0] == "pytest"
    return alone[1:], everything[1:]


def pairs(points: Iterable[Any]) -> list[list[int]]:
    return [[point.context_tokens, point.append_tokens] for point in points]


def test_it_takes_ten_lines_in_two_files_at_most() -> None:
    path, lines, _, head = shipped_and_own()
    assert 0 < sum(bool(line.strip()) for line in lines.splitlines()) <= MOST_LINES
    assert len({path}) <= MOST_FILES
    assert (REPOSITORY / path).is_file()
    assert len(head.splitlines()) == 2


def test_the_new_claim_is_judged_and_the_stored_baseline_still_compared(copy: Copy) -> None:
    path, lines, _, _ = shipped_and_own()
    alone, everything = commands()
    before = load_profile(path.stem)
    copy.warm_up_briefly(path)
    copy.measure(
        *everything, "--save-baseline", "--baseline=none", "perf_tests/test_regression.py",
        version="0.5.5",
    )  # fmt: skip
    copy.append(path, lines)
    after = load_profile(str(copy.root / path))
    (claim,) = (c for e in after.experiments for c in e.findings)
    added = [point for point in after.points if point not in before.points]
    assert added

    # Its properties send requests of their own, whatever the experiments.
    but_properties = "--deselect=perf_tests/test_split_properties.py"
    printed, record = copy.measure(*everything, but_properties, version="0.5.6")
    (finding,) = (f for f in record["findings"] if f["id"] == claim.id)
    assert finding["verdict"] in ("holds", "broken", "inconclusive")
    assert (finding["bound"], finding["argument"]) == (claim.limit, claim.argument)
    assert finding["low"] <= finding["measured"] <= finding["high"]
    comparison = record["comparison"]
    assert (comparison["kind"], comparison["reference"]) == ("baseline", "0.5.5")
    assert comparison["verdict"] != "not-comparable"
    compared = [[p["context_tokens"], p["append_tokens"]] for p in comparison["points"]]
    assert [pair for pair in pairs(before.points) if pair not in compared] == []
    assert comparison["only_candidate"] == pairs(added)
    assert comparison["only_reference"] == []
    said = f"not in the baseline: {added[0].label}"
    page = (copy.report() / "report.html").read_text(encoding="utf-8")
    for text in (printed, page, (copy.report() / "summary.md").read_text(encoding="utf-8")):
        assert claim.id in text
        assert said in text
    assert claim.claim in page
    assert f"test_claim_of_the_profile_holds[{claim.id}]" in (
        copy.report() / "junit.xml"
    ).read_text(encoding="utf-8")

    # Alone it measures its own points, and those the seed draws.
    _, record = copy.measure(*alone, version="0.5.6")
    (experiment,) = (e for e in after.experiments if e.findings)
    assert record["plan"]["points"] == pairs(sorted(experiment.as_points))


def test_no_test_of_the_project_breaks(copy: Copy) -> None:
    _, lines, _, _ = shipped_and_own()
    folder = Path("append_prefill/profiles")
    for name in shipped_profiles():
        # What extends another has its experiments already.
        if "extends" not in tomllib.loads((REPOSITORY / folder / f"{name}.toml").read_text()):
            copy.append(folder / f"{name}.toml", lines)
    # What is drawn hundreds of times counts no points, nor does what is refused before any is.
    counting = ("-m", "not simulation", "-k", "not cannot_be_chosen_for")
    result = copy.pytest("-q", *counting, *ONCE_BROKEN)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout


def test_a_profile_of_ones_own_gets_the_same_lines(tmp_path: Path) -> None:
    path, lines, name, head = shipped_and_own()
    file = tmp_path / name
    file.write_text(head + lines, encoding="utf-8")
    own, shipped = load_profile(str(file)), load_profile(path.stem)
    assert own.name == Path(name).stem
    assert own.experiments[:-1] == shipped.experiments
    assert own.experiments[-1].findings
    assert own.model_copy(update=_same(shipped)) == shipped


def _same(shipped: Profile) -> dict[str, Any]:
    return {"name": shipped.name, "experiments": shipped.experiments}
