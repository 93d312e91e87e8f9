"""--experiment: a run of some of the profile's experiments; with and without xdist."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_what_is_named_is_measured_and_tested_and_nothing_else(suite, workers):
    result = suite.run("--experiment=append", "--baseline=none", *workers)
    assert result.ret == 0
    record = suite.record()
    assert record["plan"]["points"] == [[256, 8], [256, 64], [256, 256]]
    assert "--experiment=append" in record["suite"]["options"]
    judged = {f["id"]: f["verdict"] for f in record["findings"]}
    assert judged["append_flatness"] != "not-applicable"
    assert judged["cache_rate_band"] == "not-applicable"
    # Neither tests of the others nor those that take a server of their own.
    assert "test_exp1_cache_rate" not in result.stdout.str()
    assert "test_split_properties" not in result.stdout.str()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--experiment=none",), "--experiment none: profile tiny has no such experiment"),
        (("--experiment=append", "--save-baseline"), "--save-baseline : with --experiment"),
    ],
)
def test_bad_input_is_refused_before_a_server_starts(suite, arguments, named):
    result = suite.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert named in result.stderr.str()
    assert not (suite.path / "reports").exists()
