"""Options about one side: what it is called, its own server arguments, and what is known of it."""

import subprocess

import pytest

from append_prefill.records.contrast import Difference, contrast_of
from append_prefill.records.store import read_run
from tests.engines.installed import installed_python

FAST = ("test_exp3_append.py",)
SIMULATED = "simulated:floor_ms=3,new_token_us=1"
WORKERS = pytest.mark.parametrize("workers", [(), ("-n", "2")])


@WORKERS
def test_sides_are_called_as_the_user_does(suite, workers):
    result = suite.run(
        f"--against={SIMULATED}",
        "--label=after the change",
        "--against-label=before <b>it</b>",
        "--baseline=none",
        *workers,
        files=FAST,
    )
    assert result.ret == 0
    record = suite.record()
    assert record["suite"]["label"] == "after the change"
    assert record["comparison"]["reference"] == "before <b>it</b>"
    assert "'--label=after the change'" in record["suite"]["options"]
    result.stdout.fnmatch_lines(
        [
            "append-prefill: candidate simulated after the change, against simulated before *",
            "*candidate simulated after the change, launch 1: *",
            "against simulated server before <b>it</b>, side by side: *",
        ]
    )
    page = (suite.latest() / "report.html").read_text(encoding="utf-8")
    assert "simulated server after the change" in page
    assert "before &lt;b&gt;it&lt;/b&gt;" in page
    assert "<b>it</b>" not in page
    summary = (suite.latest() / "summary.md").read_text(encoding="utf-8")
    assert "before \\<b\\>it\\</b\\>" in summary


def test_a_running_server_can_have_a_name(suite):
    """With workers, each of which attaches to it; without, see tests/plugin/test_plugin.py."""
    from append_prefill.planted.cost import Cost
    from append_prefill.planted.server import PlantedServer

    with PlantedServer(Cost(floor_ms=3, new_token_us=1)) as server:
        result = suite.run(
            f"--sglang-url={server.base_url}",
            "--label=prod-3",
            "--baseline=none",
            *("-n", "2"),
            files=FAST,
        )
    assert result.ret == 0
    result.stdout.fnmatch_lines(["append-prefill: candidate prod-3, nothing *"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--label=",), "--label '': is empty"),
        (("--label=a\x1b[31mb",), "--label 'a\\x1b[31mb': holds characters"),
        ((f"--label={'x' * 49}",), "has 49 characters"),
        (("--against-label=before",), "--against-label before: is about a reference"),
        (
            (f"--against={SIMULATED}", "--label=one", "--against-label=one"),
            "--against-label one: is what --label calls the candidate",
        ),
        (("--against-server-arg=--x",), "--against-server-arg --x: is about a reference"),
        (
            (f"--against={SIMULATED}", "--against-server-arg=--x"),
            "--against-server-arg --x: the simulated server takes no argument",
        ),
        (("--against-server-arg=--api-key=hunter2",), "--against-server-arg --api-key=***"),
    ],
)
def test_bad_input_is_refused_before_a_server_starts(suite, arguments, named):
    result = suite.run(*arguments, files=FAST)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert named in result.stderr.str()
    assert "hunter2" not in result.stderr.str()
    assert not list((suite.path / "reports").glob("*/*.log"))


@pytest.mark.parametrize("argument", ["--port=1", "--model-path=/m"])
def test_what_the_suite_sets_itself_is_refused_for_the_reference_too(suite, argument):
    python = installed_python(suite.path / "venv", "0.5.23")
    result = suite.run(
        f"--sglang={python}", f"--against={python}", f"--against-server-arg={argument}", files=FAST
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--against-server-arg {argument}: the suite sets" in result.stderr.str()


def test_what_the_reference_cannot_hold_is_refused(suite):
    python = installed_python(suite.path / "venv", "0.5.23")
    result = suite.run(
        f"--sglang={python}",
        f"--against={python}",
        "--against-server-arg=--context-length=5",
        files=FAST,
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--against-server-arg --context-length 5: holds 5 tokens" in result.stderr.str()


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    command = ["git", *who, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def two_builds(suite):
    """An editable install at a commit, and the same behind a script that sets variables."""
    checkout = suite.path / "sglang"
    checkout.mkdir()
    (checkout / "pyproject.toml").write_text("[project]\n")
    git(checkout, "init", "--quiet")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "one")
    editable = {"url": checkout.as_uri(), "dir_info": {"editable": True}}
    python = installed_python(suite.path / "venv", "0.5.23", direct_url=editable)
    plain = installed_python(suite.path / "plain", "0.5.23")
    script = suite.path / "wrapped-python"
    script.write_text(
        f'#!/bin/sh\nexport SGLANG_X=1 HF_TOKEN=hunter2\nexec {plain} "$@"\n', encoding="utf-8"
    )
    script.chmod(0o755)
    return python, script, git(checkout, "rev-parse", "HEAD").strip()


@WORKERS
def test_one_version_with_other_arguments_variables_and_another_commit(suite, two_builds, workers):
    """Whether its blocks are valid is the machine's business: what differs is known either way."""
    python, script, commit = two_builds
    suite.run(
        f"--sglang={python}",
        f"--against={script}",
        "--server-arg=--chunked-prefill-size=4096",
        "--server-arg=--stream-interval=1",
        "--against-server-arg=--chunked-prefill-size=2048",
        "--against-server-arg=--api-key-file=x",
        "--against-label=small chunks",
        "--baseline=none",
        *workers,
        files=FAST,
    )
    text = (suite.latest() / "run.json").read_text(encoding="utf-8")
    assert "hunter2" not in text
    run = read_run(suite.latest())
    by_side = {start.side: start for start in run.starts}
    assert by_side["candidate"].subject["commit"] == commit
    assert by_side["reference"].subject["commit"] is None
    assert by_side["reference"].subject["environment"] == {"SGLANG_X": "1", "HF_TOKEN": "***"}
    # The candidate's are what makes the run comparable with others.
    assert run.identity["server_args"]["chunked-prefill-size"] == "4096"
    assert sum(bool(start.resolved) for start in run.starts) <= 2
    assert run.comparison is not None
    assert contrast_of(run) == [
        Difference("commit", "commit", commit, None),
        Difference("argument", "chunked-prefill-size", "4096", "2048"),
        Difference("argument", "api-key-file", None, "x"),
        Difference("variable", "SGLANG_X", None, "1"),
        Difference("variable", "HF_TOKEN", None, "***"),
    ]


def test_a_checkout_that_moves_while_it_is_measured_is_told(suite, two_builds):
    python, _, commit = two_builds
    with (suite.path / "conftest.py").open("a") as conftest:
        conftest.write(
            """
import pathlib
from append_prefill.run.session import PairRunner
measure = PairRunner.measure
def measure_one(self, *given):
    measure(self, *given)
    pathlib.Path("sglang/pyproject.toml").write_text("changed")
PairRunner.measure = measure_one
"""
        )
    suite.run(f"--sglang={python}", "--baseline=none", files=FAST)
    (warning,) = (w for w in suite.record()["warnings"] if w["code"] == "commit-moved")
    assert warning["text"].startswith(f"{commit}, {commit}-dirty.")
