"""Stored nights of real SGLang, judged by the rules of today: no alarm, and the promise kept."""

from append_prefill.records.run import NoiseRecord
from benchmarks import replay
from benchmarks.verdicts import measured


def test_ten_real_nights_are_quiet_and_the_promised_effect_is_caught() -> None:
    setting = measured(replay.NOISE)
    record = NoiseRecord.model_validate_json(replay.NOISE.read_text(encoding="utf-8"))
    nights = replay.load(replay.NIGHTS, setting.samples)
    alarms, caught, effect = replay.as_measured(nights, setting, record)
    assert len(nights) == 10
    assert alarms.sum() == 0
    assert caught.sum() == 10
    # It is what `append-prefill plan` prints for that many pairs, and no effect anyone would see.
    assert 0.05 < effect < 0.15
