"""The measurement of what placing threads is worth: its arms, its slow-down, its table."""

import argparse
import math
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from append_prefill.analysis.detection import detectable
from append_prefill.records.launch import BlockState
from append_prefill.records.store import write_start
from benchmarks import packs
from benchmarks.placement import SLOWED, phases, share_of
from benchmarks.placement_noise import costs, figures, pack, profile_of, rms, row, seen
from tests.records.builders import start


def test_what_both_sides_share_cancels_in_the_differences_of_like_samples():
    (data,) = (packs.load(path) for path in packs.committed() if path.name == "placement-2.json.gz")
    points = packs.points_of(data)
    pairs = packs.pairs([data], "turns-sample")
    levels, like = (rms(figures(pairs, points, by)) for by in ("block", "sample"))
    assert like < levels
    assert like == pytest.approx(0.0105, abs=0.001)


def test_a_detectable_effect_is_that_of_a_two_sided_test():
    assert seen(0.01, 5) == f"{100 * detectable(0.01 / math.sqrt(5), 4, 0.005):.1f}"
    assert seen(0.01, 1) == "–"


@pytest.mark.parametrize(
    "path", packs.committed(), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_every_arm_has_its_line(path):
    data = packs.load(path)
    profile, points = profile_of(data), sorted(packs.points_of(data))
    assert {"cpu-2026-11": "cpu-nano"}.get(path.parent.name, "llama-3.1-8b") == profile.name
    for arm in packs.arms(data):
        pairs = packs.pairs([data], arm)
        line = row(data, arm, pairs, points, np.ones(len(points), bool))
        assert line.count("|") == 13
        assert "nan" not in line
        taken = costs(pairs)
        assert taken.launch_s > 10 * taken.round_s > 0


def test_points_of_no_profile_are_told():
    with pytest.raises(SystemExit, match="no shipped profile"):
        profile_of({"points": [[1, 2]]})


def test_a_pack_is_read_as_it_was_measured(tmp_path):
    """What `--pack` writes, `packs` reads: the same samples by round."""
    launches = [start(0, side, samples=2) for side in ("candidate", "reference")]
    for launch in launches:
        readings = {"host": {"wall_s": 1.5}}
        launch.state = [
            BlockState(
                block=block,
                side=launch.side,
                void=None,
                readings=readings
                | {"placement": {"arm": "off-sample", "turn": block, "cores": "off"}},
            )
            for block in range(2)
        ]
        write_start(launch, tmp_path)
    ((candidate, reference),) = packs.pairs([pack(tmp_path)], "off-sample")
    for read, written in zip((candidate, reference), launches, strict=True):
        assert [s.point for s in read.series] == sorted(s.point for s in written.series)
        by_point = {s.point: s.ttft_ms for s in written.series}
        assert all(s.ttft_ms == pytest.approx(by_point[s.point], abs=1e-4) for s in read.series)
        assert (read.ready_s, read.measured_s) == (40.0, 12.0)


def test_every_arm_has_its_rounds_and_the_phases_change_places():
    shares = [share_of("off-block:4"), share_of("turns-block:2"), share_of("turns-sample:6")]
    first, second = (list(phases(pair, shares)) for pair in (0, 1))
    assert first == second[::-1]
    names = [arm.name for phase in first for arm in phase]
    for arm, each in {"off-block": 2, "turns-block": 1, "turns-sample": 3}.items():
        assert (names.count(arm), names.count(f"{arm}-slow")) == (each, each)


@pytest.mark.parametrize("text", ["off-block", "off-block:x", "apart-block:3", "off-pair:3"])
def test_an_arm_that_is_none_is_refused(text):
    with pytest.raises((argparse.ArgumentTypeError, ValueError)):
        share_of(text)


def test_the_slow_down_is_put_in_by_the_switch_and_into_prefills_alone(tmp_path):
    package = tmp_path / "sglang" / "srt" / "managers"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (package / "scheduler.py").write_text(
        "class Scheduler:\n    def run_batch(self, batch):\n        return batch\n"
    )
    switch = tmp_path / "switch"
    switch.write_bytes(b"\0")
    code = textwrap.dedent("""
        import sys, time
        from types import SimpleNamespace
        from sglang.srt.managers.scheduler import Scheduler
        def spent_ms(prefill):
            mode = SimpleNamespace(is_extend=lambda: prefill)
            batch, began = SimpleNamespace(forward_mode=mode), time.thread_time()
            assert Scheduler().run_batch(batch) is batch
            return 1e3 * (time.thread_time() - began)
        off = spent_ms(True)
        with open(sys.argv[1], "r+b") as file: file.write(b"\\1")
        print(off, spent_ms(True), spent_ms(False))
    """)
    env = {
        "PYTHONPATH": f"{SLOWED}:{tmp_path}",
        "APPEND_PREFILL_SLOW_SWITCH": str(switch),
        "APPEND_PREFILL_SLOW_MS": "20",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, str(switch)],
        check=False,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    off, slowed, decode = map(float, done.stdout.split())
    assert slowed >= 20
    assert max(off, decode) < 10
    assert Path(SLOWED, "sitecustomize.py").is_file()
