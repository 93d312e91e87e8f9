"""`--control`: a version measured beside the candidate, by which stored runs are compared."""

import json

import pytest

from tests.conftest import points_alone

OLD, NEW, PINNED = (
    f"simulated:sglang-version={version},floor_ms={floor},new_token_us=1"
    for version, floor in (("0.5.22", 8), ("0.5.23", 12), ("0.5.9", 9))
)
NIGHT = ("--starts=3", "--samples=3")


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_two_nights_are_compared_by_their_ratio_to_the_control(suite, workers):
    beside = '[plan]\ninterleave = true\nalternate = "sample"'
    profile = suite.path / "beside.toml"
    assumed = points_alone().replace("[noise]", "[noise]\npair_sd = 0.02")
    profile.write_text(assumed.replace("[plan]", beside))
    common = (f"--profile={profile}", f"--control={PINNED}", *NIGHT, *workers)
    files = ("test_regression.py",)
    first = suite.run(f"--sglang={OLD}", *common, "--baseline=none", "--save-baseline", files=files)
    assert first.ret == 0
    assert suite.record()["comparison"] is None
    assert suite.record()["plan"]["control"] == "0.5.9"
    second = suite.run(f"--sglang={NEW}", *common, files=files)
    assert second.ret == 1
    made = suite.record()["comparison"]
    assert (made["kind"], made["verdict"]) == ("baseline", "regression")
    assert (made["method"]["control"], made["reference_version"]) == ("0.5.9", "0.5.22")
    second.stdout.fnmatch_lines(["*the stored 0.5.22, both by their ratio to 0.5.9*"])
    (stored,) = (suite.path / "baselines").rglob("0.5.22.json")
    starts = json.loads(stored.read_text())["starts"]
    assert {start["side"] for start in starts} == {"candidate", "reference"}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((f"--control={PINNED}", f"--against={OLD}"), "cannot go with --against"),
        (("--control=simulated",), "does not tell its version"),
        ((f"--control={PINNED}", "--sglang-url=http://localhost:1"), "cannot go with --sglang-url"),
        (("--control=0.4.0",), "--control 0.4.0"),
    ],
)
def test_a_control_that_cannot_serve_is_refused_before_anything_starts(suite, options, problem):
    result = suite.run(*options, files=("test_regression.py",))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert problem in result.stderr.str()
    assert not (suite.path / "reports").exists()
