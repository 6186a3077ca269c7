"""Run in a guest by tests/unit/test_disk_projects.py: workspaces that xfs and ext4 hold to a size."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.disks import Usage
from gateway.folders import WorkspaceFolders
from gateway.folders.holding import look_at
from tests.conftest import ROOT
from tests.contract.holding_contract import FULL, HoldingContract
from tests.support.writers import ALICE, MEBI, as_, made, own, write

DEVICES = {"ext4": "/dev/ubdb", "xfs": "/dev/ubdc"}
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


class TestProjects(HoldingContract):
    """Projects hold as every other way does."""


def test_a_disk_that_holds_says_so(disk: Path, name: str) -> None:
    assert look_at(disk) == (name, True)


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
