from append_prefill.report.terminal import header_lines

OUTLOOK = {
    "sides": ["candidate", "reference"],
    "points": [{}] * 26,
    "starts": 5,
    "samples": 10,
    "minutes": 6.04,
    "minutes_from": "assumed: no stored run of this definition",
    "budget_minutes": 15.0,
    "profile": "cpu-nano",
    "noise_from": "the profile's noise",
}
WHAT = {"candidate": "0.5.23", "device": "EPYC"}


def test_a_comparison_tells_plan_and_effect():
    first, second, third = header_lines(
        OUTLOOK, **WHAT, reference="0.5.5.post3 side by side", detects=0.042
    )
    assert "candidate 0.5.23, against 0.5.5.post3 side by side; EPYC; profile cpu-nano" in first
    assert "26 points × 5 server launches per side × 10 samples, all experiments" in second
    assert "about 6.0 minutes (assumed: no stored run of this definition), budget 15" in second
    assert "+4.2" in third
    assert "(the profile's noise)" in third


def test_what_is_not_known_is_said():
    *_, effect = header_lines(OUTLOOK, **WHAT, reference="the stored 0.5.5", detects=None)
    assert "cannot tell" in effect


def test_with_nothing_to_compare_no_effect_is_promised():
    lines = header_lines(
        OUTLOOK | {"sides": ["candidate"], "starts": 1}, **WHAT, reference=None, detects=0.04
    )
    assert len(lines) == 2
    assert "nothing to compare with" in lines[0]
    assert "26 points × 1 server launch × 10 samples" in lines[1]
