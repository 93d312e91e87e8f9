"""Where a stored run is kept, and what is never overwritten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from append_prefill.errors import UsageError
from append_prefill.records.baselines import (
    baseline_folder,
    pinned_baseline,
    refuse_overwrite,
    save_baseline,
    slug,
    stored_baselines,
)
from append_prefill.records.pinned import pin
from append_prefill.records.selecting import find_stored
from append_prefill.records.store import read_run, write_run
from tests.records import builders
from tests.records.test_selecting import select


def test_path_is_device_model_version(tmp_path: Path) -> None:
    path = save_baseline(builders.run("0.5.24.dev1+gabc"), tmp_path)
    assert path.relative_to(tmp_path).parts == (
        "nvidia-h200",
        "llama-3.1-8b-instruct",
        "0.5.24.dev1+gabc.json",
    )


@pytest.mark.parametrize(
    ("changes", "folder"),
    [
        ({"model": {"name": "meta-llama/Llama-3.1-8B"}}, "nvidia-h200/llama-3.1-8b"),
        ({"mig": "1g.18gb"}, "nvidia-h200-mig-1g.18gb/llama-3.1-8b-instruct"),
        ({"device": "../../etc"}, "etc/llama-3.1-8b-instruct"),
        ({"model": {"name": "/models/llama/"}}, "nvidia-h200/llama"),
    ],
)  # fmt: skip
def test_folder(tmp_path: Path, changes: dict[str, Any], folder: str) -> None:
    assert baseline_folder(tmp_path, builders.identity(**changes)) == tmp_path / folder


def test_slug_is_safe() -> None:
    assert slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
    assert slug("../a/b") == "a-b"


def test_a_name_longer_than_a_files_is_cut_and_still_told_from_others() -> None:
    one, other = slug("x" * 1_000_000), slug("x" * 1_000_001)
    assert max(len(one), len(other)) < 200
    assert one != other
    assert slug("x" * 128) == "x" * 128


def test_nameless_device_and_version_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no device or model name"):
        baseline_folder(tmp_path, builders.identity(device=None))
    with pytest.raises(UsageError, match="did not tell its SGLang version"):
        save_baseline(builders.run(subject={}), tmp_path)


def test_baseline_keeps_samples_and_drops_readings(tmp_path: Path) -> None:
    run = builders.run()
    run.starts.append(builders.start(0, "reference"))
    run.starts.append(builders.start(5, failure="server died"))
    kept = read_run(save_baseline(run, tmp_path))
    assert [(s.index, s.side) for s in kept.starts] == [(i, "candidate") for i in range(5)]
    for ours, theirs in zip(kept.starts, run.starts, strict=False):
        assert ours.series[0].ttft_ms == pytest.approx(theirs.series[0].ttft_ms, abs=5.1e-5)
        assert ours.series[0].block == theirs.series[0].block
        assert ours.series[0].itl_ms == [None] * 5
        assert ours.state[0].readings == {}
    assert kept.surface == run.surface
    assert kept.identity == run.identity


def test_run_is_left_as_it_was(tmp_path: Path) -> None:
    run, twin = builders.run(), builders.run()
    save_baseline(run, tmp_path)
    assert run == twin


@pytest.mark.parametrize("changes", [{"verdict": "infrastructure"}, {"starts": 0}])
def test_nothing_measured_is_no_baseline(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="holds no valid launch"):
        save_baseline(builders.run(**changes), tmp_path)


def test_same_identity_replaces(root: Path) -> None:
    save_baseline(builders.run("0.5.12", base_ms=21.0), root)
    replaced = select(root, "0.5.12")
    assert replaced is not None
    assert replaced.points[0].median_ms == 21.0


def test_other_identity_is_not_lost(root: Path) -> None:
    other = builders.run("0.5.12", identity=builders.identity(driver="590.1"))
    with pytest.raises(UsageError, match=r"another identity \(driver differ"):
        save_baseline(other, root)
    assert save_baseline(other, root, not_binding=["driver"]).is_file()


def test_points_are_added_to_a_baseline_and_never_lost(root: Path) -> None:
    more = builders.run("0.5.12")
    more.plan.points.append((96, 64))
    path = save_baseline(more, root)
    assert [96, 64] in json.loads(path.read_text())["plan"]["points"]
    with pytest.raises(UsageError, match=r"does not measure \(L96-m64\), and they would be lost"):
        save_baseline(builders.run("0.5.12"), root)
    with pytest.raises(UsageError, match="L96-m64"):
        refuse_overwrite(root, builders.identity(), "0.5.12", points=builders.POINTS)
    # Where only the noise is written, the record stays as it is.
    assert refuse_overwrite(root, builders.identity(), "0.5.12") == path


def test_refusal_is_known_before_a_server_starts(root: Path) -> None:
    identity = builders.identity(power_cap_w=500)
    with pytest.raises(UsageError, match="power_cap_w"):
        refuse_overwrite(root, identity, "0.5.12")
    assert not refuse_overwrite(root, identity, "0.5.13").exists()


def test_listing_is_in_version_order(root: Path) -> None:
    assert [s.version for s in stored_baselines(root)] == [
        "0.5.5.post3", "0.5.9", "0.5.12", "0.5.23",
    ]  # fmt: skip


def test_pinned_reference_stays(root: Path) -> None:
    assert pinned_baseline(root, builders.identity()) is None
    stored = find_stored(root, "0.5.12")
    pin(stored.path, version="0.5.12", reason="first release we ship", now=builders.CREATED)
    pinned = pinned_baseline(root, builders.identity())
    assert pinned is not None
    assert pinned.version == "0.5.12"
    assert [s.version for s in stored_baselines(root) if s.pinned] == ["0.5.12"]
    with pytest.raises(UsageError, match="pinned reference, which no run overwrites"):
        save_baseline(builders.run("0.5.12"), root)
    # A second promotion moves it, on purpose.
    pin(find_stored(root, "0.5.23").path, version="0.5.23", reason="0.5.12 is out of support")
    save_baseline(builders.run("0.5.12"), root)
    moved = pinned_baseline(root, builders.identity())
    assert moved is not None
    assert moved.version == "0.5.23"


def test_pinned_reference_cannot_move_unseen(root: Path) -> None:
    stored = find_stored(root, "0.5.12")
    pin(stored.path, version="0.5.12", reason="first")
    write_run(builders.run("0.5.12", base_ms=25.0), stored.path)
    with pytest.raises(UsageError, match="has changed since it was pinned"):
        pinned_baseline(root, builders.identity())
    stored.path.unlink()
    with pytest.raises(UsageError, match="is gone"):
        pinned_baseline(root, builders.identity())


def test_pin_needs_a_reason_and_a_valid_file(root: Path) -> None:
    stored = find_stored(root, "0.5.12")
    with pytest.raises(UsageError, match="--reason"):
        pin(stored.path, version="0.5.12", reason="  ")
    (stored.path.parent / "pinned.json").write_text(json.dumps({"version": "0.5.12"}))
    with pytest.raises(UsageError, match=r"pinned\.json: does not validate: file"):
        pinned_baseline(root, builders.identity())
