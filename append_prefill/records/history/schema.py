"""The history's SQLite file: opening it, its tables, and how an older file becomes one of today."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from append_prefill.errors import UsageError

HISTORY_FILE = "history.sqlite"

# An access takes milliseconds, a rebuild of a thousand runs half a minute: who waits longer waits
# for a process that is stopped.
_PATIENCE_S = 120.0

MIGRATIONS = (
    """
    CREATE TABLE run (
      key TEXT PRIMARY KEY,
      path TEXT NOT NULL,
      created_at TEXT NOT NULL,
      host TEXT,
      profile TEXT NOT NULL,
      definition TEXT NOT NULL,
      identity TEXT NOT NULL,
      version TEXT,
      label TEXT,
      reference TEXT,
      verdict TEXT,
      purpose TEXT NOT NULL,
      whole INTEGER NOT NULL,
      launches INTEGER NOT NULL,
      minutes REAL,
      blocks INTEGER NOT NULL,
      invalid_blocks INTEGER NOT NULL,
      yardstick TEXT
    );
    CREATE INDEX run_by_time ON run (created_at);
    CREATE TABLE value (
      run TEXT NOT NULL REFERENCES run (key) ON DELETE CASCADE,
      line TEXT NOT NULL,
      quantity TEXT NOT NULL,
      value REAL,
      low REAL,
      high REAL,
      slower INTEGER,
      PRIMARY KEY (run, line, quantity)
    ) WITHOUT ROWID;
    CREATE TABLE imported (file TEXT PRIMARY KEY);
    """,
    """
    CREATE TABLE act (
      number INTEGER PRIMARY KEY,
      alert TEXT NOT NULL,
      kind TEXT NOT NULL CHECK (kind IN ('accept', 'reopen')),
      who TEXT NOT NULL,
      reason TEXT NOT NULL,
      at TEXT NOT NULL
    );
    """,
    """
    ALTER TABLE run ADD COLUMN confirmations TEXT NOT NULL DEFAULT '[]';
    """,
)
"""What makes a file of version i one of version i + 1. None is ever changed."""

VERSION = len(MIGRATIONS)


@contextmanager
def opened(report_dir: Path) -> Iterator[sqlite3.Connection]:
    """The history of `report_dir` in one transaction, made or migrated if need be.

    Whoever reads or writes holds a lock on a file beside it meanwhile, on this host or another:
    SQLite's own locks let hosts share no write-ahead log, since its index is in memory. Held
    exclusively the log needs none, and a process that is killed leaves whole transactions only.

    Raises UsageError where the folder cannot be written, the file is none of ours or of a newer
    suite.
    """
    path = report_dir / HISTORY_FILE
    try:
        report_dir.mkdir(parents=True, exist_ok=True)
        with (
            FileLock(f"{path}.lock", timeout=_PATIENCE_S),
            closing(sqlite3.connect(path, isolation_level=None)) as connection,
        ):
            _prepare(connection, path)
            with connection:
                connection.execute("BEGIN")
                yield connection
    except Timeout as error:
        raise UsageError(
            "history",
            path,
            f"is locked by another process since {_PATIENCE_S:.0f} s or more.",
            f"See who holds {path}.lock, and try again.",
        ) from error
    except (sqlite3.Error, OSError) as error:
        raise _unusable(path, error) from error


@contextmanager
def read(report_dir: Path) -> Iterator[sqlite3.Connection | None]:
    """The history to read from, None where there is none; also where nothing can be written.

    A folder that cannot be written has no writer to be locked out.
    """
    path = report_dir / HISTORY_FILE
    if os.access(report_dir, os.W_OK):
        if path.exists():
            with opened(report_dir) as connection:
                yield connection
        else:
            yield None
        return
    if not path.is_file():
        yield None
        return
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            if version_of(connection) != VERSION:
                raise sqlite3.DatabaseError(f"its version is not {VERSION}")
            yield connection
    except sqlite3.Error as error:
        raise _unusable(path, error) from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to `VERSION`, each step whole or not at all.

    Raises UsageError for a file of a newer suite, which is left as it is.
    """
    version = version_of(connection)
    if version > VERSION:
        raise UsageError(
            "history",
            path,
            f"has version {version}, this suite reads up to {VERSION}.",
            "Upgrade append-prefill to read it.",
        )
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    for step, script in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(f"BEGIN;{script};PRAGMA user_version = {step};COMMIT;")


def version_of(connection: sqlite3.Connection) -> int:
    """Of the file's tables; 0 for an empty file."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _unusable(path: Path, error: Exception) -> UsageError:
    return UsageError(
        "history",
        path,
        f"cannot be used ({error}).",
        "The runs themselves are not touched: move it away if it is broken, then "
        "`append-prefill history --rebuild` makes it anew.",
    )
