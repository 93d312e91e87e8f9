"""States that are not fresh through a whole run: measured in order, kept, judged and shown."""

from tests.conftest import TINY, run_once

STATES = """
[[traffic]]
id = "aged"
title = "Aged"
state = "aged"
points = [[64, 64]]
heavy = true
argument = "One point is enough to see the planted slope at."

[[traffic]]
id = "overloaded"
title = "Overloaded"
state = "overloaded"
points = [[64, 64]]
heavy = true
argument = "One point is enough to see the planted factor at."

[[traffic]]
id = "soaked"
title = "Soaked"
state = "soaked"
points = [[64, 64]]
heavy = true
argument = "One point is enough to see the planted growth at."

[aging]
leaves = 30
argument = "As few as show that there were some."

[overload]
requests = 6
prompt_tokens = 32
output_tokens = 2
argument = "As few as show that there were some."

[soak]
minutes = 0.005
per_s = 20
argument = "As short as shows that there was some."
"""
PLANTED = (
    "simulated:floor_ms=3,new_token_us=1,cached_token_us=0,decode_ms=0.1,kv_capacity_tokens=2000"
)
STATES_IN_ORDER = ["aged"] * 5 + ["overloaded"] * 2 + ["soaked"] * 4


def test_a_launch_comes_into_all_planned_states_and_each_is_told(tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile") / "states.toml"
    profile.write_text(TINY.read_text().replace('name = "tiny"', 'name = "states"') + STATES)
    suite, result = run_once(
        tmp_path_factory,
        "states",
        *("-m", "append_prefill and load", f"--profile={profile}", f"--sglang={PLANTED}"),
        "--baseline=none",
        files=("test_traffic.py",),
    )
    record = suite.record()
    for start in record["starts"]:
        assert [stage["state"] for stage in start["stages"]] == STATES_IN_ORDER
        assert start["aged"]["leaves"] == 30
        assert start["aged"]["resident_after_bytes"] > 10**6
        assert start["burst"]["requests"] == 6
        assert {series["state"] for series in start["traffic"]} == {"aged", "overloaded", "soaked"}
    assert [told["growth"]["over"] for told in record["traffic"]] == ["leaves", "burst", "minutes"]
    assert {told["growth"]["launches"] for told in record["traffic"]} == {2}
    page = (suite.latest() / "report.html").read_text()
    for words in ("per 1000 leaves", "after the burst", "per minute", "memory per 1000 requests"):
        assert words in page
    assert "per 1000 leaves" in "\n".join(result.outlines)
