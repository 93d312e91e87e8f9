"""What becomes of a judgement that goes wrong: the samples are worth more."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from append_prefill.errors import AppendPrefillError, JudgingError
from append_prefill.records.store import RUN_FILE, write_whole

# Beside the record, where judging it failed: the traceback, for whoever repairs the judge.
ERROR_FILE = "judging-error.txt"


@contextmanager
def as_judging_error(folder: Path) -> Iterator[None]:
    """Make a JudgingError of whatever goes wrong within, but for the suite's own errors.

    The traceback goes to `ERROR_FILE` in the run's `folder`.
    """
    try:
        yield
    except AppendPrefillError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever it is, the samples are kept)
        path = write_whole(folder / ERROR_FILE, traceback.format_exc())
        text = " ".join(str(error).split())
        raise JudgingError(
            f"Judging failed: {type(error).__name__}{': ' if text else ''}{text}. The samples "
            f"are in {RUN_FILE}; the traceback, to be reported with it, is in {path}."
        ) from None  # the traceback is in the file, and only there
