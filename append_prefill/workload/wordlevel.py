"""A vocabulary whose texts can be counted: token id N is the word `wN`.

A text is words separated by single spaces, so that every word is one token wherever it stands and
the tokens of a text put together are the tokens of its parts; only runs of letters (`merging`)
become other tokens where more is put to them without a space. What a request costs as text and
what it costs as ids can then be compared token by token. A chat is rendered with a marker before
each message, one after it, and the assistant's marker where the reply is to begin: the reply of one
turn, rendered as a message of the next, has the same ids as when it was generated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from append_prefill.workload.merging import LETTERS, RUNS, pieces_of

UNKNOWN_ID = 0
"""What stands for a word that is none of the vocabulary's; it is spelled `<unk>`."""
ROLE_IDS: Mapping[str, int] = {"system": 3, "user": 4, "assistant": 5, "tool": 6}
"""The marker that a message of each role begins with, spelled `<|user|>` and so on."""
END_ID = 7
"""The marker that each message ends with, spelled `<|end|>`."""
MARKERS: Mapping[int, str] = {
    **{token_id: f"<|{role}|>" for role, token_id in ROLE_IDS.items()},
    END_ID: "<|end|>",
    # Kept free, so that a marker to come takes no word's id away from stored prompts.
    8: "<|reserved|>",
}
"""Ids that are no words, by their spelling. A reply's text leaves them out, as special tokens."""

_RUN = -1
"""Stands for a word with letters, whose tokens may be several, until they are put in its place."""

_WORD = re.compile(r"w(0|[1-9][0-9]{0,8})")


class _Ids(dict[str, int]):
    """Ids by their spelling, filled as words are met: looking up is all that a known word costs."""

    def __missing__(self, word: str) -> int:
        if not set(LETTERS).isdisjoint(word):
            return _RUN
        found = _WORD.fullmatch(word)
        token_id = int(found[1]) if found else UNKNOWN_ID
        if token_id == UNKNOWN_ID or token_id in MARKERS or token_id in RUNS:
            return UNKNOWN_ID
        self[word] = token_id
        return token_id


_IDS = _Ids({text: token_id for token_id, text in (*MARKERS.items(), *RUNS.items())})


def encode(text: str) -> list[int]:
    """The ids of a text: one for each word, `UNKNOWN_ID` for what is no word and no marker.

    One or more for a run of letters.
    """
    words = text.split()
    ids = list(map(_IDS.__getitem__, words))
    if _RUN not in ids:
        return ids
    whole: list[int] = []
    for word, token_id in zip(words, ids, strict=True):
        if token_id == _RUN:
            whole += [_IDS.get(piece, UNKNOWN_ID) for piece in pieces_of(word)]
        else:
            whole.append(token_id)
    return whole


def spelled(token_id: int) -> str:
    """A token's own text, as it stands apart from others."""
    if token_id == UNKNOWN_ID:
        return "<unk>"
    return MARKERS.get(token_id) or RUNS.get(token_id) or f"w{token_id}"


def decode(ids: Iterable[int]) -> str:
    """The text of ids, without markers. `encode(decode(ids)) == ids` where all are words."""
    return " ".join(spelled(token_id) for token_id in ids if token_id not in MARKERS)


def encode_chat(messages: Sequence[tuple[str, str]]) -> list[int]:
    """The ids of (role, text) messages through the template, with the reply's marker at the end.

    A template of two more tokens a message and one for the reply. Raises ValueError for a role that
    the template has no marker for.
    """
    ids: list[int] = []
    for role, text in messages:
        if role not in ROLE_IDS:
            raise ValueError(f"role {role!r} is none of {', '.join(ROLE_IDS)}")
        ids += [ROLE_IDS[role], *encode(text), END_ID]
    ids.append(ROLE_IDS["assistant"])
    return ids
