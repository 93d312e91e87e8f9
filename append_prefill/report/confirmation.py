"""Suspicions that launches of their own confirmed or took back, in words."""

from __future__ import annotations

from collections.abc import Mapping

from append_prefill.analysis.confirming import answers_of, suspicions_of
from append_prefill.records.confirmation import POINTS, Answer, Confirmation, answered
from append_prefill.records.history.entry import Entry
from append_prefill.records.run import Run
from append_prefill.report import format as fmt

_CANNOT_TELL = "still cannot tell"


def answer_words(answer: Answer, folder: str) -> str:
    """Like "withdrawn by 20261127T101500-0.5.23"; what is open is open after that run."""
    by = fmt.shorten(folder, 60)
    match answer:
        case "confirmed" | "withdrawn":
            return f"{answer} by {by}"
        case "seen-again":
            return f"{_CANNOT_TELL}: seen again by {by}, against the same stored run"
        case "undecided":
            return f"{_CANNOT_TELL} after {by}"


def verdict_words(run: Run) -> str:
    """What came of the suspicions of a run as a whole; empty where none was measured again."""
    known = answered(run.confirmations)
    told = {name: known[name] for name in suspicions_of(run) if name in known}
    words = _overall(told)
    open_ = len(told) < len(suspicions_of(run)) and words.startswith("withdrawn")
    return f"{_CANNOT_TELL} of all of it" if open_ else words


def entry_words(entry: Entry) -> str:
    """The same of a run in the history."""
    return _overall(answered(entry.confirmations))


def _overall(told: Mapping[str, tuple[Answer, Confirmation]]) -> str:
    """Confirmed is what is so anywhere, withdrawn what is so everywhere."""
    order = ("confirmed", "seen-again", "undecided", "withdrawn")
    if not told:
        return ""
    answer, by = min(told.values(), key=lambda one: order.index(one[0]))
    return answer_words(answer, by.folder)


def is_withdrawn(run: Run) -> bool:
    """Whether all that a run suspects was taken back."""
    known = answered(run.confirmations)
    said = [known.get(name) for name in suspicions_of(run)]
    return bool(said) and all(one is not None and one[0] == "withdrawn" for one in said)


def confirming_folder(run: Run) -> str | None:
    """The folder's name of the run that confirms what this one suspects at the points."""
    answer, by = answered(run.confirmations).get(POINTS, (None, None))
    return by.folder if answer == "confirmed" and by is not None else None


def suspect_words(name: str) -> str:
    """A suspect's name: "the points", "turns"."""
    return "the points" if name == POINTS else fmt.shorten(name, 60)


def confirmed_lines(run: Run) -> list[str]:
    """What came of each suspicion of a run that was measured again."""
    return [
        f"{suspect_words(name)}: {answer_words(answer, by.folder)}"
        for name, (answer, by) in answered(run.confirmations).items()
    ]


_ANSWERS: dict[Answer, str] = {
    "confirmed": "confirmed",
    "withdrawn": "withdrawn",
    "seen-again": f"{_CANNOT_TELL}; slower again, against the same stored run",
    "undecided": _CANNOT_TELL,
}


def confirms_lines(run: Run) -> list[str]:
    """What a run says of each suspicion that it measures again."""
    return [
        f"{suspect_words(name)}: {_ANSWERS[answer]}" for name, answer in answers_of(run).items()
    ]
