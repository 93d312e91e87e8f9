"""Every option of the plugin, with and without xdist, against simulated servers."""

import json
import time
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta

import psutil
import pytest

from append_prefill.cli.main import main
from append_prefill.planted.cost import Cost
from append_prefill.planted.server import PlantedServer
from tests.conftest import EVERY, TINY
from tests.forked import run_pytest

FAST = ("test_exp3_append.py",)


def test_without_the_marker_no_server_starts(suite):
    result = run_pytest(suite.path, "-p", "no:cacheprovider", "perf_tests")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["*deselected*"])
    assert not (suite.path / "reports").exists()


def test_a_run_leaves_record_report_summary_junit_and_logs(suite):
    result = suite.run("--baseline=none", files=EVERY)
    assert result.ret == 0
    folder = suite.latest()
    present = {path.name for path in folder.iterdir()}
    assert {"run.json", "report.html", "summary.md", "junit.xml", "progress.log"} <= present
    assert any(name.endswith(".log") for name in present if name.startswith("candidate"))
    record = suite.record()
    assert record["schema"] == "append-prefill/run/2"
    assert record["seed"] == 1
    assert len(record["starts"]) == 2
    assert {f["id"] for f in record["findings"]} >= {"append_flatness", "kv_transfer_time"}
    assert record["verdict"] is not None
    result.stdout.fnmatch_lines(["*candidate simulated*, launch 1: *", "report: *", "verdict: *"])


def test_a_simulated_server_goes_by_either_name_and_never_as_sglang(suite):
    """Runs that were stored under the older name stay comparable."""
    identities = []
    for name in ("planted", "simulated"):
        result = suite.run(
            f"--sglang={name}:floor_ms=3,new_token_us=1", "--baseline=none", files=FAST
        )
        assert result.ret == 0
        identities.append(suite.record()["identity"])
        result.stdout.fnmatch_lines(["append-prefill: candidate simulated, nothing *"])
        texts = [result.stdout.str()] + [
            (suite.latest() / file).read_text() for file in ("report.html", "summary.md")
        ]
        assert not [text for text in texts if "SGLang 0." in text]
        assert "simulated server" in texts[1]
    assert identities[0] == identities[1]
    assert identities[0]["device_kind"] == "planted"


def test_selected_experiments_limit_the_points(suite):
    assert suite.run("--baseline=none", files=FAST).ret == 0
    record = suite.record()
    assert {context for context, _ in record["plan"]["points"]} == {256}


OWN = """
[[experiments]]
id = "mine"
title = "Mine"
points = [[96, 8], [96, 256]]
[[experiments.findings]]
id = "mine_flat"
claim = "Flat"
measure = "append_ends"
limit = 1.2
argument = "Simulated with a cost a token that breaks it."
"""


def test_a_profiles_own_claim_has_its_test_and_measures_its_points(suite):
    profile = suite.path / "own.toml"
    profile.write_text(TINY.read_text() + OWN)
    result = suite.run(
        f"--profile={profile}",
        "--sglang=simulated:floor_ms=10,new_token_us=300",
        "--baseline=none",
        "--starts=3",
        "-kmine_flat",
    )
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*broken*mine_flat*"])
    assert suite.record()["plan"]["points"] == [[96, 8], [96, 256]]


@pytest.mark.parametrize("arguments", [(), ("-m", "append_prefill", f"--profile={TINY}")])
def test_without_own_claims_there_is_no_test_of_them(suite, arguments):
    """Nor a skipped one, which every run would list."""
    result = run_pytest(
        suite.path,
        "-p",
        "no:cacheprovider",
        *arguments,
        "--sglang=simulated",
        "perf_tests/test_profile_claims.py",
    )
    result.assert_outcomes(deselected=1)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_an_own_claim_called_as_one_of_the_studys_is_refused(suite):
    profile = suite.path / "own.toml"
    text = TINY.read_text() + OWN.replace("mine_flat", "append_flatness")
    start, end = text.index("[bounds.append_flatness]"), text.index("[bounds.context_flatness]")
    profile.write_text(text[:start] + text[end:])
    result = suite.run(f"--profile={profile}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "calls a finding append_flatness" in result.stderr.str()


def test_a_broken_finding_fails_the_test_and_the_run(suite):
    # Large against the ms or two that a machine busy with other tests adds.
    result = suite.run(
        "--sglang=simulated:floor_ms=10,new_token_us=200",
        "--baseline=none",
        "--starts=3",
        files=FAST,
    )
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*broken*append_flatness*", "verdict: BROKEN. append_flatness *"])
    junit = ET.parse(suite.latest() / "junit.xml")
    assert len(junit.findall(".//failure")) == 1


def test_a_lower_floor_is_a_regime_shift_and_not_red(suite):
    """What prefill graphs do: launch-bound points get much faster, m = 256 less so.

    It is 12 % faster, so that no busy machine makes it 3 % slower, which would be no regime shift.
    """
    result = suite.run(
        "--sglang=simulated:floor_ms=34,new_token_us=220,cached_token_us=0",
        "--against=simulated:floor_ms=64,new_token_us=250,cached_token_us=0",
        "--starts=3",
        files=FAST,
    )
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*regime-shift*append_flatness*"])
    record = suite.record()
    (finding,) = (f for f in record["findings"] if f["id"] == "append_flatness")
    assert finding["measured"] > 1.4
    assert record["comparison"]["verdict"] in ("improvement", "inconclusive")


def test_a_regression_side_by_side_fails_and_exits_1(suite):
    result = suite.run(
        "--sglang=simulated:floor_ms=12",
        "--against=simulated:floor_ms=4",
        "--starts=3",
        "--baseline=none",
        files=("test_regression.py",),
    )
    assert result.ret == 1
    record = suite.record()
    assert record["comparison"]["verdict"] == "regression"
    assert record["comparison"]["kind"] == "side-by-side"
    sides = [start["side"] for start in sorted(record["starts"], key=lambda s: s["started_at"])]
    assert sides[:4] == ["candidate", "reference", "reference", "candidate"]
    junit = ET.parse(suite.latest() / "junit.xml")
    failed = {
        case.get("name") for case in junit.iter("testcase") if case.find("failure") is not None
    }
    assert "test_surface_has_not_regressed" in failed
    result.stdout.fnmatch_lines(["history *: * session 1, *", "  new *"])
    again = suite.run(
        "--sglang=simulated:floor_ms=12",
        "--against=simulated:floor_ms=4",
        "--starts=3",
        "--baseline=none",
        "--new-only",
        files=("test_regression.py",),
    )
    assert again.ret == 0
    again.stdout.fnmatch_lines(["history *: * session 2, *", "  standing *, shown by 2 sessions"])


def test_baselines_are_saved_selected_and_compared(suite):
    assert (
        suite.run(
            "--sglang=simulated:floor_ms=3,new_token_us=1,sglang_version=0.5.5",
            "--save-baseline",
            "--baseline=none",
            files=("test_regression.py",),
        ).ret
        == 0
    )
    saved = list((suite.path / "baselines").rglob("*.json"))
    assert [path.name for path in saved] == ["0.5.5.json"]
    result = suite.run(
        "--sglang=simulated:floor_ms=3,new_token_us=1,sglang_version=0.5.6",
        "--baseline=0.5.5",
        files=FAST,
    )
    comparison = suite.record()["comparison"]
    assert comparison["kind"] == "baseline"
    assert comparison["reference"] == "0.5.5"
    assert result.ret == 0


def test_an_option_that_is_a_path_does_not_move_the_baselines(suite, tmp_path_factory):
    """pytest takes a path behind a space for a test's and moves its rootdir to the ancestor."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "tiny.toml"
    elsewhere.write_text(TINY.read_text())
    result = suite.run(
        "--profile",
        str(elsewhere),
        "--sglang=simulated:floor_ms=3,new_token_us=1,sglang_version=0.5.5",
        "--save-baseline",
        "--baseline=none",
        files=("test_regression.py",),
    )
    assert result.ret == 0
    assert list((suite.path / "baselines").rglob("0.5.5.json"))


def test_a_part_is_not_saved_as_the_whole(suite):
    result = suite.run("--save-baseline", "--baseline=none", files=FAST)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--save-baseline" in result.stderr.str()


def test_an_unknown_baseline_is_a_usage_error_before_any_server(suite):
    result = suite.run("--baseline=9.9.9", files=FAST)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--baseline 9.9.9*"])
    assert not list((suite.path / "reports").glob("*/*.log"))


def test_inconclusive_passes_unless_strict(suite):
    arguments = ("--starts=1", "--baseline=none")
    assert suite.run(*arguments, files=FAST).ret == 0
    assert suite.run(*arguments, "--strict-verdicts", files=FAST).ret == 8


def test_a_server_that_does_not_start_is_infrastructure(suite):
    result = suite.run(
        "--sglang=simulated:floor_ms=3,fault=refuse-start", "--baseline=none", files=FAST
    )
    assert result.ret == 7
    assert suite.record()["verdict"] == "infrastructure"
    result.stdout.fnmatch_lines(["verdict: INFRASTRUCTURE. Nothing valid was measured on *"])
    assert (suite.latest() / "report.html").exists()


@pytest.mark.parametrize(
    ("crash", "workers"),
    [
        ("concluding.judge", ()),
        ("concluding.judge", ("-n", "2")),
        ("adaptive.compare_sides", ()),
        ("adaptive.compare_sides", ("-n", "1")),
    ],
)
def test_a_crash_of_the_judge_leaves_record_and_report(suite, crash, workers):
    module, name = crash.split(".")
    (suite.path / "conftest.py").write_text(
        f"""
import append_prefill.run.{module}
pytest_plugins = ["append_prefill.plugin"]
def crashing(*_, **__):
    raise OverflowError("math range\\nerror")
append_prefill.run.{module}.{name} = crashing
"""
    )
    result = suite.run(
        "--baseline=none", "--against=simulated:floor_ms=3,new_token_us=1", *workers, files=FAST
    )
    assert result.ret == 7
    record, folder = suite.record(), suite.latest()
    assert record["verdict"] == "infrastructure"
    assert len(record["starts"]) == 4
    assert all(s["ttft_ms"] for start in record["starts"] for s in start["series"])
    (warning,) = (w["text"] for w in record["warnings"] if w["code"] == "judging-failed")
    assert warning.startswith("Judging failed: OverflowError: math range error.")
    assert not [w for w in record["warnings"] if w["code"] == "infrastructure"]
    assert str(folder / "judging-error.txt") in warning
    written = (folder / "judging-error.txt").read_text()
    assert written.startswith("Traceback")
    assert "in crashing" in written
    assert "Judging failed" in (folder / "report.html").read_text()
    result.stdout.fnmatch_lines(["Judging failed: OverflowError*", "verdict: INFRASTRUCTURE. *"])
    output = result.stdout.str() + result.stderr.str()
    assert "warning: Judging failed" not in output  # said once, as the verdict's reason
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output
    assert "pluggy/_" not in output  # the frames of its hooks


def test_a_judged_record_that_json_cannot_hold_is_kept_unjudged(suite):
    (suite.path / "conftest.py").write_text(
        """
import append_prefill.run.concluding as concluding
pytest_plugins = ["append_prefill.plugin"]
judge = concluding.judge
def infinite(*args, **kwargs):
    judged = judge(*args, **kwargs)
    judged.points[0].median_ms = float("inf")
    return judged
concluding.judge = infinite
"""
    )
    result = suite.run("--baseline=none", files=FAST)
    assert result.ret == 7
    record = suite.record()
    assert (record["verdict"], record["points"], len(record["starts"])) == ("infrastructure", [], 2)
    (warning,) = (w for w in record["warnings"] if w["code"] == "judging-failed")
    assert warning["text"].startswith("Judging failed: ValueError")


def test_a_wrong_split_voids_the_samples_and_is_infrastructure(suite):
    result = suite.run(
        "--sglang=simulated:floor_ms=3,fault=cache-loss=0.5", "--baseline=none", files=FAST
    )
    assert result.ret == 7
    assert "wrong split: cached_tokens" in str(suite.record()["warnings"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--sglang=9.9.9",), "--sglang 9.9.9"),
        (("--profile=nope",), "--profile nope"),
        (("--sglang-url=http://127.0.0.1:9", "--sglang=simulated"), "cannot go with"),
        (("--starts=0",), "--starts 0"),
        (("--budget=-1",), "--budget -1"),
        (("--model=/no/such/model",), "--model /no/such/model"),
        (("--server-arg=--context-length", "--server-arg=100", "--sglang=simulated"), "100"),
    ],
)
def test_bad_input_is_refused_before_a_server_starts(suite, arguments, named):
    result = suite.run(*arguments, files=FAST)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert named in result.stderr.str()
    assert not list((suite.path / "reports").glob("*/*.log"))


def test_two_workers_on_one_device_take_turns(suite):
    result = suite.run(
        "--baseline=none", "-n", "2", files=("test_exp3_append.py", "test_regression.py")
    )
    assert result.ret == 0
    record = suite.record()
    assert (suite.latest() / "junit.xml").exists()
    assert record["state"]["workers"] == 2
    first, second = sorted(record["starts"], key=lambda start: start["started_at"])
    ended = datetime.fromisoformat(first["started_at"]) + timedelta(seconds=first["measured_s"])
    assert ended <= datetime.fromisoformat(second["started_at"])


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_usage_errors_read_the_same_with_and_without_xdist(suite, workers):
    result = suite.run("--baseline=9.9.9", *workers, files=FAST)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--baseline 9.9.9" in result.stderr.str()


def test_strict_does_not_fail_a_pass_for_its_undecided_points(suite):
    """Side by side with itself under so wide a tolerance that the surface passes."""
    wide = TINY.read_text().replace("[policy]", "[policy]\nmin_effect = 0.5\nmust_catch = 3.0")
    profile = suite.path / "wide.toml"
    profile.write_text(wide)
    result = suite.run(
        f"--profile={profile}",
        "--against=simulated:floor_ms=3,new_token_us=1",
        "--baseline=none",
        "--strict-verdicts",
        "--starts=3",
        files=("test_regression.py",),
    )
    assert suite.record()["comparison"]["verdict"] == "pass"
    assert result.ret in (0, 8)  # findings of a few samples may be undecided; nothing is broken


@pytest.mark.parametrize(
    ("workers", "devices", "pairs"), [((), 1, 3), (("-n", "2"), 1, 3), (("-n", "2"), 2, 4)]
)
def test_a_clear_answer_ends_the_run_before_all_planned_launches(suite, workers, devices, pairs):
    """Pairs that two devices measure at the same time are judged together; no launch is lost.

    One session in twenty in which nothing differs is held back by a point that stands out, however
    wide the bound (`sequential.HOLD_RATE`): three in a row are 1 in 8,000.
    """
    wide = TINY.read_text().replace("looks = 1", "looks = 4\nmin_effect = 0.5\nmust_catch = 30.0")
    profile = suite.path / "wide.toml"
    profile.write_text(wide.replace("limit = 1.2", "limit = 9"))
    # A busy host adds milliseconds: to 3 of them that is a scatter that three pairs cannot judge.
    server = f"simulated:floor_ms=20,devices={devices}"
    for seed in (1, 2, 3):
        result = suite.run(
            f"--profile={profile}",
            f"--sglang={server}",
            f"--against={server}",
            "--baseline=none",
            "--starts=5",
            f"--seed={seed}",
            *workers,
            files=FAST,
        )
        assert result.ret == 0
        record = suite.record()
        if record["comparison"]["looks"][0]["verdict"] != "inconclusive":
            break
    (look,) = record["comparison"]["looks"]
    assert (look["candidate_starts"], look["verdict"]) == (pairs, "pass")
    assert look["threshold"] == pytest.approx(0.001)
    method = record["comparison"]["method"]
    assert method["alpha"] == look["threshold"]
    assert method["pass_confidence"] == look["pass_confidence"] > 0.95
    assert (record["plan"]["starts"], len(record["starts"])) == (5, 2 * pairs)
    assert record["state"]["ended"] == "Settled: pass."
    result.stdout.fnmatch_lines(["*interim analysis 1: pass. Settled: pass.*"])


def test_a_running_server_is_measured_and_marked(suite):
    with PlantedServer(Cost(floor_ms=3, new_token_us=1)) as server:
        result = suite.run(f"--sglang-url={server.base_url}", "--baseline=none", files=FAST)
    assert result.ret == 0
    record = suite.record()
    assert record["state"]["replicated"] is False
    assert "cannot be replicated" in str(record["warnings"])


def test_a_path_outside_the_checkout_may_be_a_word_of_its_own(suite, tmp_path_factory):
    """`--report-dir /reports`: pytest takes a path that exists for the folder to start from."""
    elsewhere = tmp_path_factory.mktemp("reports")
    result = suite.run("--baseline=none", "--report-dir", str(elsewhere), "-kexp3", files=None)
    assert result.ret == 0
    assert (elsewhere / "latest" / "run.json").exists()
    assert not (suite.path / "reports").exists()


def test_a_run_that_measures_nothing_is_not_green(suite):
    (suite.path / "perf_tests" / "test_idle.py").write_text(
        "import pytest\npytestmark = pytest.mark.append_prefill\ndef test_nothing():\n    pass\n"
    )
    result = suite.run("--baseline=none", files=("test_idle.py",))
    assert result.ret == 7
    said = "No selected test measured anything."
    result.stdout.fnmatch_lines([said, f"verdict: INFRASTRUCTURE. {said}"])


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_property_tests_alone_measure_nothing_and_may_pass(suite, workers):
    (suite.path / "perf_tests" / "test_live.py").write_text(
        """
import pytest
pytestmark = pytest.mark.append_prefill
def test_it_answers(live_server):
    assert live_server.describe().page_size_tokens >= 1
"""
    )
    result = suite.run("--baseline=none", *workers, files=("test_live.py",))
    assert result.ret == 0
    assert not (suite.latest() / "run.json").exists()


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_selecting_nothing_leaves_nothing_and_says_what_would(suite, workers):
    result = suite.run("--baseline=none", "-k", "nothing_like_it", *workers)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "append-prefill run" in result.outlines[-1]
    assert "junit.xml" not in result.stdout.str()
    assert not (suite.path / "reports").exists()
    # The header is there by then, and from the one process that has a terminal.
    heads = [line for line in result.outlines if line.startswith("append-prefill: candidate ")]
    assert heads == [
        "append-prefill: candidate simulated, nothing to compare with; simulated; profile tiny"
    ]
    result.stdout.fnmatch_lines(["append-prefill: 9 points × 2 server launches × 3 samples, *"])


def test_selecting_nothing_leaves_earlier_runs_alone(suite):
    earlier = suite.path / "reports" / "earlier"
    earlier.mkdir(parents=True)
    result = suite.run("--baseline=none", "-k", "nothing_like_it")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert [path.name for path in earlier.parent.iterdir()] == ["earlier"]


def test_two_devices_are_used_by_two_workers(suite):
    result = suite.run(
        "--sglang=simulated:floor_ms=3,new_token_us=1,devices=2",
        "--baseline=none",
        "--starts=4",
        "-n",
        "2",
        files=("test_exp3_append.py", "test_regression.py"),
    )
    assert result.ret == 0
    devices = {start["device"] for start in suite.record()["starts"]}
    assert len(devices) == 2


def test_a_killed_run_can_be_reported(suite):
    """As by CI's SIGKILL: the record has what was planned, the launches are beside it."""
    with (suite.path / "conftest.py").open("a") as conftest:
        conftest.write(
            """
import os, signal
from append_prefill.run.session import PairRunner
measure = PairRunner.measure
def measure_one(self, index, *rest):
    if index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    measure(self, index, *rest)
PairRunner.measure = measure_one
"""
        )
    assert suite.run("--baseline=none", files=FAST).ret == -9
    (folder,) = [path for path in (suite.path / "reports").iterdir() if path.is_dir()]
    assert main(["report", str(folder), "--profile", str(TINY)]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "not judged" in page
    assert "Of its server launches 1 began and 1 were measured to their end" in page
    assert 'aria-label="Points"' in page
    # What was written is left as it is: the page is no record.
    assert json.loads((folder / "run.json").read_text())["starts"] == []


def test_a_killed_worker_loses_nothing_and_leaves_no_server(suite):
    """A worker dies while its server runs; another one measures its pair again."""
    (suite.path / "perf_tests" / "test_a_kill.py").write_text(
        """
import os, signal
import pytest
from append_prefill.probe.launch import Launch
pytestmark = pytest.mark.append_prefill("append")

# Imported when the worker collects. The one that comes in its place has another name.
if os.environ.get("PYTEST_XDIST_WORKER") == "gw0":
    Launch.open_block = lambda _: os.kill(os.getpid(), signal.SIGKILL)

def test_measured(measured):
    assert measured.points
"""
    )
    result = suite.run(
        "--sglang=simulated:floor_ms=3,new_token_us=1,devices=2",
        "--baseline=none",
        "--starts=6",
        "-n",
        "2",
        files=("test_a_kill.py", *FAST),
    )
    record = suite.record()
    assert len([s for s in record["starts"] if s["measured_s"] is not None]) == 6
    assert "node down" in result.stdout.str()
    assert result.ret in (0, 7)  # 7 if it was running a test: never a regression
    ours = str(suite.path)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and servers_of(ours):
        time.sleep(0.1)
    assert servers_of(ours) == []


def test_blocks_of_both_sides_alternate_where_the_profile_says_so(suite):
    profile = suite.path / "together.toml"
    profile.write_text(TINY.read_text().replace("[plan]", "[plan]\ninterleave = true"))
    result = suite.run(
        f"--profile={profile}",
        "--sglang=simulated:floor_ms=12,new_token_us=1",
        "--against=simulated:floor_ms=4,new_token_us=1",
        "--baseline=none",
        "--starts=3",
        files=("test_regression.py",),
    )
    assert result.ret == 1
    record = suite.record()
    assert all(start["interleaved"] for start in record["starts"])
    assert record["comparison"]["method"]["paired"] is True
    lines = (suite.latest() / "progress.log").read_text().splitlines()
    blocks = [line.split()[1] for line in lines if ": block " in line and "launch 1:" in line]
    c, r = "candidate", "reference"
    assert blocks == [c, r, r, c, c, r]


def servers_of(folder):
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        if "append_prefill.planted" in command and (process.info["cwd"] or "").startswith(folder):
            found.append(process.pid)
    return found


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one", "two"])
def test_the_next_servers_are_launched_ahead_where_the_profile_says_so(suite, workers):
    profile = suite.path / "ahead.toml"
    ahead = "[launch]\nahead = true\nargument = 'So that the test has something to hold.'\n"
    profile.write_text(TINY.read_text().replace("[plan]", f"{ahead}\n[plan]\ninterleave = true"))
    with (suite.path / "conftest.py").open("a") as conftest:
        # A test's machine may have two cores.
        conftest.write(
            "\nfrom append_prefill.probe import ahead\n"
            "ahead.IMPORTING_CORES = ahead.LAUNCHING_CORES = 0\n"
        )
    server = "simulated:floor_ms=4,new_token_us=1"
    result = suite.run(
        f"--profile={profile}",
        f"--sglang={server},devices=2",
        f"--against={server}",
        "--baseline=none",
        "--starts=5",
        *workers,
        files=FAST,
    )
    assert result.ret == 0
    starts = suite.record()["starts"]
    assert all(start["measured_s"] is not None for start in starts)
    by_pair = {}
    for start in starts:
        by_pair.setdefault(start["pair"], []).append(start["held_s"] is not None)
    # Both sides of a pair come up the same way, and of each worker's pairs all but the first ahead.
    assert all(len(set(held)) == 1 for held in by_pair.values())
    at_its_turn = [pair for pair, held in by_pair.items() if not all(held)]
    assert len(at_its_turn) == (2 if workers else 1)
    assert servers_of(str(suite.path)) == []
    assert list(suite.latest().glob("held-*")) == []
