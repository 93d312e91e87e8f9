import pytest

from append_prefill.report.headline import headline_of
from append_prefill.report.next_step import Program
from append_prefill.report.terminal import HARDLY_TELLS, hardly_tells, header_lines, last_lines
from tests.report import samples

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
    "mde_side_by_side": 0.042,
    "mde_baseline": 0.05,
    "traffic": [],
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


def test_a_stored_run_that_hardly_tells_comes_with_the_command_that_tells_more():
    drifting = OUTLOOK | {"mde_baseline": 1.01}
    told = {"reference": "the stored 0.5.5", "detects": 1.01, "beside": "tox … --against 0.5.5"}
    *_, effect, advice = header_lines(drifting, **WHAT, **told)
    assert "over +100" in effect
    assert advice.startswith("append-prefill: sessions differ more than versions do here")
    assert "side by side tells more (+4.2" in advice
    assert advice.endswith(": tox … --against 0.5.5")
    assert len(header_lines(OUTLOOK, **WHAT, **told)) == 3
    assert len(header_lines(drifting, **WHAT, **(told | {"beside": None}))) == 3


@pytest.mark.parametrize(
    ("stored", "both", "hardly"),
    [
        (0.08, 0.04, True),
        (0.08 - 1e-9, 0.04, False),
        (None, 0.04, True),
        (None, None, True),
        (0.08, None, False),
    ],
)
def test_twice_the_effect_side_by_side_is_hardly_telling(stored, both, hardly):
    assert HARDLY_TELLS == 2
    assert hardly_tells({"mde_baseline": stored, "mde_side_by_side": both}) is hardly


def test_a_quick_run_says_so_and_what_it_can_see():
    lines = header_lines(OUTLOOK, **WHAT, reference=None, detects=None, quick=True)
    assert ", quick; about" in lines[1]
    assert lines[2].startswith("append-prefill: what it can see: findings")
    lines = header_lines(OUTLOOK, **WHAT, reference="0.5.5 side by side", detects=0.11, quick=True)
    assert "detectable effect on the overall level: +11" in lines[2]


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_the_last_lines_end_with_the_verdict_behind_report_and_next_command(name):
    run, _ = samples.SAMPLES[name]()
    *before, report, verdict = last_lines(run, Program(), keepable=True)
    assert report == "report: reports/latest/report.html"
    headline = headline_of(run)
    assert verdict.startswith(f"verdict: {headline.verdict.word.upper()}")
    assert verdict.endswith(headline.sentence.replace("\N{NO-BREAK SPACE}", " "))
    for step, command in zip(before[::2], before[1::2], strict=True):
        assert step.startswith("next: ")
        assert command.startswith(("    pytest -m append_prefill ", "    append-prefill "))
