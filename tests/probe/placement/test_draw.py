"""The choice of cores: each busy thread apart, both servers alike, anew every second round."""

import pytest

from append_prefill.probe.placement.draw import cores_needed, draw, refusal
from append_prefill.probe.placement.topology import Topology

SIXTEEN = Topology(tuple((i, i + 16) for i in range(16)))


def drawn(topology=SIXTEEN, **given):
    return draw(topology, **({"threads": 3, "seed": (7, 0), "turn": 0} | given))


def test_client_and_every_busy_thread_have_a_physical_core_of_their_own():
    placement = drawn()
    taken = [placement.client, *placement.server]
    assert len(set(taken)) == 4
    assert all(cpu < 16 for cpu in taken)  # one hardware thread of each core
    # Nothing else runs on the other hardware threads of those cores.
    assert {cpu % 16 for cpu in placement.rest}.isdisjoint(taken)
    assert len(placement.rest) == 2 * (16 - 4)


def test_cores_are_drawn_anew_every_second_round_and_reproducibly():
    by_turn = [drawn(turn=turn) for turn in range(40)]
    assert by_turn[::2] == by_turn[1::2]
    assert len({placement.server for placement in by_turn}) == 20
    assert len({placement.client for placement in by_turn}) > 5
    assert by_turn == [drawn(turn=turn) for turn in range(40)]
    assert drawn(seed=(7, 1)) != drawn(seed=(7, 0)) != drawn(seed=(8, 0))


def test_every_core_has_its_turn():
    seen = {core for turn in range(0, 60, 2) for core in drawn(turn=turn).server}
    assert seen == set(range(16))


def test_too_few_cores_are_refused_with_the_numbers():
    need = cores_needed()
    enough = Topology(tuple((i,) for i in range(need)))
    assert need == 5
    assert refusal("turns", enough) is None
    assert len(drawn(enough).rest) == 1
    short = Topology(enough.cores[1:])
    assert f"{need - 1} for this device, {need} are needed" in refusal("turns", short)
    assert "a CPU quota of 2.5" in refusal("turns", Topology(enough.cores, 2.5))
    with pytest.raises(ValueError, match="too few cores"):
        drawn(short)


def test_off_says_so():
    assert refusal("off", SIXTEEN) == "off in the profile"
