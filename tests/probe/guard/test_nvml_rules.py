"""The rules that make a block invalid on a GPU, at their limits."""

import dataclasses

import pytest

from append_prefill.probe.guard.nvml_rules import Edge, Moment, Tenants, _names, _spread, reading_of

MIB = 2**20
GIB = 2**30
POWER_CAP, IDLE = 0x004, 0x001
STEADY = [Moment(1980, 412.5, 0)] * 100  # 20 s
EDGE = Edge(
    temperature_c=55,
    power_cap_w=700.0,
    ecc_uncorrected=0,
    ecc_corrected=3,
    thermal_ns=0,
    used_bytes=100 * GIB,
)
OURS = Tenants(own={1}, own_seen=True, unexplained_bytes=0)
HIDDEN = Tenants()


def judged(ticks=STEADY, tenants=OURS, **after):
    return reading_of(ticks, 0.2, tenants, EDGE, dataclasses.replace(EDGE, **after))


def test_the_record_of_a_steady_block():
    reading = judged(ecc_corrected=5, temperature_c=61)
    assert reading.void is None
    assert reading.values == {
        "ticks": 100,
        "busy_ticks": 100,
        "sm_mhz": [1980, 1980.0, 1980],
        "sm_spread": 0.0,
        "clock_reasons": {},
        "power_w_max": 412.5,
        "power_cap_w": 700.0,
        "temperature_c": [55, 61],
        "memory_used_bytes": [100 * GIB, 100 * GIB],
        "memory_unexplained_bytes": 0,
        "own_processes_visible": True,
        "other_pids": [],
        "ecc_corrected": 2,
        "ecc_uncorrected": 0,
        "thermal_share": 0.0,
    }


def test_reasons_are_named_bit_by_bit():
    assert _names(0x2000 | POWER_CAP) == ["sw-power-cap", "unknown-0x2000"]
    assert _names(None) == []


def test_too_few_busy_readings_give_no_spread():
    assert _spread([1980, 990, 1980, 990]) is None
    assert _spread([1980, 990, 1980, 990, 1980]) > 0.4


@pytest.mark.parametrize(("low_mhz", "void"), [(1910, False), (1850, True)])
def test_the_clock_may_spread_by_a_twentieth(low_mhz, void):
    """Half the ticks at 1980: the spread is 3.6 % and 6.8 % of the middle."""
    ticks = [Moment(1980, None, 0), Moment(low_mhz, None, 0)] * 20
    assert (judged(ticks).void is not None) == void
    capped = [Moment(1980, None, 0), Moment(low_mhz, None, POWER_CAP)] * 20
    assert judged(capped).void is None


@pytest.mark.parametrize(("thermal_ms", "void"), [(199, False), (201, True)])
def test_a_hundredth_of_a_block_may_be_thermally_slowed(thermal_ms, void):
    assert (judged(thermal_ns=thermal_ms * 10**6).void is not None) == void


@pytest.mark.parametrize(("unexplained", "void"), [(300 * MIB, False), (300 * MIB + 1, True)])
def test_memory_nobody_explains_has_a_limit(unexplained, void):
    tenants = dataclasses.replace(OURS, unexplained_bytes=unexplained)
    assert (judged(tenants=tenants).void is not None) == void


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("moved", "void"), [(512 * MIB, False), (512 * MIB + 1, True)])
def test_memory_may_move_a_little_where_processes_are_hidden(moved, void, sign):
    reading = judged(tenants=HIDDEN, used_bytes=EDGE.used_bytes + sign * moved)
    assert (reading.void is not None) == void


def test_growth_of_visible_processes_does_not_void():
    assert judged(used_bytes=EDGE.used_bytes + GIB).void is None


def test_every_reason_to_void_is_told():
    tenants = dataclasses.replace(OURS, foreign={7: "train", 5: "jupyter"})
    reading = judged(
        [Moment(1980, None, 0x048)] * 10, tenants, power_cap_w=500.0, ecc_uncorrected=1
    )
    assert reading.void == (
        "clocks held down by hw-slowdown in 10 of 10 readings; "
        "clocks held down by hw-thermal-slowdown in 10 of 10 readings; "
        "the power cap moved from 700.0 to 500.0 W; "
        "1 uncorrected ECC errors; "
        "the device is shared with jupyter (pid 5), train (pid 7)"
    )


def test_figures_that_are_missing_are_none_and_do_not_void():
    nothing = Edge(None, None, None, None, None, None)
    reading = reading_of([Moment(None, None, None)] * 10, 0.2, HIDDEN, nothing, nothing)
    assert reading.void is None
    assert reading.values["sm_mhz"] is None
    assert reading.values["sm_spread"] is None
    assert reading.values["power_w_max"] is None
    assert reading.values["ecc_uncorrected"] is None
    assert "thermal_share" not in reading.values


def test_idle_readings_are_no_busy_ones():
    reading = judged([Moment(345, 90.0, IDLE), Moment(1980, 400.0, 0)] * 10)
    assert (reading.values["ticks"], reading.values["busy_ticks"]) == (20, 10)
    assert reading.values["sm_mhz"] == [1980, 1980.0, 1980]
