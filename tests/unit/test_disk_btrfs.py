"""Workspaces that btrfs holds to a size, on a real one in a file. Needs root, as the broker."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.disks import Usage
from gateway.folders import WorkspaceFolders
from tests.conftest import ROOT
from tests.contract.holding_contract import HoldingContract
from tests.support.disks import btrfs_disk, committed
from tests.support.writers import ALICE, BOB, CAROL, LIMIT, MEBI, as_, made, own, write


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a disk is mounted; everybody may pass."""
    made = Path(tempfile.mkdtemp(prefix="btrfs-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    with btrfs_disk(folder) as made:
        yield made


@pytest.fixture
def folders(disk: Path) -> WorkspaceFolders:
    return WorkspaceFolders(disk)


class TestBtrfs(HoldingContract):
    """Btrfs holds as every other way does."""


def test_even_root_renames_nothing_in_a_full_one(disk: Path, folders: WorkspaceFolders) -> None:
    """Hence the platform's own steps lift the limit: what it does at a login renames and writes."""
    made(folders, ALICE)
    mine = own(disk, ALICE)
    assert as_(ALICE, mine / "tmp", lambda: os.mkdir("deep")) == 0
    assert as_(ALICE, mine / "home", write(64)) == errno.EDQUOT
    committed(disk)
    with pytest.raises(OSError, match=os.strerror(errno.EDQUOT)):
        os.rename(mine / "tmp" / "deep", mine / "tmp" / "other")


def test_quotas_that_are_switched_on_later_hold_what_is_there(folder: Path) -> None:
    with btrfs_disk(folder, quotas=False) as disk:
        folders = WorkspaceFolders(disk)
        made(folders, ALICE)
        assert folders.usage(ALICE.id) == Usage(None, False)
        subprocess.run(["btrfs", "quota", "enable", disk], check=True)
        folders.limit(ALICE.id, LIMIT)
        assert as_(ALICE, own(disk, ALICE) / "home", write(64)) == errno.EDQUOT


def test_a_plain_directory_of_before_is_left_alone_and_not_held(
    disk: Path, folders: WorkspaceFolders
) -> None:
    home = own(disk, ALICE) / "home"
    home.mkdir(parents=True)
    os.chown(home, ALICE.uid, ALICE.gid)
    made(folders, ALICE)
    assert folders.usage(ALICE.id) == Usage(None, False)
    assert as_(ALICE, home, write(16)) == 0


def test_the_manual_makes_a_plain_directory_one_that_is_held(disk: Path, folders: WorkspaceFolders) -> None:
    home = own(disk, ALICE) / "home"
    home.mkdir(parents=True)
    (home / "file").write_bytes(os.urandom(MEBI))
    os.chown(home, ALICE.uid, ALICE.gid)
    made(folders, ALICE)
    before = own(disk, ALICE).stat()
    manual = (ROOT / "docs" / "operations.md").read_text()
    (block,) = (
        each for each in re.findall(r"```sh\n(.*?)```", manual, re.DOTALL) if "subvolume create 7.new" in each
    )
    lines = [line for line in block.splitlines() if not line.startswith(("gpuadmin", "cd "))]
    subprocess.run(["sh", "-ec", "\n".join(lines)], cwd=disk / "workspaces", check=True)
    made(folders, ALICE)
    after = own(disk, ALICE).stat()
    assert (before.st_mode, before.st_uid) == (after.st_mode, after.st_uid)
    assert (home / "file").stat().st_size == MEBI
    assert as_(ALICE, home, write(16, "more")) == errno.EDQUOT
    assert sorted(os.listdir(disk / "workspaces")) == ["7"]


def test_what_is_handed_over_counts_as_the_takers(disk: Path, folders: WorkspaceFolders) -> None:
    """Twice, so that a subvolume with another inside goes to the third; both are full."""
    for user in (ALICE, BOB, CAROL):
        made(folders, user)
    for user in (ALICE, BOB):
        assert as_(user, own(disk, user) / "home", write(64)) == errno.EDQUOT
    committed(disk)
    assert folders.hand_over(ALICE, BOB) == "/home/u8/from-u7"
    committed(disk)
    assert (folders.usage(BOB.id).counted or 0) > LIMIT * 1.6
    given = own(disk, BOB) / "home" / "from-u7" / "home"
    assert as_(BOB, given, write(1, "more")) == errno.EDQUOT
    assert folders.hand_over(BOB, CAROL) == "/home/u9/from-u8"
    folders.limit(CAROL.id, 4 * LIMIT)
    committed(disk)
    assert (folders.usage(CAROL.id).counted or 0) > LIMIT * 1.6
    inner = own(disk, CAROL) / "home" / "from-u8" / "home" / "from-u7" / "home"
    assert as_(CAROL, inner, write(1, "more")) == 0
    assert groups(disk) == {f"213/{subvolume(own(disk, CAROL))}"}


@pytest.mark.parametrize("crashed", [False, True])
def test_a_plain_directory_of_before_can_be_handed_over(
    disk: Path, folders: WorkspaceFolders, crashed: bool
) -> None:
    """Also when the one before stopped between the two renames, or in the middle of the copy."""
    home = own(disk, ALICE) / "home"
    (home / "deep").mkdir(parents=True)
    (home / "deep" / "file").write_text("hers")
    made(folders, BOB)
    if crashed:
        handed = disk / "workspaces" / "handed-over"
        (handed / "7-8.copy" / "half").mkdir(parents=True)
        own(disk, ALICE).rename(handed / "7-8")
    assert folders.hand_over(ALICE, BOB) == "/home/u8/from-u7"
    if not crashed:
        staged = disk / "workspaces" / "handed-over" / "7-8"
        (own(disk, BOB) / "home" / "from-u7").rename(f"{staged}.copy")
        Path(f"{staged}.old").mkdir()
        assert folders.hand_over(ALICE, BOB) == "/home/u8/from-u7"
    given = own(disk, BOB) / "home" / "from-u7"
    assert os.listdir(given) == ["home"]
    assert (given / "home" / "deep" / "file").read_text() == "hers"
    assert (given / "home" / "deep").stat().st_uid == BOB.uid
    assert as_(BOB, given / "home", write(64)) == errno.EDQUOT
    assert os.listdir(disk / "workspaces" / "handed-over") == []


def test_nothing_is_left_of_a_workspace_with_others_inside(disk: Path, folders: WorkspaceFolders) -> None:
    for user in (ALICE, BOB):
        made(folders, user)
    assert as_(ALICE, own(disk, ALICE) / "home", lambda: os.makedirs("a/b/c")) == 0
    folders.hand_over(ALICE, BOB)
    inner = own(disk, BOB) / "home" / "from-u7" / "home" / "a"
    for name in ("x", "x/y", "x/y/z"):
        subprocess.run(["btrfs", "subvolume", "create", inner / name], check=True)
        (inner / name / "d" / "e").mkdir(parents=True)
        (inner / name / "d" / "file").touch()
    assert as_(BOB, own(disk, BOB) / "home", write(64)) == errno.EDQUOT
    committed(disk)
    folders.put_away(BOB.id, 1)
    assert os.listdir(disk / "workspaces" / "removed") == ["1"]
    made(folders, BOB)
    folders.delete_put_away(1)
    folders.delete(BOB.id)
    assert sorted(os.listdir(disk / "workspaces")) == ["handed-over", "removed"]
    assert os.listdir(disk / "workspaces" / "removed") == []
    assert groups(disk) == set()


def groups(disk: Path) -> set[str]:
    """The quota groups of ours that there are."""
    shown = subprocess.run(["btrfs", "qgroup", "show", disk], check=True, capture_output=True, text=True)
    return {line.split()[0] for line in shown.stdout.splitlines() if line.startswith("213/")}


def subvolume(path: Path) -> int:
    shown = subprocess.run(
        ["btrfs", "inspect-internal", "rootid", path], check=True, capture_output=True, text=True
    )
    return int(shown.stdout)
