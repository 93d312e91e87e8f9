"""What kept launches of one version say of how functions scatter, as the documentation has it."""

from __future__ import annotations

import pytest

from append_prefill.analysis.profiles import differences
from append_prefill.analysis.sampled import sampled_differences
from benchmarks.function_scatter import DATA, certain, lines_of, load


@pytest.mark.parametrize(
    ("name", "moved"),
    [
        ("aa-before", "+11.0 %, +15.3 %, -1.0 %, -4.2 %"),
        ("aa", "+2.1 %, +2.1 %, +1.9 %, +3.6 %"),
    ],
)
def test_of_one_version_no_function_is_certain_among_all(name, moved) -> None:
    one = load(DATA / f"{name}.pairs.json.gz")
    lines = lines_of(one)
    assert lines[0].startswith("4 pairs of 400 requests")
    assert f"TTFT under the profiler, by pair: {moved}" in lines
    assert lines[-1] == "certain: 4 each by itself, 0 of all together"
    sides = one.candidates, one.references
    assert certain(differences(*sides, sample_ms=one.sample_ms)) == 4
    assert certain(sampled_differences(*sides, sample_ms=one.sample_ms)) == 0
    told = [float(line.rpartition(" ")[2]) for line in lines if "dispersion" in line]
    assert all(0.1 < of < 2.5 for of in told)
