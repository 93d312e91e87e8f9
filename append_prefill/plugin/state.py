"""What the plugin's parts keep on pytest's config while a run goes on."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from append_prefill.records.run import Run
from append_prefill.run.hosts import Delivery
from append_prefill.run.progress import Follower
from append_prefill.run.references import References
from append_prefill.run.session import Session
from append_prefill.run.settings import Settings

SETTINGS = pytest.StashKey[Settings]()
SESSION = pytest.StashKey[Session]()
FOLDER = pytest.StashKey[Path]()
CREATED = pytest.StashKey[datetime]()
SEED = pytest.StashKey[int]()
REFERENCES = pytest.StashKey[References]()
FOLLOWER = pytest.StashKey[Follower]()
FINISHED = pytest.StashKey[tuple[Run, str | None]]()

INFRASTRUCTURE = pytest.StashKey[str]()
"""What failed beside the measuring: a worker, or the property tests' server."""

LIVE = pytest.StashKey[bool]()
"""Set once a property test had its server."""

DELIVERED = pytest.StashKey[list[Delivery]]()
"""On the controller: what workers of other hosts sent."""

SELECTION_FILE = "selection.json"


def measuring(items: list[pytest.Item]) -> bool:
    """Whether a selected test asks for what is measured; a live server alone does not."""
    return any("measured" in getattr(item, "fixturenames", ()) for item in items)
