"""Run in a guest by tests/unit/test_disk_projects.py: workspaces that xfs and ext4 hold to a size."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.disks import Usage
from gateway.folders import WorkspaceFolders
from gateway.folders.holding import look_at
from tests.conftest import ROOT
from tests.support.writers import ALICE, BOB, LIMIT, MEBI, as_, made, own, write

DEVICES = {"ext4": "/dev/ubdb", "xfs": "/dev/ubdc"}
FULL = {errno.EDQUOT, errno.ENOSPC}
MOUNTS = Path("/mnt")


@pytest.fixture(params=DEVICES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def disk(name: str) -> Iterator[Path]:
    yield from mounted(name, "prjquota")


@pytest.fixture
def folders(disk: Path) -> WorkspaceFolders:
    return WorkspaceFolders(disk)


def mounted(name: str, options: str) -> Iterator[Path]:
    disk = MOUNTS / name
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", options, DEVICES[name], disk], check=True)
    disk.chmod(0o755)
    try:
        yield disk
    finally:
        subprocess.run(["rm", "-rf", disk / "workspaces"], check=True)
        subprocess.run(["umount", disk], check=True)


def test_nobody_writes_above_her_limit(disk: Path, folders: WorkspaceFolders, name: str) -> None:
    assert look_at(disk) == (name, True)
    for user in (ALICE, BOB):
        made(folders, user)
    for place in ("home", "workspace", "tmp"):
        assert as_(ALICE, own(disk, ALICE) / place, write(64)) in FULL
    usage = folders.usage(ALICE.id)
    assert usage.held
    assert LIMIT * 0.8 < (usage.counted or 0) <= LIMIT
    assert as_(BOB, own(disk, BOB) / "home", write(2)) == 0


def test_a_full_workspace_is_prepared_for_a_login(disk: Path, folders: WorkspaceFolders) -> None:
    made(folders, ALICE)
    mine = own(disk, ALICE)
    assert as_(ALICE, mine / "tmp", lambda: os.makedirs("deep/er")) == 0
    assert as_(ALICE, mine / "home", write(64)) in FULL
    (mine / "etc" / "group").unlink()
    (mine / "socket" / "listening").touch()
    made(folders, ALICE)
    assert os.listdir(mine / "tmp") == []
    assert as_(ALICE, mine / "home", lambda: os.unlink("file")) == 0
    assert as_(ALICE, mine / "home", write(1)) == 0


def test_a_limit_below_what_is_there_loses_nothing(disk: Path, folders: WorkspaceFolders) -> None:
    made(folders, ALICE, 32 * MEBI)
    home = own(disk, ALICE) / "home"
    assert as_(ALICE, home, write(16)) == 0
    folders.limit(ALICE.id, LIMIT)
    assert as_(ALICE, home, write(1, "more")) in FULL
    assert (home / "file").stat().st_size == 16 * MEBI
    folders.limit(ALICE.id, 32 * MEBI)
    assert as_(ALICE, home, write(1, "more")) == 0


def test_what_is_handed_over_counts_as_the_takers(disk: Path, folders: WorkspaceFolders) -> None:
    """However deep it lies."""
    for user in (ALICE, BOB):
        made(folders, user)
    home = own(disk, ALICE) / "home"
    assert as_(ALICE, home, lambda: os.makedirs("/".join(["d"] * 200))) == 0
    os.mkfifo(home / "fifo")
    (home / "link").symlink_to("/etc/passwd")
    assert as_(ALICE, home / Path(*["d"] * 200), write(64)) in FULL
    assert folders.hand_over(ALICE, BOB) == "/home/u8/from-u7"
    assert (folders.usage(BOB.id).counted or 0) > LIMIT * 0.8
    given = own(disk, BOB) / "home" / "from-u7" / "home"
    assert as_(BOB, given, write(16, "more")) in FULL
    folders.put_away(BOB.id, 1)
    folders.delete_put_away(1)
    assert sorted(os.listdir(disk / "workspaces")) == ["handed-over", "removed"]


def test_the_manual_makes_a_plain_directory_one_that_is_held(disk: Path, folders: WorkspaceFolders) -> None:
    home = own(disk, ALICE) / "home"
    home.mkdir(parents=True)
    (home / "old").write_bytes(os.urandom(MEBI))
    (home / "link").symlink_to("old")
    os.chown(home, ALICE.uid, ALICE.gid)
    made(folders, ALICE)
    assert folders.usage(ALICE.id) == Usage(None, False)
    manual = (ROOT / "docs" / "operations.md").read_text().splitlines()
    lines = [line for line in manual if line.startswith("find 7 ")]
    subprocess.run(["sh", "-ec", "\n".join(lines)], cwd=disk / "workspaces", check=True)
    made(folders, ALICE)
    assert (folders.usage(ALICE.id).counted or 0) > MEBI
    assert as_(ALICE, home, write(64)) in FULL


@pytest.mark.parametrize(("name", "options"), [("ext4", "defaults"), ("xfs", "pqnoenforce")])
def test_a_disk_that_only_counts_holds_nobody(name: str, options: str) -> None:
    for disk in mounted(name, options):
        folders = WorkspaceFolders(disk)
        made(folders, ALICE)
        assert look_at(disk) == (name, False)
        assert not folders.usage(ALICE.id).held
        assert as_(ALICE, own(disk, ALICE) / "home", write(16)) == 0
