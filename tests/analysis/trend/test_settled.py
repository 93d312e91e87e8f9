"""What launches of their own make of an alert."""

from dataclasses import replace
from datetime import timedelta

import pytest

from append_prefill.records.confirmation import Confirmation
from append_prefill.records.history.rows import Act
from append_prefill.run.history import followed
from tests.records.history import entries

OPENED = 20


def alert_with(answer, *, at=OPENED, version=None, name="points", acts=()):
    """The alert of +5 % from session 20 of 30 on, of which session `at` was measured again."""
    sessions = entries.history([0.0, 0.004, -0.004, 0.002] * 5 + [0.05, 0.054] * 5)
    if version is not None:
        sessions = [replace(entry, version=version) for entry in sessions]
    if answer is not None:
        again = Confirmation(
            run="again",
            folder="run-again",
            at=sessions[at].created_at + timedelta(hours=2),
            answers={name: answer},
        )
        sessions[at] = replace(sessions[at], confirmations=(again,))
    (history,) = followed(sessions, acts)
    (alert,) = history.alerts
    assert alert.opened.key == sessions[OPENED].key
    return alert, history.achieved


def test_what_is_taken_back_is_invalid_from_then_on():
    alert, achieved = alert_with("withdrawn")
    assert (alert.state, alert.open, alert.confirmed) == ("invalid", False, False)
    assert (alert.closed.key, alert.answered_by) == ("again", "run-again")
    assert (achieved.alarms, achieved.confirmed, achieved.withdrawn) == (1, 0, 1)


def test_what_is_confirmed_stands_and_says_so():
    alert, achieved = alert_with("confirmed")
    assert (alert.state, alert.answer, alert.confirmed) == ("standing", "confirmed", True)
    assert achieved.confirmed == 1


@pytest.mark.parametrize("answer", ["undecided", "seen-again"])
def test_what_cannot_be_told_changes_nothing_but_is_told(answer):
    without, _ = alert_with(None)
    alert, _ = alert_with(answer)
    assert replace(alert, answer=None, answered_by=None) == without
    assert alert.answer == answer


def test_a_later_session_of_the_same_version_is_asked_about_the_same():
    assert alert_with("withdrawn", at=25, version="0.5.24")[0].state == "invalid"
    # That of another version may have mended it.
    assert alert_with("withdrawn", at=25)[0].answer is None


def test_other_suspects_of_the_session_are_no_answer():
    assert alert_with("withdrawn", name="turns")[0].answer is None


def test_what_was_taken_back_is_not_accepted_nor_reopened():
    alert, _ = alert_with(None)
    acts = [Act(alert.id, "accept", "kim", "known", entries.CREATED)]
    assert alert_with(None, acts=acts)[0].state == "accepted"
    assert alert_with("withdrawn", acts=acts)[0].state == "invalid"
