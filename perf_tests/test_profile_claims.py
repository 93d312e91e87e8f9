"""What the profile claims of experiments of its own: a test a finding, none if it has no such."""


def test_claim_of_the_profile_holds(finding, profile_finding):
    finding(profile_finding)
