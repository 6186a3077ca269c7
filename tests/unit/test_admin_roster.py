"""`user add --from`: fifty people at once or nobody, and every wrong line in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from admin import roster
from admin.main import cli
from gateway.errors import Code, PlatformError
from gateway.sqlite.store import Store
from gateway.users import NewUser
from tests.support.stores import NOW, add_people, key_line, stocked

AddFrom = Callable[..., Result]
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with stocked(tmp_path / "state", 0) as opened:
        yield opened


@pytest.fixture
def add_from(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AddFrom:
    monkeypatch.delenv("GPU_GATEWAY_CONFIG", raising=False)
    monkeypatch.setenv("GPU_GATEWAY_STATE", str(tmp_path / "state"))

    def run(data: str | bytes, *words: str) -> Result:
        content = data.encode() if isinstance(data, str) else data
        return CliRunner().invoke(cli, ["user", "add", "--from", "-", *words], input=content)

    return run


def names(store: Store) -> list[str]:
    return [user.name for user in store.users()]


def test_fifty_at_once(add_from: AddFrom, store: Store) -> None:
    store.add_group("vision", "root", NOW)
    lines = [f"user{number},{key_line(str(number))},vision" for number in range(50)]
    result = add_from("\n".join(["name,key,groups", *lines]) + "\n")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == "Added user0 with uid 30001."
    assert result.stdout.splitlines()[-1] == "Added 50 people."
    assert len(store.users()) == len(store.groups()[0].members) == len(store.keys()) == 50


def test_all_that_is_wrong_is_in_one_table_and_nobody_is_added(add_from: AddFrom, store: Store) -> None:
    add_people(store, "carol")
    taken = key_line("carol")
    result = add_from(
        "name,key,groups,uid\n"
        f"alice,{key_line('a')},,\n"
        f"Bob,{key_line('b')},,\n"
        f"carol,{key_line('c')},,\n"
        "dave,ssh-dss AAAAB3NzaC1kc3M=,,\n"
        f"erin,{taken},,\n"
        f"alice,{key_line('e')},,\n"
        f"frank,{key_line('a')},,\n"
        "grace,,sound,\n"
        "heidi,,,12x\n"
        "ivan,,,30007\n"
        "\n"
        "judy,,,,,\n"
        ",,vision,\n"
    )
    assert (result.exit_code, result.stdout) == (2, "")
    table = [line.split(None, 2) for line in result.stderr.splitlines()]
    assert [row[:2] for row in table[:-1]] == [
        ["LINE", "NAME"],
        ["3", "Bob"],
        ["4", "carol"],
        ["5", "dave"],
        ["6", "erin"],
        ["7", "alice"],
        ["8", "frank"],
        ["9", "grace"],
        ["10", "heidi"],
        ["11", "ivan"],
        ["13", "judy"],
        ["14", "-"],
    ]
    words = [
        "cannot be used",
        "There is a user 'carol' already",
        "type of key",
        "another user's",
        "Line 2 has the same name",
        "Line 2 has the same key",
        "no group 'sound'",
        "The uid '12x'",
        "The uid 30007",
        "more fields",
        "The name ''",
    ]
    assert [word for word, row in zip(words, table[1:-1], strict=True) if word not in row[2]] == []
    assert result.stderr.splitlines()[-1] == (
        "gpuadmin: Nobody was added: 11 of 12 people cannot be; mend these lines and run it again."
    )
    assert names(store) == ["carol"]
    assert store._db.rows("select 1 from event where verb = 'user add' and subject != 'carol'") == []


def test_what_only_the_store_knows_is_status_1_and_adds_nobody(add_from: AddFrom, store: Store) -> None:
    add_people(store, "bob")
    result = add_from("name\nalice\nbob\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert names(store) == ["bob"]
    assert add_from("name\nalice\ncarol\n").exit_code == 0
    # Nothing of the attempt is left, not even the numbers that it would have given.
    assert [user.uid for user in store.users()] == [30002, 30001, 30003]


def test_a_byte_order_mark_semicolons_and_what_spreadsheets_write(add_from: AddFrom, store: Store) -> None:
    text = (
        f'Name;Key;UID;GID;Home\r\nalice;"{key_line("a", "a;b")}\r\n{key_line("b")}";2001;2000;/nfs/alice\r\n'
    )
    result = add_from(b"\xef\xbb\xbf" + text.encode())
    assert result.exit_code == 0, result.output
    (alice,) = store.users()
    assert (alice.uid, alice.gid, alice.home) == (2001, 2000, "/nfs/alice")
    assert sorted(key.comment for key in store.keys("alice")) == ["", "a;b"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("name,key\nalice,\nren\u00e9e,\n".encode("latin-1"), "Line 3 is not UTF-8 (is the file Latin-1?)"),
        ("name\nalice\n".encode("utf-16"), "Line 1 is not UTF-8"),
        (b"", "not a CSV file of people"),
        (b"\n\n", "not a CSV file of people"),
        (b"alice,bob\n", "not a CSV file of people"),
        (b"name,name\nalice,bob\n", "not a CSV file of people"),
        (b"name,password\nalice,x\n", "not a CSV file of people"),
        (b"name,key\n", "There is nobody in the file"),
        (b'name,key\nalice,"ssh-ed\n', "Line 2 is not CSV"),
        (b'name,key\nalice,"a"b\n', "Line 2 is not CSV"),
        (f"name,key\nalice,{PRIVATE}".encode(), "Line 2 holds a private key"),
        (PRIVATE.encode(), "Line 1 holds a private key"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(
    add_from: AddFrom, store: Store, data: bytes, why: str
) -> None:
    result = add_from(data)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1), result.output
    assert why in result.stderr
    assert "b3Blbn" not in result.output
    assert names(store) == []


def test_a_private_key_is_never_stored(add_from: AddFrom, store: Store, tmp_path: Path) -> None:
    add_from(f'name,key\nalice,"{PRIVATE}"\n')
    add_from(f"name,key\nalice,{PRIVATE}")
    for path in (tmp_path / "state").iterdir():
        assert b"b3Blbn" not in path.read_bytes()


def test_the_file_says_everything(add_from: AddFrom, store: Store) -> None:
    for words in (["alice"], ["--group", "vision"], ["--uid", "2001"], ["--home", "/nfs/x"]):
        result = add_from("name\nalice\n", *words)
        assert (result.exit_code, names(store)) == (2, [])
        assert "everything is in the file" in result.stderr
    result = CliRunner().invoke(cli, ["user", "add"])
    assert result.exit_code == 2
    assert "Say whom to add" in result.stderr
    assert CliRunner().invoke(cli, ["user", "add", "--from", "/nowhere.csv"]).exit_code == 2


def test_one_uid_for_two_people_is_refused() -> None:
    found = roster.read(b"name,uid\nalice,2001\nbob,2001\ncarol,2002\n")
    assert [person.name for person in found.people.values()] == ["alice", "carol"]
    assert [(fault.line, fault.error.code) for fault in found.faults] == [(3, Code.CONFLICT)]


def test_a_full_disk_is_nobodys_fault(store: Store) -> None:
    # The file may not grow by a page: what is free in its pages holds some of these people, not all.
    store._db.rows("pragma max_page_count = 1")
    with pytest.raises(PlatformError, match="is full") as caught:
        store.add_users({number: NewUser(f"user{number}") for number in range(500)}, "root", NOW)
    assert caught.value.code is Code.UNAVAILABLE
    assert names(store) == []
