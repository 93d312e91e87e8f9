"""Which stored run is taken."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from append_prefill.errors import UsageError
from append_prefill.records.baselines import (
    save_baseline,
)
from append_prefill.records.run import Run
from append_prefill.records.selecting import expiry_warning, find_stored, select_baseline
from append_prefill.records.store import write_run
from append_prefill.workload.loading import load_profile
from tests.records import builders

PROFILE = load_profile("llama-3.1-8b")


def select(root: Path, selector: str, version: str | None = "0.5.23", **changes: Any) -> Run | None:
    return select_baseline(
        root,
        selector,
        identity=changes.pop("identity", builders.identity()),
        version=version,
        profile=changes.pop("profile", PROFILE),
    )


def test_none_is_none(root: Path) -> None:
    assert select(root, "none") is None


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.5.23", "0.5.12"),
        ("0.5.12", "0.5.9"),
        ("0.5.12.post1", "0.5.12"),
        ("0.5.24.dev3+g1", "0.5.23"),
        ("0.5.23rc1", "0.5.12"),
        ("0.6", "0.5.23"),
        ("0.5.5.post3", None),
        ("planted", None),
        (None, None),
    ],
)
def test_auto_is_the_newest_older(root: Path, version: str | None, expected: str | None) -> None:
    found = select(root, "auto", version)
    assert (None if found is None else found.version) == expected


def test_auto_prefers_the_same_identity_over_newer(root: Path) -> None:
    save_baseline(builders.run("0.5.21", identity=builders.identity(driver="590.1")), root)
    found = select(root, "auto")
    assert found is not None
    assert found.version == "0.5.12"
    lenient = PROFILE.model_copy(update={"identity_not_binding": ("driver",)})
    found = select(root, "auto", profile=lenient)
    assert found is not None
    assert found.version == "0.5.21"


def test_auto_prefers_points_in_common_over_newer(root: Path) -> None:
    elsewhere = builders.run("0.5.21")
    elsewhere.plan.points = [(9, 9)]
    save_baseline(elsewhere, root)
    found = select(root, "auto")
    assert found is not None
    assert found.version == "0.5.12"


def test_auto_returns_another_identity_to_be_named(root: Path) -> None:
    found = select(root, "auto", identity=builders.identity(driver="1"))
    assert found is not None
    assert found.version == "0.5.12"


def test_auto_without_any(tmp_path: Path, root: Path) -> None:
    assert select(tmp_path / "nowhere", "auto") is None
    assert select(root, "auto", identity=builders.identity(device="NVIDIA B200")) is None


def test_version_may_be_the_candidates_own(root: Path) -> None:
    found = select(root, "0.5.23")
    assert found is not None
    assert found.version == "0.5.23"


def test_unknown_version_lists_those_there_are(root: Path) -> None:
    with pytest.raises(UsageError, match=r"0\.5\.5\.post3, 0\.5\.9, 0\.5\.12, 0\.5\.23"):
        select(root, "0.5.13")
    with pytest.raises(UsageError, match="Nothing is stored there"):
        select(root, "0.5.13", identity=builders.identity(device="NVIDIA B200"))


def test_file_and_folder(tmp_path: Path) -> None:
    path = write_run(builders.run("0.5.1"), tmp_path / "run.json")
    for selector in (str(path), str(tmp_path)):
        found = select(tmp_path, selector)
        assert found is not None
        assert found.version == "0.5.1"
    with pytest.raises(UsageError, match=r"--baseline .*no such file"):
        select(tmp_path, "missing.json")


def test_broken_baseline_is_named(root: Path) -> None:
    (root / "nvidia-h200" / "llama-3.1-8b-instruct" / "0.5.12.json").write_text("{}")
    with pytest.raises(UsageError, match=r"0\.5\.12\.json"):
        select(root, "auto")


def test_find_asks_which_folder(root: Path) -> None:
    other = builders.identity(device="NVIDIA H100")
    save_baseline(builders.run("0.5.12", identity=other), root)
    with pytest.raises(UsageError, match="more than one device"):
        find_stored(root, "0.5.12")
    found = find_stored(root, "0.5.12", "nvidia-h100/llama-3.1-8b-instruct")
    assert found.device == "nvidia-h100"
    with pytest.raises(UsageError, match="is not stored"):
        find_stored(root, "0.5.13")


def test_expiry() -> None:
    run = builders.run()
    limit = timedelta(days=PROFILE.baseline_max_age_days)
    assert expiry_warning(run, PROFILE, builders.CREATED + limit) is None
    warning = expiry_warning(run, PROFILE, builders.CREATED + limit + timedelta(days=1))
    assert warning is not None
    assert (warning.code, warning.version) == ("baseline-expired", "0.5.23")
    assert (warning.value, warning.limit) == (91, 90)
    study = run.model_copy(update={"provenance": "study"})
    assert expiry_warning(study, PROFILE, builders.CREATED + 20 * limit) is None
