"""Other traffic than a lone, primed request of ids: what the profile's `[[traffic]]` asks for."""


def test_what_is_found_in_traffic_holds(finding, traffic_finding):
    finding(traffic_finding)


def test_traffic_has_not_regressed(hold_traffic, planned_traffic):
    hold_traffic(planned_traffic)
