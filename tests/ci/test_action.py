"""The composite action and the workflows: against their published schemas, and its steps run."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.ci import programs

ROOT = Path(__file__).parents[2]
FILE = ROOT / ".github" / "actions" / "append-prefill" / "action.yml"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPT = (ROOT / "ci" / "nightly.sh").read_text(encoding="utf-8")
ACTION: dict[str, Any] = YAML(typ="safe").load(FILE)
STEPS: dict[str, Any] = {step["name"]: step for step in ACTION["runs"]["steps"]}


def check(schema: str, *files: Path) -> subprocess.CompletedProcess[str]:
    return programs.run("check-jsonschema", "--builtin-schema", schema, *files)


def test_the_action_is_what_github_says_an_action_is(tmp_path):
    done = check("vendor.github-actions", FILE)
    assert done.returncode == 0, done.stdout
    bad = tmp_path / "action.yml"
    bad.write_text(FILE.read_text().replace("using: composite", "using: compost"))
    assert check("vendor.github-actions", bad).returncode == 1


def test_the_workflows_are_what_github_says_a_workflow_is():
    assert len(WORKFLOWS) == 2
    done = check("vendor.github-workflows", *WORKFLOWS)
    assert done.returncode == 0, done.stdout


def test_inputs_are_used_and_described_and_no_other_is():
    text = FILE.read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{\{ inputs\.([\w-]+) \}\}", text))
    assert used == set(ACTION["inputs"])
    assert all(given["description"] and "default" in given for given in ACTION["inputs"].values())


def test_outputs_are_what_the_nightly_tells():
    told = set(re.findall(r"^  tell (\w+) ", SCRIPT, re.MULTILINE))
    assert set(ACTION["outputs"]) == told


def test_nothing_of_an_input_is_read_as_code():
    """What stands between the braces is pasted into a script before a shell reads it."""
    for step in STEPS.values():
        assert "${{" not in step.get("run", "")


def test_variables_are_the_nightlys():
    names = [name for name in STEPS["Measure"]["env"] if "NIGHTLY" in name]
    assert len(names) > 5
    for name in names:
        assert re.search(rf"^#   {name}\b", SCRIPT, re.MULTILINE), name


def test_the_nightly_workflow_gives_inputs_that_the_action_has():
    workflow = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "nightly.yml")
    (job,) = workflow["jobs"].values()
    (step,) = (s for s in job["steps"] if s.get("uses", "").startswith("./"))
    assert (ROOT / step["uses"] / "action.yml") == FILE
    assert set(step["with"]) <= set(ACTION["inputs"])
    assert int(step["with"]["limit-minutes"]) + 30 <= job["timeout-minutes"]


def test_it_sends_nothing_anywhere():
    assert {s.get("uses", "").partition("@")[0] for s in STEPS.values()} == {
        "",
        "actions/upload-artifact",
    }
    assert not re.search(r"\b(curl|wget|gh|webhook)\b", FILE.read_text(encoding="utf-8"))


def bash(step: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub runs it: the script in a file, `bash -e -o pipefail`."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[step]["run"]],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.fixture
def measure(tmp_path):
    """The first step on a nightly that shows its arguments and where its reports go."""
    (tmp_path / "suite" / "ci").mkdir(parents=True)
    script = tmp_path / "suite" / "ci" / "nightly.sh"
    script.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$NIGHTLY_REPORT_DIR" "$@"\nexit 8\n')
    script.chmod(0o755)

    def run(**inputs: str) -> list[str]:
        """`inputs` by the names of the step's variables."""
        env = {
            "SUITE": str(tmp_path / "suite"),
            "GITHUB_WORKSPACE": "/w",
            "REPORT_DIR": "reports",
            **dict.fromkeys(("PROFILE", "LABEL", "AGAINST_LABEL", "ARGUMENTS"), ""),
            **inputs,
        }
        assert set(env) - {"GITHUB_WORKSPACE"} == {
            name for name in STEPS["Measure"]["env"] if "NIGHTLY" not in name
        }
        done = bash("Measure", **env)
        assert done.returncode == 8, done.stderr
        return done.stdout.splitlines()

    return run


def test_without_inputs_the_nightly_gets_no_option(measure):
    assert measure() == ["/w/reports"]
    assert measure(REPORT_DIR="/kept/reports") == ["/kept/reports"]


def test_inputs_become_options(measure):
    assert measure(
        PROFILE="cpu-nano",
        LABEL="after $(touch /tmp/x) it's",
        AGAINST_LABEL="before",
        ARGUMENTS="--server-arg=--disable-radix-cache\n\n--seed=7\n",
    ) == [
        "/w/reports",
        "--profile=cpu-nano",
        "--label=after $(touch /tmp/x) it's",
        "--against-label=before",
        "--server-arg=--disable-radix-cache",
        "--seed=7",
    ]


@pytest.mark.parametrize(
    ("outcome", "strict", "status"),
    [
        ("pass", "true", 0),
        ("inconclusive", "false", 0),
        ("inconclusive", "true", 8),
        ("regression", "false", 1),
        ("infrastructure", "false", 7),
        ("usage", "false", 4),
        ("", "false", 4),
    ],
)
def test_the_job_ends_as_the_run_did(outcome, strict, status):
    assert bash("Outcome", OUTCOME=outcome, STRICT=strict).returncode == status


def test_the_report_is_kept_before_the_job_fails():
    assert list(STEPS) == ["Measure", "Keep the report", "Outcome"]
    assert STEPS["Measure"]["continue-on-error"] is True
    assert STEPS["Keep the report"]["if"].startswith("always() && ")
