"""A workspace in a disk image of its own: full, made larger, over a reboot, handed over, removed."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.stories.conftest import a_house
from tests.support.disks import loop_devices, unmount_below
from tests.support.house import House, Person, wait_for
from tests.support.terminal import Terminal

MEBI = 1 << 20
FILL = "head -c 300M /dev/urandom > {place}/filler"
FULL = b"No space left on device"


@pytest.fixture
def house(base_image: str) -> Iterator[House]:
    """A gateway, not started, that makes workspaces in images; every image is unmounted in the end."""
    made = a_house(base_image, settings='[disk]\nenforcer = "image"\n')
    try:
        yield made
    finally:
        made.close()
        unmount_below(made.folder)
        assert loop_devices(made.folder) == []
        shutil.rmtree(made.folder)


def told(person: Person, pattern: str) -> bool:
    """Whether a terminal shows this when she comes in, before her shell asks for anything."""
    with Terminal(["ssh", "-F", person.config, "-tt", "gw"], columns=200) as terminal:
        return re.search(pattern, terminal.wait_for(r"(?s).*\$ ")[0].decode()) is not None


def shown(house: House, name: str) -> tuple[int, int, bool]:
    """Her limit, what she takes, and whether she is held, as an operator sees it."""
    record = house.listed("workspace", "show", name)[0]
    return record["disk"], record["disk_used"] or 0, record["disk_enforced"]


def checked(house: House, check: str) -> str:
    """What `gpuadmin doctor` found there; this machine's other findings are not of this story."""
    findings = json.loads(house.admin("doctor", "--json", status=None).stdout)
    (found,) = [each["found"] for each in findings if each["check"] == check]
    return str(found)


@pytest.mark.timeout(300)
def test_a_full_workspace_in_an_image(house: House) -> None:
    """Fill it everywhere, log in, delete, be given more; nothing is lost, and what was removed is gone."""
    house.admin("quota", "set", "--default", "disk=64M")
    house.start()
    alice, bob = house.add("alice"), house.add("bob")
    for place in ("~", "/tmp", "/workspace"):
        assert FULL in alice.ssh(FILL.format(place=place)).stderr
    assert bob.ssh("head -c 40M /dev/urandom > file && echo written").stdout == b"written\n"
    house.admin("workspace", "recreate", "alice")
    assert alice.ssh(stdin=b"echo in; ls /tmp | wc -l").stdout == b"in\n0\n"
    house.stop()
    house.start()
    wait_for(lambda: shown(house, "alice")[1] >= 60 * MEBI, "the first look at her disk")
    limit, used, held = shown(house, "alice")
    assert (limit, held) == (64 * MEBI, True)
    assert used <= 64 * MEBI
    assert checked(house, "disk-quota") == "enforced by disk images"
    assert told(alice, "Your files take 6.*M of 64M: when it is full nothing more can be written")
    assert FULL in alice.ssh("head -c 2M /dev/zero > another").stderr
    assert (
        alice.ssh("rm -f filler another /workspace/filler && head -c 40M /dev/urandom > kept").returncode == 0
    )
    assert alice.ssh("sha256sum kept > sum && sync").returncode == 0

    # As a machine that loses power and starts again: nothing is mounted until she comes.
    house.stop(signal.SIGKILL)
    for container in house.containers():
        house.docker("kill", container)
    unmount_below(house.folder)
    house.admin("quota", "set", "alice", "disk=256M")
    house.start()
    assert alice.ssh("sha256sum --check sum").stdout == b"kept: OK\n"
    assert alice.ssh("head -c 180M /dev/urandom > more; echo $?").stdout == b"0\n"
    assert FULL in alice.ssh(FILL.format(place="/workspace")).stderr
    house.admin("quota", "set", "alice", "disk=100M")
    assert alice.ssh("rm more /workspace/filler && head -c 40M /dev/urandom > more; echo $?").stdout == b"0\n"
    assert FULL in alice.ssh("head -c 60M /dev/urandom > beyond").stderr

    house.admin("workspace", "start", "alice", "--rescue")
    assert (
        alice.ssh("cd broken && sha256sum --check sum && rm more beyond; echo $?").stdout == b"kept: OK\n0\n"
    )
    house.admin("workspace", "stop", "bob")
    house.admin("workspace", "hand-over", "bob", "alice")
    assert alice.ssh("stat -c %s broken/from-bob/home/file").stdout == b"%d\n" % (40 * MEBI)
    house.admin("workspace", "remove", "alice")
    assert loop_devices(house.folder) == []
    assert alice.ssh("ls").stdout == b""
    assert loop_devices(house.folder) == ["1.ext4"]
    assert not [event for event in house.events() if event["event"] in ("internal_error", "work_failed")]


@pytest.mark.slow
def test_a_service_that_may_not_mount_says_so(house: House) -> None:
    """What the unit lacks is named to her and to the operator; nobody gets files that nothing holds."""
    house.launcher = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all", "--")
    house.start()
    alice = house.add("alice")
    refused = alice.ssh("echo in")
    assert refused.stdout == b""
    assert b"docs/operations.md" in refused.stderr
    house.stop()
    house.launcher = ()
    house.start()
    assert alice.ssh("echo in").stdout == b"in\n"
    subprocess.run(["mountpoint", "--quiet", house.state / "workspaces" / "1"], check=True)
