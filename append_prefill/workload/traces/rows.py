"""The rows of a trace file with where each stands, and the refusal of one that is malformed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from append_prefill.errors import UsageError, first_problem

OPTION = "--trace"

Tokens = Annotated[int, Field(ge=1, le=10_000_000)]
"""A number of tokens; ten million is the longest context that a published model claims."""

Milliseconds = Annotated[float, Field(ge=0, le=1e15)]
"""A wait, or a moment, which may count from 1970: 1.8e12 and growing."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


class Fields(BaseModel):
    """What is read of a row. Formats grow, so that other keys pass; what is read is strict."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, allow_inf_nan=False, strict=True, populate_by_name=True
    )


FieldsT = TypeVar("FieldsT", bound=Fields)


@dataclass(frozen=True, slots=True)
class Row:
    """One value of a file: a line of JSON lines, or an entry of a JSON document's list.

    `where`: `trace.jsonl:3`, or `trace.json entry 3`.
    """

    where: str
    value: Any

    def refuse(self, problem: str, remedy: str) -> NoReturn:
        """Raise the UsageError that names this row."""
        raise UsageError(OPTION, self.where, problem, remedy)

    def fields(self, model: type[FieldsT], remedy: str) -> FieldsT:
        """The row as `model`; raises UsageError with what is wrong first."""
        try:
            return model.model_validate(self.value)
        except ValidationError as error:
            self.refuse(f"{first_problem(error, 'the row')}.", remedy)


def rows_of(path: Path) -> list[Row]:
    """The values of a file of JSON lines, or the entries of the list that a JSON file is.

    A JSON document that is an object is one row. Raises UsageError for a file that cannot be read,
    has nothing in it, or is no JSON, with the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            OPTION, path, f"cannot be read: {error}.", "Give a JSON or JSON lines file in UTF-8."
        ) from error
    start = len(text) - len(text.lstrip())
    if start == len(text):
        raise UsageError(OPTION, path, "is empty.", "Give a file with a request per line.")
    try:
        whole, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise _no_json(f"{path}:{error.lineno}", error.msg) from error
    except (ValueError, RecursionError):  # which have no line
        return list(_lines(path, text))
    if text[end:].strip():
        return list(_lines(path, text))
    if isinstance(whole, list):
        return [Row(f"{path} entry {number}", value) for number, value in enumerate(whole, 1)]
    return [Row(f"{path}:1", whole)]


def _lines(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            yield Row(where, _DECODER.decode(line))
        except (ValueError, RecursionError) as error:
            raise _no_json(where, str(error)) from error


def _no_json(where: str, problem: str) -> UsageError:
    return UsageError(
        OPTION,
        where,
        f"is no JSON: {problem}.",
        "A trace is a JSON object per line, or one JSON document.",
    )
