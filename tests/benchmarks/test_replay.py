"""Stored sessions of real SGLang, judged by the rules of today: no alarm, and the promise kept."""

from benchmarks import nights as real_nights
from benchmarks import replay
from benchmarks.verdicts.settings import cpu


def test_real_nights_are_quiet_and_the_promised_effect_is_caught() -> None:
    """Caught 95 times in 100 each: 16 or more of twenty in 99 of 100."""
    setting, profile = cpu(), real_nights.profile()
    days = real_nights.load(setting.samples)
    assert [len(nights) for nights in days.values()] == [10, 10]
    caught = 0
    for day, nights in days.items():
        record = replay.noise_of_others(days, day, profile)
        assert (record.nights, record.starts, record.pairs) == (10, 60, 30)
        alarms, found, effect = replay.as_measured(nights, setting, record)
        assert alarms == 0
        # It is what `append-prefill plan` prints for that many pairs, and no effect anyone sees.
        assert 0.05 < effect < 0.15
        caught += found
    assert caught >= 16
