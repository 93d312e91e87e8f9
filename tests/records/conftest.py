from __future__ import annotations

from pathlib import Path

import pytest

from append_prefill.records.baselines import save_baseline
from tests.records import builders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of baselines: four versions of one device and model."""
    folder = tmp_path / "baselines"
    for version in ("0.5.9", "0.5.12", "0.5.23", "0.5.5.post3"):
        save_baseline(builders.run(version), folder)
    return folder
