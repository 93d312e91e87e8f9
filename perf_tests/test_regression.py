"""The new version against the reference: the surface as one, and every point of the profile."""

import pytest

pytestmark = pytest.mark.append_prefill


def test_surface_has_not_regressed(hold_against_reference):
    hold_against_reference(None)


def test_point_has_not_regressed(hold_against_reference, profile_point):
    hold_against_reference(profile_point)
