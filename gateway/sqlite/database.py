"""One connection to the database file, opened the only right way.

Owns pragmas, transactions, the check for damage and the lock that lets several threads share the
connection. Must not know a table.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlite_utils import Database as Tables
from sqlite_utils.db import Table

from gateway.errors import Code, PlatformError
from gateway.sqlite import directory
from gateway.sqlite.faults import damaged, mapped
from gateway.sqlite.schema import known, migrations

NAME = "gateway.db"
_BUSY_SECONDS = 5.0

Row = dict[str, Any]
Value = str | int | float | bytes | None


class Database:
    """The file `gateway.db` of a state directory, migrated to this version's shape.

    Every method raises PlatformError as `faults.mapped` says. Used by one thread at a time; a second
    one waits.
    """

    def __init__(self, path: Path, tables: Tables) -> None:
        self.path = path
        self._tables = tables
        self._lock = threading.RLock()
        self._writing = False

    @classmethod
    def open(cls, state: Path, *, check: bool = False, group: int | None = None) -> Database:
        """Open, and make on first use, the database in `state`. Raises UNAVAILABLE.

        `check` reads the whole file for damage first; the broker does so before it serves anybody.
        `group` may use it beside root; None means the group of operators, where there is one.
        """
        group = directory.operators_group() if group is None else group
        directory.ensure_directory(state, group)
        path = state / NAME
        with mapped(path):
            _create(path, group)
            database = cls(path, _connect(path))
            try:
                if check:
                    database._check()
                database._migrate()
            except BaseException:
                database.close()
                raise
        return database

    def close(self) -> None:
        """Give the file back; SQLite folds the write-ahead log in when this was the last connection."""
        with self._lock:
            self._tables.close()

    def rows(self, sql: str, *values: Value) -> list[Row]:
        """All rows of a query, as dictionaries."""
        with self._lock, mapped(self.path):
            cursor = self._tables.conn.execute(sql, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def row(self, sql: str, *values: Value) -> Row | None:
        """The first row of a query, or None."""
        return next(iter(self.rows(sql, *values)), None)

    @contextmanager
    def write(self) -> Iterator[None]:
        """One transaction that has the write lock from its first statement; undone when the block raises.

        A deferred transaction that reads before it writes fails at once when somebody commits in
        between, whatever the busy timeout (SQLITE_BUSY_SNAPSHOT); hence IMMEDIATE. Blocks nest: an
        inner one joins the outer one's transaction. Inside `read()` it raises RuntimeError.
        """
        with self._lock, mapped(self.path):
            connection = self._tables.conn
            if connection.in_transaction:
                if not self._writing:
                    raise RuntimeError("a write inside a read would be a deferred one")
                yield
                return
            connection.execute("BEGIN IMMEDIATE")
            self._writing = True
            try:
                yield
                connection.execute("COMMIT")
            except BaseException:
                # Unlike ROLLBACK this is no error when a failing disk has ended the transaction already.
                connection.rollback()
                raise
            finally:
                self._writing = False

    @contextmanager
    def read(self) -> Iterator[None]:
        """One consistent view for several queries; nothing is written inside."""
        with self._lock, mapped(self.path):
            connection = self._tables.conn
            if connection.in_transaction:
                yield
                return
            connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    def table(self, name: str) -> Table:
        """The sqlite-utils table, for many rows or an upsert inside `write()`."""
        return self._tables.table(name)

    def insert(self, name: str, values: dict[str, Value]) -> int:
        """Add a row inside `write()`; its rowid, which is its `id` where the table has one."""
        with self._lock, mapped(self.path):
            self._tables.table(name).insert(values)
            return int(self._tables.conn.execute("select last_insert_rowid()").fetchone()[0])

    def change(self, sql: str, *values: Value) -> int:
        """Run an UPDATE or DELETE inside `write()`; the number of rows it touched."""
        with self._lock, mapped(self.path):
            return self._tables.conn.execute(sql, values).rowcount

    def data_version(self) -> int:
        """Moves when another connection has committed, never by own writes (sqlite.org/pragma.html)."""
        return int(self.rows("PRAGMA data_version")[0]["data_version"])

    def _check(self) -> None:
        if [row["quick_check"] for row in self.rows("PRAGMA quick_check(1)")] != ["ok"]:
            raise damaged(self.path)

    def _migrate(self) -> None:
        ours, applied = known(), {migration.name for migration in migrations.applied(self._tables)}
        if applied - ours:
            raise PlatformError(
                Code.UNAVAILABLE,
                f"The database {self.path} was written by a newer gpu-gateway; install that version.",
            )
        if ours - applied:
            # Inside our lock the library's own transactions become savepoints, so that two processes
            # that find an empty database migrate it once.
            with self.write():
                migrations.apply(self._tables)


def _create(path: Path, group: int | None) -> None:
    """Make the file, once, so that nobody ever sees half of one."""
    if path.exists():
        # A backup that was copied here has whatever mode it was copied with.
        return directory.share_file(path, group)
    with directory.alone_in(path.parent):
        if path.exists():
            return
        directory.refuse_orphans(path)
        made = path.with_suffix(".new")
        with closing(sqlite3.connect(made)) as connection:
            _switch_to_wal(connection)
        directory.share_file(made, group)
        os.rename(made, path)


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")


def _connect(path: Path) -> Tables:
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    tables = Tables(connection, strict=True, execute_plugins=False)
    try:
        # Per connection, and off by default; FULL survives a power cut between two commits.
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        # VACUUM INTO, a common way to make backups, writes a file that is not in WAL mode.
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            # The busy timeout does not cover the switch.
            with directory.alone_in(path.parent):
                _switch_to_wal(connection)
    except BaseException:
        connection.close()
        raise
    return tables
