"""The new version against the reference: the surface as one, and every point.

Points drawn from the seed are in a side-by-side comparison like the rest; a stored run has others.
"""

import pytest

pytestmark = pytest.mark.append_prefill


def test_surface_has_not_regressed(hold_against_reference):
    hold_against_reference(None)


def test_point_has_not_regressed(hold_against_reference, planned_point):
    hold_against_reference(planned_point)
