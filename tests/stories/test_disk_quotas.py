"""A person's disk is held to her quota, and a full one keeps her from nothing but writing more."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.stories.conftest import a_house, a_pool, ended
from tests.support.disks import btrfs_disk, committed
from tests.support.house import House, Person, wait_for
from tests.support.terminal import Terminal

MEBI = 1 << 20
UNIT = ROOT / "deploy" / "gpu-gateway.service"
FILL = "head -c 300M /dev/urandom > {place}/filler"


@pytest.fixture
def disk() -> Iterator[Path]:
    """A btrfs that counts, whose quotas are on."""
    folder = Path(tempfile.mkdtemp(prefix="quotas-"))
    folder.chmod(0o755)
    try:
        with btrfs_disk(folder, 512) as made:
            yield made
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def house(base_image: str, disk: Path) -> Iterator[House]:
    """A gateway whose state is on that disk, which is not started."""
    made = House(disk, base_image, a_pool())
    try:
        yield made
    finally:
        made.close()


def told(person: Person, pattern: str) -> bool:
    """Whether a terminal shows this when she comes in, before her shell asks for anything."""
    with Terminal(["ssh", "-F", person.config, "-tt", "gw"], columns=200) as terminal:
        return re.search(pattern, terminal.wait_for(r"(?s).*\$ ")[0].decode()) is not None


def shown(house: House, name: str) -> tuple[int, int, bool]:
    """Her limit, what she takes, and whether she is held, as an operator sees it."""
    record = house.listed("workspace", "show", name)[0]
    return record["disk"], record["disk_used"] or 0, record["disk_enforced"]


def test_a_full_workspace_on_btrfs(house: House, disk: Path) -> None:
    """Fill it everywhere, log in, delete, be given more; nothing is lost, and what was removed is gone."""
    house.start()
    alice, bob = house.add("alice"), house.add("bob")
    house.admin("group", "add", "small")
    house.admin("quota", "set", "--group", "small", "disk=64M")
    house.admin("group", "join", "small", "alice")
    for place in ("~", "/tmp", "/workspace"):
        assert b"Disk quota exceeded" in alice.ssh(FILL.format(place=place)).stderr
    assert bob.ssh("head -c 80M /dev/urandom > file && echo written").stdout == b"written\n"
    committed(disk)
    house.admin("workspace", "recreate", "alice")
    assert alice.ssh(stdin=b"echo in; ls /tmp | wc -l").stdout == b"in\n0\n"
    assert b"Disk quota exceeded" in alice.ssh(FILL.format(place="/tmp")).stderr
    assert alice.ssh("rm -f ~/filler /tmp/filler /workspace/filler && echo gone").stdout == b"gone\n"
    committed(disk)
    assert alice.ssh("head -c 40M /dev/urandom > kept && sha256sum kept > sum; echo $?").stdout == b"0\n"
    # At once, and with the gateway away at the next start.
    house.admin("quota", "set", "alice", "disk=100M")
    assert alice.ssh("head -c 40M /dev/urandom > more; echo $?").stdout == b"0\n"
    house.stop()
    committed(disk)
    house.admin("quota", "set", "alice", "disk=70M")
    house.start()
    wait_for(lambda: shown(house, "alice")[1] >= 80 * MEBI, "the first look at her disk")
    limit, used, held = shown(house, "alice")
    assert (limit, held) == (70 * MEBI, True)
    assert used < 90 * MEBI
    assert told(alice, "Your files take 8.*M of 70M: when it is full nothing more can be written")
    assert b"Disk quota exceeded" in alice.ssh("echo more > another").stderr
    assert alice.ssh("sha256sum --check sum").stdout == b"kept: OK\n"
    house.admin("workspace", "start", "alice", "--rescue")
    assert alice.ssh("cd broken && sha256sum --check sum && rm more; echo $?").stdout == b"kept: OK\n0\n"
    house.admin("workspace", "remove", "alice")
    assert alice.ssh("ls").stdout == b""
    house.admin("workspace", "stop", "bob")
    house.admin("workspace", "hand-over", "bob", "alice")
    assert alice.ssh("stat -c %s from-bob/home/file").stdout == b"%d\n" % (80 * MEBI)
    assert b"Disk quota exceeded" in alice.ssh("echo more > from-bob/another").stderr


@pytest.mark.slow
def test_a_service_without_the_right_to_set_limits_keeps_nobody_out(house: House) -> None:
    """As the unit is without what docs/operations.md adds to it; doctor says that nobody is held."""
    kept = re.findall(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.MULTILINE)[0].split()
    bounds = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in kept)])
    house.launcher = ("setpriv", "--no-new-privs", f"--bounding-set={bounds}", "--inh-caps=-all", "--")
    house.start()
    alice, bob = house.add("alice"), house.add("bob")
    house.admin("quota", "set", "alice", "disk=64M")
    assert alice.ssh("head -c 80M /dev/urandom > file; echo $?").stdout == b"0\n"
    assert bob.ssh("echo in").stdout == b"in\n"
    house.stop()
    house.start()
    wait_for(lambda: shown(house, "alice")[1], "the first count of her files")
    assert not shown(house, "alice")[2]
    house.admin("workspace", "stop", "alice")
    house.admin("workspace", "hand-over", "alice", "bob")
    assert bob.ssh("stat -c %s from-alice/home/file").stdout == b"%d\n" % (80 * MEBI)
    house.admin("workspace", "remove", "bob")
    wait_for(lambda: shown(house, "bob")[1], "the first count of his files")
    # Its disk is too small for doctor, which is another finding.
    findings = json.loads(house.admin("doctor", "--json", status=1).stdout)
    (found,) = [each for each in findings if each["check"] == "disk-quota"]
    assert re.fullmatch("enforced by btrfs, but [12] workspaces are not held", found["found"])
    assert not [event for event in house.events() if event["event"] in ("internal_error", "work_failed")]


@pytest.mark.slow
def test_elsewhere_files_are_counted_and_she_is_told(base_image: str) -> None:
    """No quota of this file system: everything is written, and the next login says that it is too much."""
    house = a_house(base_image)
    try:
        house.start()
        dora = house.add("dora")
        house.admin("quota", "set", "dora", "disk=64M")
        assert dora.ssh("head -c 80M /dev/zero > file; echo $?").stdout == b"0\n"
        house.stop()
        house.start()
        wait_for(lambda: shown(house, "dora")[1], "the first count of her files")
        assert not shown(house, "dora")[2]
        assert told(dora, "Your files take 80.*M of 64M, which is more than you may have")
    finally:
        ended(house)
