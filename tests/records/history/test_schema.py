"""The history's file: migrations, whole transactions, two writers, folders that are read alone."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from append_prefill.errors import UsageError
from append_prefill.records.history import rows, schema
from append_prefill.records.history.schema import HISTORY_FILE, MIGRATIONS, VERSION
from tests.records.history import entries


def _at_version(path: Path, version: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    for script in MIGRATIONS[:version]:
        connection.executescript(script)
    connection.execute(f"PRAGMA user_version = {version}")
    return connection


@pytest.mark.parametrize("version", range(VERSION))
def test_an_older_file_becomes_one_of_today_and_keeps_its_runs(
    tmp_path: Path, version: int, monkeypatch
):
    entry = entries.entry(0)
    old = _at_version(tmp_path / HISTORY_FILE, version)
    if version:
        then = {name for _, name, *_ in old.execute("PRAGMA table_info(run)")}
        with monkeypatch.context() as patch:
            patch.setattr(rows, "_COLUMNS", [name for name in rows._COLUMNS if name in then])
            rows.put(old, entry)
    old.commit()
    old.close()
    with schema.opened(tmp_path) as connection:
        assert schema.version_of(connection) == VERSION
        assert rows.entries(connection) == [entry] * bool(version)
        assert list(rows.acts(connection)) == []


def test_a_newer_file_is_not_touched(tmp_path: Path):
    path = tmp_path / HISTORY_FILE
    _at_version(path, VERSION).execute(f"PRAGMA user_version = {VERSION + 1}")
    before = path.read_bytes()
    with (
        pytest.raises(UsageError, match=rf"has version {VERSION + 1}.*Upgrade"),
        schema.opened(tmp_path),
    ):
        pass
    assert path.read_bytes() == before


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch):
    _at_version(tmp_path / HISTORY_FILE, VERSION).close()
    broken = (*MIGRATIONS, "CREATE TABLE more (a); CREATE TABLE more (a);")
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    monkeypatch.setattr(schema, "VERSION", VERSION + 1)
    with pytest.raises(UsageError, match="cannot be used"), schema.opened(tmp_path):
        pass
    monkeypatch.undo()
    with schema.opened(tmp_path) as connection:
        assert schema.version_of(connection) == VERSION
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'more'")
        assert tables.fetchall() == []


def test_what_is_no_history_is_named(tmp_path: Path):
    (tmp_path / HISTORY_FILE).write_text("not a database, and long enough to be taken for one" * 9)
    with (
        pytest.raises(UsageError, match=r"history\.sqlite: cannot be used.*--rebuild"),
        schema.opened(tmp_path),
    ):
        pass


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path):
    def fail_after(entry) -> None:
        with schema.opened(tmp_path) as connection:
            rows.put(connection, entry)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after(entries.entry(0))
    with schema.opened(tmp_path) as connection:
        assert rows.entries(connection) == []


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from append_prefill.records.history import rows, "
        "schema; from tests.records.history import entries\n"
        "for i in range(8):\n"
        "    with schema.opened(Path(sys.argv[1])) as connection:\n"
        "        rows.put(connection, entries.entry(i, host=sys.argv[2]))\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), host]) for host in ("a", "b")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    with schema.opened(tmp_path) as connection:
        found = rows.entries(connection)
    assert sorted((e.host or "", e.path) for e in found) == [
        (host, f"run-{i}") for host in ("a", "b") for i in range(8)
    ]


def test_a_folder_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch):
    with schema.read(tmp_path) as connection:
        assert connection is None
    with schema.opened(tmp_path) as connection:
        rows.put(connection, entries.entry(0))
    monkeypatch.setattr(schema.os, "access", lambda *_: False)  # root may write anywhere
    with schema.read(tmp_path) as connection:
        assert rows.entries(connection) == [entries.entry(0)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            rows.put(connection, entries.entry(1))
    with schema.read(tmp_path / "nowhere") as connection:
        assert connection is None
