"""The measurement of what placing threads is worth: its arms, its slow-down, its statistics."""

import argparse
import gzip
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from benchmarks import placement_noise
from benchmarks.placement import SLOWED, phases, share_of
from benchmarks.placement_noise import components_of, detectable, differences, tables

FILES = sorted(placement_noise.DATA.glob("*/placement*.json.gz"))


def simulated(pairs=200, *, launch=0.01, block=0.03, request=0.1, shared=False, shift=0.0):
    """Log samples of A/A pairs, shape (pairs, 2, blocks, points)."""
    rng = np.random.default_rng(1)
    blocks, points = 8, 12
    table = rng.normal(0, request, (pairs, 2, blocks, points))
    table += rng.normal(0, launch, (pairs, 2, 1, 1))
    table += rng.normal(0, block, (pairs, 1 if shared else 2, blocks, 1))
    table[:, 0] += shift
    return table


@pytest.mark.parametrize("shared", [False, True])
def test_components_are_found_again(shared):
    found = components_of(simulated(shared=shared))
    assert found.request == pytest.approx(0.1, rel=0.03)
    assert found.block == pytest.approx(0.03, rel=0.15)
    assert found.launch == pytest.approx(0.01, rel=0.3)
    assert found.launch_point < 0.01


def test_what_both_sides_share_cancels_in_the_differences_of_like_samples():
    apart, shared = (differences(simulated(shared=s, block=0.2)) for s in (False, True))
    assert shared.std() < apart.std() / 2
    assert differences(simulated(shared=True, block=0.2, shift=0.03)).mean() == pytest.approx(
        0.03, abs=0.005
    )


def test_a_detectable_effect_is_found_as_often_as_it_says():
    rng = np.random.default_rng(2)
    effect = np.log1p(detectable(0.01, 5))
    drawn = rng.normal(effect, 0.01, (4000, 5))
    t = drawn.mean(axis=1) / (drawn.std(axis=1, ddof=1) / np.sqrt(5))
    # Student's 99.5 % point with 4 degrees of freedom.
    assert (t > 4.604).mean() == pytest.approx(0.95, abs=0.015)


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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_committed_pairs_are_whole(path):
    with gzip.open(path, "rt", encoding="utf-8") as source:
        data = json.load(source)
    table = tables(data, "off-block")
    assert table.shape[1:] in {(2, 10, 18), (2, 7, 18)}
    assert np.isnan(table).mean() < 0.06
    assert len({(launch["pair"], launch["side"]) for launch in data["launches"]}) == 2 * len(table)


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
