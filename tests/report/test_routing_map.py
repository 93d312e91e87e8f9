import json

import pytest

from append_prefill.records.figures import Estimate
from append_prefill.records.pd_pair import PairBackend
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


def test_a_measured_pair_is_a_link_with_what_it_takes_beside_the_bytes():
    def pair(name, slope):
        fixed, slope = (Estimate(value=value, low=None, high=None) for value in (6.0, slope))
        return PairBackend(backend=name, launches=[], fixed_ms=fixed, ms_per_gb=slope)

    run = samples.regression()
    told = run.model_copy(update={"pd_pair": [pair("nixl", 40.0), pair("flat", -1.0)]})
    links = {link["link"]: link for link in to_routing(told)["maps"][0]["links"]}
    assert "pd_pair flat" not in links  # no speed can be told
    assert (links["pd_pair nixl"]["gb_per_s"], links["pd_pair nixl"]["fixed_ms"]) == (25, 6)
    assert links["nominal"]["fixed_ms"] == 0
    size, choice = run.kv_bytes_per_token, links["pd_pair nixl"]["beside"][0]["points"][0]
    moved = size * (choice["context_tokens"] + choice["append_tokens"]) + run.kv_fixed_bytes
    point = next(p for p in run.points if p.context_tokens == choice["context_tokens"])
    assert choice["remote_ms"] == pytest.approx(point.median_ms + 6 + moved / 25e6)
