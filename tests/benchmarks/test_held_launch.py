"""The comparison of held launches with others: on simulated servers, and what it prints."""

import re

from benchmarks import held_launch
from tests.conftest import TINY


def test_pairs_of_a_held_and_another_launch_are_measured_and_compared(
    tmp_path, monkeypatch, capsys
):
    command = ["held_launch", "--sglang=simulated:floor_ms=4", f"--profile={TINY}"]
    more = ["--pairs=3", "--samples=2", f"--out={tmp_path}"]
    monkeypatch.setattr("sys.argv", [*command, *more])
    held_launch.main()
    said = capsys.readouterr().out
    sides = re.findall(r"pair \d: (\w+) held for \d+ s, [+-]", said)
    assert sides == ["candidate", "reference", "candidate"]
    assert re.search(
        r"held over not held: [+-][\d.]+% \([+-][\d.]+% to [+-][\d.]+%\), 3 pairs", said
    )
    assert said.count(" after their turn (median of 3)") == 2
    assert list(tmp_path.glob("held.log")) == []
