"""Stored nights of real SGLang, judged by the rules of today: no alarm, and the promise kept."""

from append_prefill.workload.profile import load_profile
from benchmarks import nights as real_nights
from benchmarks import replay
from benchmarks.verdicts import cpu


def test_ten_real_nights_are_quiet_and_the_promised_effect_is_caught() -> None:
    """Caught 95 times in 100 each: eight or more of ten in 99 of 100."""
    setting, points = cpu(), load_profile(real_nights.PROFILE).points
    nights = real_nights.load(setting.samples)
    assert len(nights) == 10
    caught = 0
    for half, other in ((nights[0::2], nights[1::2]), (nights[1::2], nights[0::2])):
        record = real_nights.noise_record(other, points)
        assert (record.nights, record.starts, record.pairs) == (5, 30, 15)
        alarms, found, effect = replay.as_measured(half, setting, record)
        assert alarms == 0
        # It is what `append-prefill plan` prints for that many pairs, and no effect anyone sees.
        assert 0.05 < effect < 0.15
        caught += found
    assert caught >= 8
