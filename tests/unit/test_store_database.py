"""Opening the database: made once, shared by processes, and honest when it cannot be used."""

from __future__ import annotations

import multiprocessing
import os
import re
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from gateway.errors import Code, PlatformError
from gateway.sqlite import directory
from gateway.sqlite.database import Database
from gateway.sqlite.schema import known
from tests.support.stores import NOW, add_people, open_store

GROUP = 54321


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def database(state: Path) -> Iterator[Database]:
    with closing(Database.open(state)) as opened:
        yield opened


def refused(state: Path, why: str, *, check: bool = False) -> None:
    with pytest.raises(PlatformError, match=why) as caught:
        Database.open(state, check=check)
    assert caught.value.code is Code.UNAVAILABLE
    assert "\n" not in caught.value.message


def test_the_pragmas_that_are_off_by_default(database: Database) -> None:
    values = {
        name: database.rows(f"PRAGMA {name}")[0] for name in ("foreign_keys", "journal_mode", "synchronous")
    }
    assert values == {
        "foreign_keys": {"foreign_keys": 1},
        "journal_mode": {"journal_mode": "wal"},
        "synchronous": {"synchronous": 2},
    }
    assert database.rows("PRAGMA busy_timeout")[0]["timeout"] == 5000


def test_every_table_is_strict(database: Database) -> None:
    rows = database.rows(
        "select name, strict from pragma_table_list where schema = 'main' and type = 'table'"
    )
    assert {row["name"] for row in rows if not row["strict"]} <= {"sqlite_schema", "sqlite_sequence"} | {
        row["name"] for row in rows if row["name"].startswith("_sqlite_migrations")
    }


def test_migrations_run_once(state: Path) -> None:
    applied = []
    for _ in range(2):
        with closing(Database.open(state)) as database:
            applied.append(database.rows("select name, applied_at from _sqlite_migrations order by id"))
    assert applied[0] == applied[1]
    assert {row["name"] for row in applied[0]} == known()


def test_a_database_of_a_newer_version_is_left_alone(state: Path, database: Database) -> None:
    with database.write():
        database.insert(
            "_sqlite_migrations", {"migration_set": "gateway", "name": "m999_later", "applied_at": "x"}
        )
    refused(state, "newer gpu-gateway")


def test_only_root_and_the_operators_get_in(state: Path) -> None:
    Database.open(state, group=GROUP).close()
    for path, mode in ((state, 0o750), (state / "gateway.db", 0o660)):
        found = path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, 0, GROUP)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A state directory to be, in a place that other accounts reach as they reach /var/lib."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o711)
        yield Path(parent) / "state"


def _add_carol(state: Path, group: int, answer: Connection) -> None:
    os.setgroups([])
    os.setgid(group)
    os.setuid(54000)
    try:
        with closing(open_store(state)) as store:
            add_people(store, "carol")
        answer.send("added")
    except PlatformError as error:
        answer.send(error.message)


def as_account(state: Path, *, group: int) -> str:
    """What another account of this machine is told when it adds a user."""
    # Forked, because such an account may not even read the interpreter's files.
    forking = multiprocessing.get_context("fork")
    here, there = forking.Pipe(duplex=False)
    process = forking.Process(target=_add_carol, args=(state, group, there))
    process.start()
    there.close()
    with here:
        answer = here.recv()
    process.join(30)
    return str(answer)


def test_an_operator_writes_beside_a_running_gateway_and_a_stranger_does_not(shared: Path) -> None:
    with closing(Database.open(shared, group=GROUP)) as broker:
        broker.rows("select 1 from user")
        assert as_account(shared, group=GROUP) == "added"
        assert [row["name"] for row in broker.rows("select name from user")] == ["carol"]
        assert "is closed to you" in as_account(shared, group=54999)


def test_an_operator_is_told_what_she_may_not_do_while_it_is_stopped(shared: Path) -> None:
    Database.open(shared, group=GROUP).close()
    assert "run this as root" in as_account(shared, group=GROUP)
    (shared / "gateway.db").chmod(0o600)
    assert "run this as root" in as_account(shared, group=GROUP)


def test_a_place_where_nothing_may_be_made_is_named(shared: Path) -> None:
    assert re.search(r"cannot be made \(Permission denied\); run as root", as_account(shared, group=GROUP))


def test_a_missing_parent_is_not_made(tmp_path: Path) -> None:
    refused(tmp_path / "not mounted" / "state", "does not exist; mount or create it")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_state_directory(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    refused(tmp_path / "state", "is not a directory")


def test_a_missing_database_beside_peoples_files_is_not_made_anew(state: Path) -> None:
    Database.open(state).close()
    (state / "workspaces" / "1").mkdir(parents=True)
    (state / "gateway.db").unlink()
    refused(state, "is missing while .* holds people's files; copy your backup")
    assert not (state / "gateway.db").exists()


@pytest.mark.parametrize(
    "content", [b"not a database, not at all" * 200, b"SQLite format 3\0" + b"\xff" * 4096]
)
def test_a_foreign_file_is_not_taken_for_a_database(state: Path, content: bytes) -> None:
    state.mkdir()
    (state / "gateway.db").write_bytes(content)
    refused(state, "is damaged; stop the gateway, move gateway.db.*copy your backup")
    assert (state / "gateway.db").read_bytes() == content


def test_damage_inside_is_found_before_anybody_is_served(state: Path) -> None:
    with closing(open_store(state)) as store:
        add_people(store, "alice", "bob")
    path = state / "gateway.db"
    with closing(sqlite3.connect(path)) as plain:
        (root,) = plain.execute("select rootpage from sqlite_schema where name = 'event'").fetchone()
        (size,) = plain.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    content[(root - 1) * size : root * size] = os.urandom(size)
    path.write_bytes(content)
    # Nothing that opening reads is hurt, so without the check it would be found by the first event.
    open_store(state).close()
    refused(state, "is damaged; stop the gateway", check=True)


def test_a_transaction_is_whole_or_not_at_all(database: Database) -> None:
    def fail_half_way() -> None:
        with database.write():
            database.insert("meta", {"key": "a", "value": "b"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert database.row("select * from meta where key = 'a'") is None
    with database.write():
        database.insert("meta", {"key": "a", "value": "b"})
    assert database.row("select value from meta where key = 'a'") == {"value": "b"}


def test_a_writer_that_reads_first_is_not_overtaken(state: Path, database: Database) -> None:
    """A deferred transaction fails here (SQLITE_BUSY_SNAPSHOT); an immediate one makes the others wait."""
    reading, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        with closing(Database.open(state)) as other, other.write():
            other.rows("select * from meta")
            reading.set()
            assert go_on.wait(30)
            other.insert("meta", {"key": "slow", "value": "1"})

    thread = threading.Thread(target=slow)
    thread.start()
    assert reading.wait(30)
    # A rival that does not want to wait, to see that the lock is held while the other has only read.
    with closing(sqlite3.connect(state / "gateway.db", timeout=0)) as rival:
        with pytest.raises(sqlite3.OperationalError):
            rival.execute("insert into meta values ('rival', '1')")
        go_on.set()
        thread.join(30)
    with database.write():
        database.insert("meta", {"key": "quick", "value": "1"})
    assert len(database.rows("select * from meta where key in ('slow', 'quick')")) == 2


def test_a_deferred_transaction_is_overtaken(state: Path, database: Database) -> None:
    """The hazard itself, so that nobody takes IMMEDIATE for superstition."""
    with closing(sqlite3.connect(state / "gateway.db", timeout=5, isolation_level=None)) as deferred:
        deferred.execute("begin")
        deferred.execute("select * from meta").fetchall()
        with database.write():
            database.insert("meta", {"key": "quick", "value": "1"})
        with pytest.raises(sqlite3.OperationalError) as caught:
            deferred.execute("insert into meta values ('late', '1')")
        assert caught.value.sqlite_errorcode == sqlite3.SQLITE_BUSY_SNAPSHOT


def test_a_lock_that_is_never_given_back_is_unavailable(state: Path, database: Database) -> None:
    database.rows("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(state / "gateway.db", isolation_level=None)) as rival:
        rival.execute("begin immediate")
        with pytest.raises(PlatformError, match="in use by another command") as caught, database.write():
            pytest.fail("the lock was not ours")
    assert caught.value.code is Code.UNAVAILABLE


def test_a_disk_that_is_full_is_unavailable(database: Database) -> None:
    pages = database.rows("PRAGMA page_count")[0]["page_count"]
    database.rows(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        with database.write():
            for number in range(1000):
                database.insert("meta", {"key": f"key {number}", "value": "x" * 1000})

    with pytest.raises(PlatformError, match="is full; free some space") as caught:
        fill()
    assert caught.value.code is Code.UNAVAILABLE
    assert database.row("select * from meta where key = 'key 0'") is None


def test_a_backup_is_taken_as_it_is_put_back(state: Path) -> None:
    backup = state.parent / "backup.db"
    with closing(open_store(state)) as store:
        add_people(store, "alice")
        store._db.change(f"vacuum into '{backup}'")
    for path in state.iterdir():
        path.unlink()
    backup.chmod(0o644)
    (state / "gateway.db").write_bytes(backup.read_bytes())
    with closing(Database.open(state, check=True, group=GROUP)) as database:
        assert database.rows("PRAGMA journal_mode") == [{"journal_mode": "wal"}]
        assert [row["name"] for row in database.rows("select name from user")] == ["alice"]
    found = (state / "gateway.db").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, GROUP)


def test_a_database_that_cannot_be_written_is_unavailable(database: Database) -> None:
    database.rows("PRAGMA busy_timeout")
    database.change("PRAGMA query_only = 1")
    with (
        pytest.raises(PlatformError, match="cannot be written; run this as root") as caught,
        database.write(),
    ):
        database.insert("meta", {"key": "a", "value": "b"})
    assert caught.value.code is Code.UNAVAILABLE


def test_a_state_directory_on_a_read_only_disk_is_unavailable(state: Path) -> None:
    Database.open(state).close()
    code = (
        "import sys; from pathlib import Path; from tests.support.stores import *\n"
        "try: add_people(open_store(Path(sys.argv[1])), 'alice')\n"
        "except Exception as error: print(error.code, error.message)"
    )
    # A mount namespace of its own, which ends with the process.
    mounts = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$1" -c "$2" "$0"'
    shown = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounts, str(state), sys.executable, code],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert shown.stdout.startswith("Code.UNAVAILABLE The database"), shown
    assert "cannot be" in shown.stdout


def test_a_write_inside_a_read_is_refused_before_it_can_be_overtaken(database: Database) -> None:
    with database.read(), pytest.raises(RuntimeError, match="deferred"), database.write():
        pytest.fail("a write began")


def test_data_version_moves_with_others_commits_alone(state: Path, database: Database) -> None:
    before = database.data_version()
    with database.write():
        database.insert("meta", {"key": "own", "value": "1"})
    assert database.data_version() == before
    with closing(open_store(state)) as other:
        other.record("root", "test", "x", "", NOW)
    assert database.data_version() != before


def _open_together(state: Path, rounds: int, start: Barrier, answer: Connection) -> None:
    for number in range(rounds):
        start.wait(30)
        with closing(open_store(state / str(number))) as store:
            answer.send(store.instance())


def test_processes_that_find_no_database_make_one(state: Path) -> None:
    rounds, makers = 25, 4
    state.mkdir()
    forking = multiprocessing.get_context("fork")
    start, pipes = forking.Barrier(makers), [forking.Pipe(duplex=False) for _ in range(makers)]
    processes = [
        forking.Process(target=_open_together, args=(state, rounds, start, there)) for _, there in pipes
    ]
    for process in processes:
        process.start()
    for _, there in pipes:
        there.close()
    for _ in range(rounds):
        assert len({here.recv() for here, _ in pipes}) == 1
    for process, (here, _) in zip(processes, pipes, strict=True):
        process.join(30)
        assert process.exitcode == 0
        here.close()


def test_no_group_of_operators_means_root_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "OPERATORS", "no-such-group-here")
    assert directory.operators_group() is None


def test_no_value_is_bound_by_number() -> None:
    """Python 3.14 refuses `?1` for a value of a sequence, and 3.12 warns of it (sqlite3 in its manual)."""
    texts = {path.name: path.read_text() for path in Path(directory.__file__).parent.glob("*.py")}
    assert len(texts) > 5
    assert [name for name, text in texts.items() if re.search(r"\?[0-9]", text)] == []
