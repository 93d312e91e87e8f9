"""A prefill and a decode server as an experiment: launched, measured, judged, shown, or told why
there is none."""

import json

import pytest

from tests.conftest import TINY, run_once

PAIR = """
[pd_pair]
backends = ["simulated", "nixl"]
points = [[64, 64], [448, 64]]
launches = 2
samples = 2
argument = "Two lengths of a simulated pair, whose cost is known."

[bounds.pd_pair_time]
limit = 0.2
argument = "Far below what is planted, so that a pair is told to cost too much."
"""
PLANTED = "simulated:floor_ms=5,new_token_us=1,cached_token_us=0,decode_ms=0.1,{}"


def run(tmp_path_factory, name, planted, *arguments):
    profile = tmp_path_factory.mktemp("profile") / "pair.toml"
    profile.write_text(TINY.read_text().replace('name = "tiny"', f'name = "{name}"') + PAIR)
    suite, result = run_once(
        tmp_path_factory,
        name,
        *("-m", "append_prefill and load", f"--profile={profile}", "--baseline=none"),
        f"--sglang={PLANTED.format(planted)}",
        *arguments,
        files=("test_traffic.py",),
    )
    return suite, suite.record(), result


def finding_of(record):
    (finding,) = [f for f in record["findings"] if f["id"] == "pd_pair_time"]
    return finding


def test_a_pair_that_costs_too_much_is_told_and_the_backend_that_does_not_run_says_why(
    tmp_path_factory,
):
    """40 ms whatever is moved and 200 µs a token. Two workers, of which one measures the pair."""
    planted = "transfer_ms=40,transfer_us=200,devices=2"
    suite, record, result = run(tmp_path_factory, "pair", planted, "-n", "2", "--samples=2")
    finding = finding_of(record)
    # At L = 448: 40 + 512 * 0.2 ms over 5 ms.
    assert finding["measured"] > 2
    # Two launches on a busy machine may leave it open; that it is broken is judged without one in
    # tests/analysis/test_pd_pair.py.
    assert finding["verdict"] in ("broken", "inconclusive")
    assert record["verdict"] == finding["verdict"]
    assert result.ret == (finding["verdict"] == "broken")
    ran, none = record["pd_pair"]
    assert (ran["backend"], none["backend"]) == ("simulated", "nixl")
    assert [launch["failure"] for launch in ran["launches"]] == [None, None]
    taken = [series for launch in ran["launches"] for series in launch["series"]]
    assert [len(series["pair_ms"]) for series in taken] == [2] * 4
    assert "invalid choice: 'nixl'" in none["reason"]
    assert len(none["launches"]) == 1
    page = (suite.latest() / "report.html").read_text()
    assert "A prefill and a decode server" in page
    assert "not applicable: " in page
    # What was measured is a link of the routing map.
    mapped = json.loads((suite.latest() / "routing.json").read_text())
    links = {link["link"]: link for link in mapped["maps"][0]["links"]}
    told = links["pd_pair simulated"]
    assert told["gb_per_s"] == pytest.approx(1000 / ran["ms_per_gb"]["value"])
    assert told["fixed_ms"] == pytest.approx(ran["fixed_ms"]["value"])


def test_without_the_marker_no_pair_is_launched(suite):
    profile = suite.path / "pair.toml"
    profile.write_text(TINY.read_text().replace('name = "tiny"', 'name = "pair-none"') + PAIR)
    suite.run(f"--profile={profile}", "--experiment=scale", files=("test_exp2_scale.py",))
    assert suite.record()["pd_pair"] == []
    assert not list(suite.latest().glob("pd-*.log"))
