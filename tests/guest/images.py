"""Run in a guest by tests/unit/test_disk_image.py: disk images, where the broker has every right."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.folders import WorkspaceFolders
from tests.conftest import ROOT
from tests.support.disks import unmount_below
from tests.support.writers import ALICE, LIMIT, MEBI, as_, made, own, write

# As systemd has a service that is kept from writing to the system: mounts of its own, and /sys read-only.
_SERVICE = ("unshare", "--mount", "--propagation", "slave", "sh", "-ec")
_PREPARE = """
from tests.guest.images import *
made(WorkspaceFolders(Path("/mnt/state"), into_images=True), ALICE)
"""


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory in memory; like a machine's under systemd, its mounts are shared."""
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    folder = Path("/mnt/state")
    folder.mkdir(mode=0o755)
    try:
        yield folder
    finally:
        unmount_below(folder)
        subprocess.run(["rm", "-rf", folder], check=True)


def test_an_image_grows_while_it_is_in_use(state: Path) -> None:
    folders = WorkspaceFolders(state, into_images=True)
    made(folders, ALICE)
    home = own(state, ALICE) / "home"
    with (home / "open").open("wb"):
        assert as_(ALICE, home, write(16)) == errno.ENOSPC
        folders.limit(ALICE.id, 180 * MEBI)
        assert as_(ALICE, home, write(150)) == 0
        assert as_(ALICE, home, write(64, "more")) == errno.ENOSPC
    assert folders.usage(ALICE.id).held


def test_what_a_hardened_service_mounts_the_whole_machine_sees(state: Path) -> None:
    """With the rights of the unit and of what the manual adds to it, and no other."""
    unit = (ROOT / "deploy" / "gpu-gateway.service").read_text()
    manual = (ROOT / "docs" / "operations.md").read_text()
    rights = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    rights += re.findall(
        r"disk-images\.conf.*?^CapabilityBoundingSet=(.*?)$", manual, re.MULTILINE | re.DOTALL
    )
    assert len(rights) == 2
    bounds = ",".join(
        ["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in " ".join(rights).split())]
    )
    keep = f'exec setpriv --no-new-privs --bounding-set={bounds} --inh-caps=-all -- "$@"'
    subprocess.run(
        [*_SERVICE, f"mount -o remount,ro,bind /sys; {keep}", "sh", sys.executable, "-c", _PREPARE],
        check=True,
        cwd=ROOT,
    )
    assert os.path.ismount(own(state, ALICE))
    assert WorkspaceFolders(state).usage(ALICE.id).held
    assert as_(ALICE, own(state, ALICE) / "home", write(64)) == errno.ENOSPC
    assert LIMIT < 64 * MEBI
