"""What the plugin's parts keep on pytest's config while a run goes on."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Their names are all that is needed, and the modules are heavy (see `plugin`).
if TYPE_CHECKING:
    from filelock import FileLock

    from append_prefill.records.run import Run
    from append_prefill.run.folders import Kept
    from append_prefill.run.hosts import Delivery
    from append_prefill.run.progress import Follower
    from append_prefill.run.references import References
    from append_prefill.run.resume import Resumed
    from append_prefill.run.session import Session
    from append_prefill.run.settings import Settings

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
SESSION: pytest.StashKey[Session] = pytest.StashKey()
FOLDER: pytest.StashKey[Path] = pytest.StashKey()
CREATED: pytest.StashKey[datetime] = pytest.StashKey()
SEED: pytest.StashKey[int] = pytest.StashKey()
REFERENCES: pytest.StashKey[References] = pytest.StashKey()
FOLLOWER: pytest.StashKey[Follower] = pytest.StashKey()
FINISHED: pytest.StashKey[tuple[Run, str | None]] = pytest.StashKey()

KEPT: pytest.StashKey[Kept] = pytest.StashKey()
"""What the history has of the run that was closed."""

FRESH: pytest.StashKey[list[Path]] = pytest.StashKey()
"""Folders above the run's that were made for it, the innermost first."""

RESUMED: pytest.StashKey[Resumed] = pytest.StashKey()
"""The run that is gone on with, where it is one that was cut off."""

HELD: pytest.StashKey[FileLock] = pytest.StashKey()
"""On whoever owns the report: what says that the run in its folder goes on."""

NOTHING: pytest.StashKey[bool] = pytest.StashKey()
"""Set where no test was selected."""

INFRASTRUCTURE: pytest.StashKey[str] = pytest.StashKey()
"""What failed beside the measuring: a worker, or the property tests' server."""

LIVE: pytest.StashKey[bool] = pytest.StashKey()
"""Set once a property test had its server."""

DELIVERED: pytest.StashKey[list[Delivery]] = pytest.StashKey()
"""On the controller: what workers of other hosts sent."""

SELECTION_FILE = "selection.json"


def measuring(items: list[pytest.Item]) -> bool:
    """Whether a selected test asks for what is measured; a live server alone does not."""
    return any("measured" in getattr(item, "fixturenames", ()) for item in items)
