"""The whole search on the cost model, in-process: what is planted is found, and no other."""

from __future__ import annotations

import itertools
import math

import pytest

from append_prefill.analysis.steps import Sizes
from append_prefill.errors import InfrastructureError
from append_prefill.run.cliffs.prober import Prober
from append_prefill.run.cliffs.search import CONFIRM_LAUNCHES, Search
from append_prefill.workload.points import Point
from benchmarks import cliffs


def test_three_planted_cliffs_are_found_within_their_requests():
    search = cliffs.searched("quiet", cliffs.PLANTED, seed=0)
    visited, others = cliffs.found_by(search, cliffs.PLANTED)
    assert None not in visited
    assert others == 0
    assert max(visited) < cliffs.REQUESTS["quiet"]
    assert search.prober.requests == cliffs.REQUESTS["quiet"]
    assert search.launches == 1 + CONFIRM_LAUNCHES
    for place in search.places:
        if place.confirmed:
            # To the token.
            fast, slow = place.sharp.edge.points
            assert abs(slow.append_tokens - fast.append_tokens) <= 1
            assert abs(slow.context_tokens - fast.context_tokens) <= 1


@pytest.mark.parametrize("plane", ["quiet", "noisy"])
def test_nothing_is_found_on_a_smooth_plane(plane):
    search = cliffs.searched(plane, (), seed=1, requests=4000)
    assert not any(place.confirmed for place in search.places)


def test_eight_at_once_are_searched_by_their_median():
    search = cliffs.searched("company", cliffs.PLANTED, seed=0)
    visited, others = cliffs.found_by(search, cliffs.PLANTED)
    assert None not in visited
    assert others == 0
    assert search.prober.requests % 16 == 0  # a prime and an append each


@pytest.mark.parametrize(("requests", "samples"), [(2, 8), (16, 4)])
def test_a_quiet_design_takes_the_fewest_samples(requests, samples):
    points = [Point(8, 2**n) for n in range(1, 9)]
    times = itertools.cycle([10.0, 10.1, 9.9])
    prober = Prober(lambda _: next(times), points, lambda _: False, 1, requests)
    assert prober.design_samples == samples
    assert prober.requests == requests * samples * len(points)


def test_a_step_in_all_of_the_far_half_is_no_surface():
    planted = ("0..2048:50..1536:1.5",)
    visited, others = cliffs.found_by(
        cliffs.searched("quiet", planted, seed=2, requests=2500), planted
    )
    assert None not in visited
    assert others == 0


def test_a_selected_maximum_is_no_evidence():
    """Of a point that the search saw slow and fresh launches do not, nothing is confirmed."""

    class Changing(cliffs.Simulated):
        def fresh(self, points, samples, launches):
            self.faults = cliffs.parse_faults([])
            return super().fresh(points, samples, launches)

    faults = cliffs.parse_faults([f"slow-in={one}" for one in cliffs.PLANTED])
    search = _search(Changing(cliffs.PLANES["quiet"], faults, 0), requests=3000)
    search.run()
    assert any(place.sharp is not None for place in search.places)
    assert not any(place.confirmed for place in search.places)


def test_a_server_that_is_gone_is_told_and_is_no_flaky_test():
    class Dying(cliffs.Simulated):
        def explore(self, design, then):
            take, taken = self._launch(), 0

            def dying(point: Point) -> float:
                nonlocal taken
                taken += 1
                if taken == 700:
                    raise InfrastructureError("the server is gone")
                return take(point)

            then(dying, Sizes())

    search = _search(Dying(cliffs.PLANES["quiet"], cliffs.parse_faults([]), 0))
    with pytest.raises(InfrastructureError, match="the server is gone"):
        search.run()


def test_samples_that_prove_nothing_are_not_told_of():
    """Half of all samples are invalid, and all of those at one L."""

    class Invalid(cliffs.Simulated):
        def explore(self, design, then):
            take, taken = self._launch(), 0

            def some(point: Point) -> float | None:
                nonlocal taken
                taken += 1
                return None if taken % 2 or point.context_tokens == 8 else take(point)

            then(some, Sizes())

    search = _search(Invalid(cliffs.PLANES["quiet"], cliffs.parse_faults([]), 0))
    search.run()
    assert not any(place.confirmed for place in search.places)
    assert not any(point.context_tokens == 8 for point in search.prober.design)
    assert math.isfinite(search.prober.noise_sd)


def test_a_budget_that_ends_within_the_design_leaves_nothing_known():
    search = _search(cliffs.Simulated(cliffs.PLANES["quiet"], cliffs.parse_faults([]), 0), 100)
    search.run()
    assert search.places == []
    assert search.prober is None


def test_a_plane_without_a_valid_sample_is_the_infrastructures():
    class Nothing(cliffs.Simulated):
        def explore(self, design, then):
            then(lambda _: None, Sizes())

    search = _search(Nothing(cliffs.PLANES["quiet"], cliffs.parse_faults([]), 0))
    with pytest.raises(InfrastructureError, match="does not tell what a token costs"):
        search.run()


def _search(servers, requests=2000):
    return Search(
        servers=servers,
        limits=cliffs.limits(),
        seed=1,
        rate=0.01,
        spent=lambda sent: sent >= requests,
        tell=lambda _: None,
    )
