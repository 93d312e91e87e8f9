"""ci/nightly.sh with a stub for its interpreter: arguments, outcomes, and what CI is told."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "ci" / "nightly.sh"

# Speaks for `python -m pip|tox|pytest|append_prefill.cli.main`: logs its arguments, writes a report
# and what is made of it, ends as told.
STAND_IN = """#!/usr/bin/env bash
echo "$* index=${PIP_EXTRA_INDEX_URL:-}" >>"$LOG"
case "$2" in
  pip) printf 'sglang (%s)\\nAvailable versions: 1, 2\\n' "$FAKE_NEWEST" ;;
  tox) exit "${FAKE_TOX:-0}" ;;
  append_prefill.cli.main)
    if [[ $3 == bisect ]]; then
      echo "1: 0.5.22 against 0.5.21: +5 %"
      if [[ -n ${FAKE_UNCONFIRMED:-} ]]; then echo "only suspects" >&2; exit 4; fi
      if [[ -n ${FAKE_BISECT_SLOW:-} ]]; then
        trap 'exit 8' INT
        echo bisecting >>"$LOG"
        for _ in {1..200}; do sleep 0.05; done
      fi
      echo "verdict: 0.5.21 to 0.5.23: +5 %: 0.5.22 +5 %."
      exit 1
    fi
    if [[ -n ${FAKE_UNREPORTABLE:-} ]]; then exit 4; fi
    echo "# For GitHub" >"$4/github-summary.md"
    echo "PASS: All 100 % well [launches 5]" >"$4/status.txt"
    ;;
  pytest)
    if [[ -n ${FAKE_REPORT:-} ]]; then
      mkdir -p "$NIGHTLY_REPORT_DIR/run-2"
      echo "# All well" >"$NIGHTLY_REPORT_DIR/run-2/summary.md"
      ln -sfn run-2 "$NIGHTLY_REPORT_DIR/latest"
    fi
    if [[ -n ${FAKE_SLOW:-} ]]; then
      trap 'echo interrupted >>"$LOG"; exit 2' INT
      echo measuring >>"$LOG"
      for _ in {1..200}; do sleep 0.05; done
    fi
    exit "${FAKE_STATUS:-0}"
    ;;
esac
"""


class Night:
    def __init__(self, folder: Path) -> None:
        self.log, self.output = folder / "log", folder / "output"
        self.summary = folder / "summary"
        self.reports = folder / "reports"
        stand_in = folder / "python"
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)
        (self.reports / "run-1").mkdir(parents=True)
        (self.reports / "run-1" / "summary.md").write_text("# Last night's")
        (self.reports / "latest").symlink_to("run-1")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("NIGHTLY_", "GITHUB_"))}
        self.env = clean | {
            "NIGHTLY_PYTHON": str(stand_in),
            "NIGHTLY_REPORT_DIR": str(self.reports),
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_ACTIONS": "true",
            "LOG": str(self.log),
            "FAKE_NEWEST": "0.5.23",
            "FAKE_REPORT": "yes",
        }

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, *arguments],
            env=self.env | env,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    @property
    def told(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.output.read_text().splitlines())


@pytest.fixture
def night(tmp_path):
    return Night(tmp_path)


def test_the_newest_release_is_measured(night):
    done = night.run("--profile", "cpu-nano", NIGHTLY_BASELINE="0.5.21")
    assert done.returncode == 0, done.stderr
    assert night.log.read_text().splitlines() == [
        "-m pip index versions --disable-pip-version-check sglang index=",
        "-m tox -e sglang-0.5.23 index=",
        "-m tox -e sglang-0.5.21 index=",  # what a suspicion is confirmed with
        f"-m pytest -m append_prefill --sglang 0.5.23 --baseline 0.5.21 "
        f"--report-dir={night.reports} --strict-verdicts --profile cpu-nano index=",
        f"-m append_prefill.cli.main report {night.reports}/run-2 --format github-summary "
        "--format status --format pr-comment --format slack --format teams index=",
    ]
    run = str((night.reports / "run-2").resolve())
    assert night.told == {
        "outcome": "pass",
        "version": "0.5.23",
        "report": run,
        "status": "PASS: All 100 % well [launches 5]",
        "bisect": "",
    }
    assert night.summary.read_text() == "# For GitHub\n"
    # A percent sign begins an escape in what GitHub reads off the log.
    assert "::SGLang 0.5.23: pass. PASS: All 100 %25 well [launches 5]" in done.stdout


def test_a_report_that_no_message_can_be_made_of_changes_nothing(night):
    done = night.run(FAKE_UNREPORTABLE="yes", FAKE_STATUS="1", NIGHTLY_BISECT="no")
    assert done.returncode == 1
    assert "the messages could not be written" in done.stderr
    assert (night.told["outcome"], night.told["status"]) == ("regression", "")
    assert night.summary.read_text() == "# All well\n"


def test_every_option_reaches_the_suite(night):
    night.run(
        NIGHTLY_CANDIDATE="0.5.19",
        NIGHTLY_AGAINST="0.5.17",
        NIGHTLY_WORKERS="8",
        NIGHTLY_BUDGET_MINUTES="90",
    )
    log = night.log.read_text()
    assert "pip" not in log
    assert "-m tox -e sglang-0.5.19" in log
    assert "-m tox -e sglang-0.5.17" in log
    assert "--baseline auto" in log
    assert "--against 0.5.17 --budget 90 -n 8" in log


@pytest.mark.parametrize("baseline", ["auto", "none", "baselines/a/b/0.5.21.json", "0.json"])
def test_only_a_version_names_an_environment_to_confirm_with(night, baseline):
    night.run(NIGHTLY_BASELINE=baseline)
    assert night.log.read_text().count("-m tox") == 1


def test_the_nightly_build_comes_from_its_own_index(night):
    index = "https://wheels.example.com/nightly"
    done = night.run(
        NIGHTLY_CANDIDATE="nightly",
        SGLANG_NIGHTLY_INDEX_URL=index,
        FAKE_NEWEST="0.5.24.dev20261120+g1234567",
    )
    assert done.returncode == 0, done.stderr
    log = night.log.read_text().splitlines()
    assert f"--pre --index-url {index} sglang" in log[0]
    assert log[1] == f"-m tox -e sglang-0.5.24.dev20261120 index={index}"
    assert log[2].endswith(" index=")  # the measured server's environment knows no index


@pytest.mark.parametrize(
    ("status", "outcome", "level"),
    [
        (0, "pass", "notice"),
        (1, "regression", "error"),
        (8, "inconclusive", "warning"),
        (7, "infrastructure", "error"),
        (4, "usage", "error"),
        (3, "infrastructure", "error"),
        (5, "usage", "error"),
    ],
)
def test_outcomes(night, status, outcome, level):
    done = night.run(FAKE_STATUS=str(status))
    assert done.returncode == status
    assert night.told["outcome"] == outcome
    assert f"::{level} title=append-prefill::SGLang 0.5.23: {outcome}" in done.stdout


def test_a_regression_is_bisected_with_what_is_left_of_the_limit(night):
    done = night.run(FAKE_STATUS="1", NIGHTLY_LIMIT_MINUTES="30", NIGHTLY_WORKERS="4")
    assert done.returncode == 1
    run = (night.reports / "run-2").resolve()
    (line,) = (one for one in night.log.read_text().splitlines() if "main bisect" in one)
    # What the run took is off the 30 minutes, seconds here.
    assert re.search(rf"bisect --from {run} --budget (29|30) ", line)
    assert f" --report-dir={night.reports} --workers 4 " in line
    assert night.told["bisect"] == "0.5.21 to 0.5.23: +5 %: 0.5.22 +5 %."
    assert night.summary.read_text().endswith(
        "\n**Bisected:** 0.5.21 to 0.5.23: +5 %: 0.5.22 +5 %.\n"
    )
    assert "Bisected: 0.5.21 to 0.5.23: +5 %25" in done.stdout
    assert (run / "bisect.log").read_text().startswith("1: 0.5.22")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"FAKE_STATUS": "0"}, ""),
        ({"FAKE_STATUS": "8"}, ""),
        ({"FAKE_STATUS": "1", "NIGHTLY_BISECT": "no"}, ""),
        ({"FAKE_STATUS": "1", "NIGHTLY_LIMIT_MINUTES": "4"}, "no time is left to bisect"),
        ({"FAKE_STATUS": "1", "FAKE_UNCONFIRMED": "yes"}, "not bisected: only suspects"),
        ({"FAKE_STATUS": "1", "FAKE_REPORT": ""}, ""),
    ],
)
def test_what_is_not_bisected_is_as_it_was(night, env, said):
    done = night.run(**env)
    assert done.returncode == int(env["FAKE_STATUS"])
    assert night.told["bisect"] == ""
    assert said in done.stderr
    assert ("bisecting" in done.stderr) == ("FAKE_UNCONFIRMED" in env)
    assert "Bisected" not in night.summary.read_text()


def test_a_nightly_build_is_bisected_on_its_own_index(night):
    index = "https://wheels.example.com/nightly"
    night.run(
        FAKE_STATUS="1",
        NIGHTLY_CANDIDATE="nightly",
        SGLANG_NIGHTLY_INDEX_URL=index,
        FAKE_NEWEST="0.5.24.dev20261120",
    )
    (line,) = (one for one in night.log.read_text().splitlines() if "main bisect" in one)
    assert f"--index-url {index}" in line


def test_a_cancelled_bisection_leaves_the_outcome(night):
    process = subprocess.Popen(
        [SCRIPT],
        env=night.env | {"FAKE_STATUS": "1", "FAKE_BISECT_SLOW": "yes"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=default_sigint,  # noqa: PLW1509
    )
    give_up = time.monotonic() + 20
    while not (night.log.exists() and "bisecting" in night.log.read_text()):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 1
    assert night.told["outcome"] == "regression"


@pytest.mark.parametrize(
    ("env", "status", "words"),
    [
        ({"FAKE_TOX": "1"}, 7, "the environment sglang-0.5.23 could not be made"),
        ({"FAKE_NEWEST": ""}, 7, "did not name a newest release"),
        ({"NIGHTLY_CANDIDATE": "nightly"}, 4, "needs SGLANG_NIGHTLY_INDEX_URL"),
    ],
)
def test_what_goes_wrong_before_the_run(night, env, status, words):
    done = night.run(**env)
    assert done.returncode == status
    assert words in done.stderr
    assert "pytest" not in (night.log.read_text() if night.log.exists() else "")
    # Last night's report is still there and must not pass for this one's.
    assert night.told["report"] == ""
    assert "No report was written" in night.summary.read_text()


def test_a_run_that_takes_too_long_is_interrupted(night):
    done = night.run(FAKE_SLOW="yes", NIGHTLY_LIMIT_MINUTES="0.005")
    assert done.returncode == 7
    assert "not done after 0.005 minutes" in done.stderr
    assert night.log.read_text().splitlines()[-2] == "interrupted"  # the messages come last


def default_sigint():
    """Tests that run in the background of a shell inherit a SIGINT that is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_cancelled_job_interrupts_the_suite_and_waits_for_it(night, sent):
    process = subprocess.Popen(
        [SCRIPT],
        env=night.env | {"FAKE_SLOW": "yes"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=default_sigint,  # noqa: PLW1509
    )
    give_up = time.monotonic() + 20
    while not (night.log.exists() and "measuring" in night.log.read_text()):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 7
    assert "cancelled" in errors
    assert night.log.read_text().splitlines()[-2] == "interrupted"  # the messages come last


def test_outside_github_nothing_of_githubs_is_written(night):
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS"):
        del night.env[name]
    done = night.run()
    assert done.returncode == 0
    assert done.stdout == ""
    assert "SGLang 0.5.23: pass; report in" in done.stderr
