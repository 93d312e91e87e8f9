"""What is printed of kernels' scatter."""

from __future__ import annotations

import gzip
import json

import pytest

from benchmarks import kernel_scatter
from benchmarks.kernel_scatter import between, certain_words, per_request, totals, within


def launch(side, pair, *batches):
    """Batches of (requests, ms by kernel)."""
    return {
        "side": side,
        "pair": pair,
        "batches": [
            {
                "requests": n,
                "traced_at_s": 1000.0 + 6.0 * i,
                "kernels": {name: [n, ms] for name, ms in kernels.items()},
            }
            for i, (n, kernels) in enumerate(batches)
        ],
    }


def test_a_launch_is_all_its_batches() -> None:
    one = launch("candidate", 0, (10, {"a": 20.0}), (30, {"a": 40.0, "b": 8.0}))
    assert per_request(one["batches"]) == {"a": 1.5, "b": 0.2}
    assert totals([one]) == ["candidate 1.70"]


def test_batches_of_as_many_requests_are_held_against_each_other() -> None:
    batches = [(59, {"a": 98.0, "b": 10.0}), (59, {"a": 102.0, "b": 10.0}), (4, {"a": 500.0})]
    assert within(launch("reference", 0, *batches)) == (
        "graphs-first, reference: 2 batches of 59 requests scatter by 2.57 % as a whole, by 1.41 % "
        "in the median kernel; one every 6.0 s"
    )


def test_kernels_scatter_over_launches_and_differ_in_that() -> None:
    made = [
        launch(
            side, pair, (1, {"a": 1.0 + x, "b": 2.0 + 4 * x, "c": 0.001, "spin_kernel": 9.0 * x})
        )
        for side, pair, x in [("candidate", 0, 0.01), ("reference", 0, -0.01), ("candidate", 1, 0)]
    ]
    for one in made:
        one["batches"][0]["kernels"]["d"] = [1, 0.002]
    first, most, short, last = between(made)
    assert first == (
        "2 kernels over 3 launches scatter by 1.00 to 2.00 % of their time, the median one by 1.50"
    )
    assert most == "most: b of 2.000 ms 2.00, a of 1.000 ms 1.00"
    assert short == "2 of less than 0.01 ms scatter by 0.00 % in the median"
    assert last.endswith("of which 1.64 are chance")


def test_what_is_certain_is_counted_without_what_was_slowed() -> None:
    made = []
    for pair in range(3):
        alike = {"x_1": 1.0 + 0.01 * pair, "x_2": 2.0 - 0.01 * pair, "y": 1.0, "spin_kernel": 2.0}
        made += [launch("candidate", pair, (1, {**alike, "y": 2.0 + 0.01 * pair})),
                 launch("reference", pair, (1, alike))]  # fmt: skip
    assert certain_words(made) == (
        "of 3 kernels certain each by itself 1, together 1; of 2 names 1"
    )


def test_what_is_kept_is_read(monkeypatch, capsys, tmp_path) -> None:
    passes = json.loads(gzip.decompress(kernel_scatter.FILE.read_bytes()))
    assert {*passes} == {"graphs", "graphs-first", *kernel_scatter.ONE_VERSION}
    monkeypatch.setattr("sys.argv", ["kernel_scatter"])
    assert kernel_scatter.main() == 0
    said = capsys.readouterr().out
    assert "slow-scheduler: of 50 kernels certain each by itself 2, together 0; of 29 " in said
    assert "graphs: On the GPU, a request takes 3.2 ms more than on 0.5.17 without graphs" in said
    assert "graphs: TTFT 0.5.17 without graphs 32.3 ms, 0.5.17 28.1 ms" in said
    assert "22 kernels over 4 launches scatter by 0.07 to 4.68 % of their time" in said


def test_a_file_that_is_none_is_no_file(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("sys.argv", ["kernel_scatter", "--read", str(tmp_path / "none")])
    with pytest.raises(FileNotFoundError):
        kernel_scatter.main()
