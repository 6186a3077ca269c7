"""Homes and disks that are not as one would wish: root is nobody there, or there is no room."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stories.conftest import a_house, a_pool, ended
from tests.support.disks import fill, small_disk, squashed
from tests.support.house import House, Person, wait_for

UID = 2001


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where disks are mounted; everybody may pass."""
    made = Path(tempfile.mkdtemp(prefix="disks-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def house(base_image: str) -> Iterator[House]:
    """A running gateway."""
    made = a_house(base_image)
    try:
        made.start()
        yield made
    finally:
        ended(made)


def with_home(house: House, home: Path) -> Person:
    """A user whose uid and home the site has already."""
    person = house.person(f"dora{secrets.token_hex(2)}")
    before = len(house.events())
    house.admin(
        *("user", "add", person.name, "--key", str(person.public_key)),
        *("--uid", str(UID), "--gid", str(UID), "--home", str(home)),
    )
    wait_for(lambda: house.heard_of(person.name, before), f"{person.name} in the gateway")
    return person


def test_a_home_where_root_is_nobody(house: House, folder: Path) -> None:
    """As on a file server with root_squash: login, rescue and removal write nothing there as root."""
    kept, home = folder / "kept", folder / "home"
    for path in (kept, home):
        path.mkdir(mode=0o700)
    os.chown(kept, UID, UID)
    (kept / ".profile").write_text("export MARK=hers\n")
    os.chown(kept / ".profile", UID, UID)
    with squashed(kept, home, UID):
        with pytest.raises(OSError, match=os.strerror(errno.EOVERFLOW)):
            (home / "roots").touch()
        with pytest.raises(OSError, match=os.strerror(errno.EOVERFLOW)):
            os.chown(home / ".profile", 0, 0)
        dora = with_home(house, home)
        assert dora.ssh(stdin=b"echo $MARK; pwd; echo mine > file").stdout.split() == [
            b"hers",
            f"/home/{dora.name}".encode(),
        ]
        house.admin("workspace", "start", dora.name, "--rescue")
        assert dora.ssh("cat broken/file; touch broken/again").stdout == b"mine\n"
        house.admin("workspace", "remove", dora.name)
        assert dora.ssh("cat file").stdout == b"mine\n"
        house.admin("user", "remove", dora.name)
    assert sorted(os.listdir(kept)) == [".profile", "again", "file"]
    assert {path.stat().st_uid for path in (kept, *kept.iterdir())} == {UID}


def test_a_full_home_never_prevents_a_login(house: House, folder: Path) -> None:
    with small_disk(folder, 4) as disk:
        home = disk / "dora"
        home.mkdir(mode=0o700)
        os.chown(home, UID, UID)
        filler = fill(disk)
        dora = with_home(house, home)
        said = dora.ssh("echo in; head -c 9000 /dev/zero > file")
        assert said.stdout == b"in\n"
        assert b"No space left on device" in said.stderr
        house.admin("workspace", "recreate", dora.name)
        assert dora.ssh(stdin=b"echo in").stdout == b"in\n"
        filler.unlink()
        assert dora.ssh("head -c 9000 /dev/zero > file && echo room").stdout == b"room\n"
        house.admin("user", "remove", dora.name)


def test_a_full_state_directory_is_a_sentence(base_image: str, folder: Path) -> None:
    """Who was in comes in, whose directories are to be made is told, and gpuadmin says which disk it is."""
    with small_disk(folder, 48) as disk:
        house = House(disk, base_image, a_pool())
        try:
            house.start()
            alice, bob = house.add("alice"), house.add("bob")
            alice.ssh("true")
            # Her client's own file is to be there before the disk is full.
            assert bob.config.exists()
            filler = fill(disk)
            house.docker("kill", *house.containers())
            wait_for(lambda: not house.containers(), "the container's end")
            assert alice.ssh("echo in").stdout == b"in\n"
            new = bob.ssh("echo in")
            assert (new.returncode, new.stdout) == (75, b"")
            assert b"No space left on device" in new.stderr
            refused = house.admin("user", "add", "carol", status=75)
            assert refused.stderr == (
                f"gpuadmin: The disk that holds {house.state}/gateway.db is full; "
                "free some space on it and try again.\n"
            )
            filler.unlink()
            assert bob.ssh("echo in").stdout == b"in\n"
            house.admin("user", "add", "carol")
        finally:
            house.close()
