"""Other traffic than a lone, primed request of ids: what the profile's `[[traffic]]` asks for."""


def test_conversations_are_cached(finding, conversation_finding):
    finding(conversation_finding)


def test_traffic_has_not_regressed(hold_traffic, planned_traffic):
    hold_traffic(planned_traffic)
