"""Other traffic than a lone, primed request of ids: what the profile's `[[traffic]]` asks for."""

import pytest


@pytest.mark.append_prefill("turns")
def test_replies_are_cached(finding):
    finding("reply_cached")


@pytest.mark.load
@pytest.mark.append_prefill("beside_4")
def test_decodes_go_on_beside_an_append_prefill(finding):
    finding("decode_interference")


def test_traffic_has_not_regressed(hold_traffic, planned_traffic):
    hold_traffic(planned_traffic)
