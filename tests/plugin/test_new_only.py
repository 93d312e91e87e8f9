"""The exit status once a run is in its history."""

from __future__ import annotations

import numpy as np
import pytest

from append_prefill.plugin.ending import followed_status
from append_prefill.records.history.rows import Act
from append_prefill.run.history import followed
from tests.records import builders
from tests.records.history import entries


def history(since: int | None, *, accepted: bool = False):
    """Of thirty sessions, with a regression from session `since` on."""
    log = np.random.default_rng(0).normal(0, 0.004, 30)
    if since is not None:
        log[since:] += 0.05
    sessions = entries.history(list(log))
    (found,) = followed(sessions)
    if accepted:
        act = Act(found.alerts[0].id, "accept", "kim", "known", entries.CREATED)
        (found,) = followed(sessions, [act])
    return found


@pytest.mark.parametrize(
    ("verdict", "status", "known", "usual", "new_only"),
    [
        ("regression", 1, history(29), 1, 1),
        ("regression", 1, history(20), 1, 0),
        ("regression", 1, history(20, accepted=True), 1, 0),
        ("broken", 1, history(20), 1, 0),
        ("regression", 1, history(None), 1, 1),  # nothing of the history explains it
        ("pass", 0, history(29), 1, 1),  # what no session alone shows
        ("pass", 0, history(20), 0, 0),
        ("pass", 1, history(20), 1, 1),  # a test of the user's failed
        ("inconclusive", 8, history(29), 1, 1),
        ("inconclusive", 8, history(20), 8, 8),
        ("infrastructure", 7, history(20), 7, 7),
        ("pass", 2, history(29), 2, 2),
    ],
)
def test_status(verdict, status, known, usual, new_only) -> None:
    run = builders.run(verdict=verdict)
    assert followed_status(run, status, known, new_only=False) == usual
    assert followed_status(run, status, known, new_only=True) == new_only
