import json

from append_prefill.report.routing_map import stall_share, to_routing
from append_prefill.report.write import write_reports
from tests.report import samples


def test_every_measured_point_has_a_choice_by_link_and_load(tmp_path):
    run = samples.regression()
    mapped = to_routing(run)
    stalls = [(one["stall"], one["stall_share"]) for one in mapped["maps"]]
    assert stalls == [("published", 0.02), ("whole", 1.0)]
    assert mapped["maps"][0]["links"][0]["link"] == "nominal"
    for link in (link for one in mapped["maps"] for link in one["links"]):
        assert [row["decodes"] for row in link["beside"]] == [1, 4, 16, 64]
        assert all(len(row["points"]) == len(run.points) for row in link["beside"])
        best = min(rule["regret_ms"] for rule in link["rules"])
        assert best == min(rule["regret_ms"] for rule in link["rules"][-2:])
    written = write_reports(run, tmp_path, profile=None, formats=["routing"])
    assert json.loads(written["routing.json"].read_text()) == mapped


def test_a_measured_stall_counts():
    run = samples.regression()
    assert stall_share(run) is None
    finding = run.findings[0].model_copy(
        update={"id": "decode_interference", "details": {"stall_share": 0.02}}
    )
    told = run.model_copy(update={"findings": [finding]})
    assert stall_share(told) == 0.02
    assert [one["stall"] for one in to_routing(told)["maps"]] == ["measured"]
