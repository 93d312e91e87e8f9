"""Claims of a profile's own: measured by name, bounded where they stand."""

import re
from typing import get_args

import numpy as np
import pytest

from append_prefill.analysis.claims import MEASURES, findings_of
from append_prefill.analysis.findings import FINDINGS
from append_prefill.analysis.verdict.findings import judge_findings
from append_prefill.errors import UsageError
from append_prefill.workload.experiment import MeasureName
from append_prefill.workload.points import Point
from tests.analysis.factory import profile, starts_of
from tests.conftest import REPOSITORY

POINTS = [Point(16, 32), Point(32, 64), Point(64, 256)]
TIMES_MS = np.array([10.0, 8.0, 20.0])
WHY = "An argument of at least twenty letters."


def judged(measure="append_ends", points=POINTS, *, scatter=0.01, **claim):
    claim = {"id": "own", "claim": "Flat", "argument": WHY, "measure": measure} | claim
    own = {
        "id": "mine",
        "title": "Mine",
        "points": [(p.context_tokens, p.append_tokens) for p in points],
        "findings": [claim],
    }
    base = [e.model_dump() for e in profile().experiments]
    log_ms = np.log(TIMES_MS) + scatter * np.random.default_rng(1).normal(size=(4, 3))
    found = judge_findings(
        starts_of(log_ms, POINTS),
        profile(experiments=[*base, own]),
        against=None,
        kv_bytes_per_token=None,
        link_gb_per_s=1.0,
    )
    assert [f.id for f in found] == [*(spec.id for spec in FINDINGS), "own"]
    return found[-1]


def test_every_name_that_a_profile_may_use_is_measured_and_explained():
    assert set(MEASURES) == set(get_args(MeasureName))
    page = (REPOSITORY / "docs" / "add-an-experiment.md").read_text(encoding="utf-8")
    explained = re.findall(
        r"^\| `(\w+)` \|", page[page.index("| `measure` | is |") :], re.MULTILINE
    )
    assert explained == ["measure", *MEASURES]


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ("append_ends", 2.0),
        ("context_ends", 2.0),
        ("total_ends", 2.0),
        ("total_factor", 2.0 / (320 / 48)),
        ("band", 0.6),
    ],
)
def test_what_a_measure_is(measure, value):
    finding = judged(measure, scatter=0)
    assert finding.measured == pytest.approx(value)
    assert finding.formula == f"{MEASURES[measure].formula} over the points of mine"
    assert (finding.study_value, finding.claim, finding.argument) == (None, "Flat", WHY)


@pytest.mark.parametrize(
    ("limit", "verdict"), [(2.5, "holds"), (2.0, "inconclusive"), (1.5, "broken")]
)
def test_its_limit_gates_it(limit, verdict):
    finding = judged(limit=limit)
    assert (finding.bound, finding.verdict) == (limit, verdict)


def test_without_a_limit_it_is_reported():
    finding = judged()
    assert (finding.bound, finding.verdict) == (None, "not-applicable")
    assert finding.measured is not None


def test_an_id_of_the_studys_is_refused():
    base = profile()
    claim = {"id": "append_flatness", "claim": "x", "argument": WHY, "measure": "band"}
    mine = {"id": "mine", "title": "x", "points": [(1, 1), (2, 2)], "findings": [claim]}
    own = profile(experiments=[*(e.model_dump() for e in base.experiments), mine], bounds={})
    with pytest.raises(UsageError, match="calls a finding append_flatness, as the study's"):
        findings_of(own)
