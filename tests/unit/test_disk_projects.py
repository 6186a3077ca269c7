"""Projects of xfs and ext4: what the kernel answers, recorded on Linux 6.1 (Debian 12)."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.folders.holding import look_at
from gateway.folders.projects import Projects, is_enforced, parse
from tests.conftest import ROOT
from tests.support.disks import small_disk
from tests.support.guest import run_in_guest

STATES = {
    "ext4 mounted with prjquota": ("010035000000000003000000", True),
    "ext4 that only counts": ("010015000000000003000000", False),
    "xfs mounted with prjquota": ("0100300000000000ffffffff", True),
    "xfs mounted with pqnoenforce": ("0100100000000000ffffffff", False),
}
# 100 MiB, and three of them used by files of random bytes.
QUOTAS = {
    "ext4": ("010200000e0000400020030000000000" + "0" * 48 + "0218000000000000" + "0" * 128, 3146752),
    "xfs": ("01020000850000400020030000000000" + "0" * 48 + "0018000000000000" + "0" * 128, 3 << 20),
}


@pytest.mark.parametrize("mounted", STATES)
def test_a_file_system_that_only_counts_holds_nobody(mounted: str) -> None:
    answer, enforced = STATES[mounted]
    assert is_enforced(bytes.fromhex(answer)) is enforced


@pytest.mark.parametrize("file_system", QUOTAS)
def test_a_quota_is_read_in_bytes(file_system: str) -> None:
    answer, used = QUOTAS[file_system]
    assert parse(bytes.fromhex(answer)) == (100 << 20, used)


@pytest.fixture
def disk() -> Iterator[Path]:
    """An ext4 without quotas."""
    folder = Path(tempfile.mkdtemp(prefix="ext4-"))
    try:
        with small_disk(folder, 16) as made:
            yield made
            made_of = made
        made_of.rmdir()
    finally:
        folder.rmdir()


def test_without_quotas_a_workspace_is_a_plain_directory_that_nothing_holds(disk: Path) -> None:
    projects = Projects()
    top = os.open(disk, os.O_RDONLY)
    try:
        projects.make(top, "7")
        files = os.open("7", os.O_RDONLY, dir_fd=top)
        try:
            assert projects.limit(files, 1 << 20) is False
            assert (projects.limited_to(files), projects.counted(files)) == (None, None)
        finally:
            os.close(files)
    finally:
        os.close(top)
    assert look_at(disk) == ("ext4", False)
    subprocess.run(["dd", "if=/dev/zero", f"of={disk}/7/file", "bs=1M", "count=2", "status=none"], check=True)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_xfs_and_ext4_hold_workspaces_on_a_kernel_that_has_their_quotas(tmp_path: Path) -> None:
    """This machine's may lack them: tests/guest/projects.py runs in another."""
    ext4, xfs = tmp_path / "ext4.img", tmp_path / "xfs.img"
    for image in (ext4, xfs):
        with image.open("wb") as file:
            file.truncate(320 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "quota,project", ext4], check=True)
    subprocess.run(["mkfs.xfs", "-q", xfs], check=True)
    said = run_in_guest(tmp_path, ROOT / "tests" / "guest" / "projects.py", ext4, xfs)
    assert "guest ended with 0" in said, said
