"""Reading and writing run records: whole files or nothing, and errors a user can act on."""

from __future__ import annotations

import json
import os
import re
import secrets
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from append_prefill.errors import UsageError, first_problem, storing
from append_prefill.records.identity import without_secrets
from append_prefill.records.launch import Start
from append_prefill.records.run import READABLE, SCHEMA, Run

RUN_FILE = "run.json"
SCHEMA_FILE = Path(__file__).parent / "schema" / "run.schema.json"
_STARTS_FOLDER = "starts"
_M = TypeVar("_M", bound=BaseModel)
_SCHEMA_NAME = re.compile(r"append-prefill/run/(\d+)")


def write_run(run: Run, path: Path) -> Path:
    """Write `run` to `path`, replacing what was there as a whole; returns `path`.

    Missing folders are made. Raises ValueError for a NaN or an infinity, which JSON has not: a
    missing value is None.
    """
    return write_whole(path, run_text(run))


def run_text(run: Run) -> str:
    """`run` as JSON, one line per launch, a point, a finding: small, and readable in a diff.

    The values of secret server arguments are masked here, so that no record can hold one.
    """
    data = run.model_dump(mode="json", by_alias=True)
    for start in data["starts"]:
        start["server_args"] = without_secrets(start["server_args"])
    return _json_lines(data)


def read_run(path: Path, *, option: str = "run") -> Run:
    """The run in `path`, a file or a report folder that holds `run.json`.

    `option` is what the user gave the path with. Raises UsageError if the file is missing, is
    not JSON, is no run record, was written by a newer suite or does not validate.
    """
    file = path / RUN_FILE if path.is_dir() else path
    if not file.is_file():
        raise UsageError(
            option, path, "no such file.", f"Give a {RUN_FILE}, a baseline, or a report's folder."
        )
    data = _parsed(option, file, "It may be cut short: fetch it again.")
    name = data.get("schema") if isinstance(data, dict) else None
    if name not in READABLE:
        raise _wrong_schema(option, file, name)
    return _validated(Run, data, option, file)


def write_start(start: Start, folder: Path) -> Path:
    """Write one launch to `folder`/starts/<side>-<index>.json, replacing its earlier state.

    Called after every block, so that a crash loses at most one block. A pair that is measured
    again after its worker died replaces the unfinished one, which is no replicate.
    """
    path = folder / _STARTS_FOLDER / f"{start.side}-{start.index}.json"
    data = start.model_dump(mode="json")
    data["server_args"] = without_secrets(data["server_args"])
    return write_whole(path, _json_lines(data))


def read_starts(folder: Path) -> list[Start]:
    """Every launch written to `folder` so far, by index, then side; none gives an empty list.

    Raises UsageError for a file that is not JSON or does not validate.
    """
    starts = []
    for file in (folder / _STARTS_FOLDER).glob("*.json"):
        data = _parsed("start", file, "Remove it to go on without that launch.")
        starts.append(_validated(Start, data, "start", file))
    return sorted(starts, key=lambda start: (start.index, start.side))


def json_schema() -> str:
    """The JSON Schema of `append-prefill/run/2`: what is written, and read beside older ones.

    Keys that have a default are optional, so that records written before a key was added stay
    readable; `schema` itself never is.
    """
    schema = Run.model_json_schema(by_alias=True, mode="validation")
    schema["required"] = ["schema", *schema["required"]]
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA,
    }
    return json.dumps({**head, **schema}, indent=2, sort_keys=False) + "\n"


def write_whole(path: Path, text: str) -> Path:
    """Write `text` so that a reader, and a machine that loses power, sees the old or the new.

    Raises StorageError where it cannot be written; the old stays.
    """
    with storing(path):
        return _write_whole(path, text)


def _write_whole(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with fresh.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename is durable only once its folder is
    finally:
        os.close(folder)
    return path


def _wrong_schema(option: str, file: Path, name: object) -> UsageError:
    match = _SCHEMA_NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        problem = (
            f"is no run record (its schema is {name!r}, not {SCHEMA!r})."
            if name is not None
            else f"is no run record (it has no schema key {SCHEMA!r})."
        )
        return UsageError(option, file, problem, f"Give a {RUN_FILE} or a baseline.")
    return UsageError(
        option,
        file,
        f"has schema {name}, this suite reads {SCHEMA}.",
        "Upgrade append-prefill to read it.",
    )


def _parsed(option: str, file: Path, remedy: str) -> Any:
    """The JSON in `file`, by pydantic's own parser: a large record is mostly numbers."""
    try:
        return from_json(file.read_bytes())
    except ValueError as error:  # what is nested too deep as well
        raise UsageError(option, file, f"is not JSON ({error}).", remedy) from error


def _validated(model: type[_M], data: Any, option: str, file: Path) -> _M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UsageError(
            option,
            file,
            f"does not validate: {first_problem(error, 'record')} ({error.error_count()} "
            "problem(s) in all).",
            "A record is written by the suite; restore it from version control or measure again.",
        ) from error


def _json_lines(data: dict[str, Any]) -> str:
    """A JSON object, one key a line, and of a list of objects one object a line."""

    def compact(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def member(key: str, value: Any) -> str:
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            items = ",\n  ".join(compact(item) for item in value)
            return f" {compact(key)}:[\n  {items}\n ]"
        return f" {compact(key)}:{compact(value)}"

    return "{\n" + ",\n".join(member(key, value) for key, value in data.items()) + "\n}\n"
