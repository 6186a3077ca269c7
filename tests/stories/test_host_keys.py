"""A client that comes back learns the gateway's other host keys, as OpenSSH does by default."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.house import House, Person

# As in a person's own ssh, but that nobody is there who could say yes.
_STRICT = ["-oStrictHostKeyChecking=yes", "-oHostKeyAlgorithms=ssh-ed25519"]
_LEARNS = ["-oUpdateHostKeys=yes", *_STRICT]


def test_the_second_login_learns_every_host_key(alice: Person) -> None:
    """UpdateHostKeys is on in a person's own ssh, and off where a config names the known_hosts file."""
    assert alice.ssh("true").returncode == 0
    ended = alice.ssh("echo here", options=["-oUpdateHostKeys=yes"])
    assert (ended.returncode, ended.stdout) == (0, b"here\n"), ended.stderr
    known = (alice.folder / "known_hosts").read_text().splitlines()
    assert {line.split()[1] for line in known} == {"ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"}


def test_a_key_is_replaced_and_who_came_by_meanwhile_knows_the_new_one(
    new_house: Callable[[], House],
) -> None:
    """docs/operations.md: a next key beside the one in use, and some weeks later in its place."""
    house = new_house()
    alice, bob = house.add("alice"), house.add("bob")
    assert [person.ssh("true").returncode for person in (alice, bob)] == [0, 0]
    keys = house.state / "host-keys"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / "next_ed25519"], check=True)
    old, new = (_public(keys / name) for name in ("host_ed25519", "next_ed25519"))
    house.stop()
    house.start()
    assert alice.ssh("echo here", options=_LEARNS).stdout == b"here\n"
    assert {old, new} <= _known(alice)
    (keys / "next_ed25519").rename(keys / "host_ed25519")
    house.stop()
    house.start()
    assert alice.ssh("echo here", options=_LEARNS).stdout == b"here\n"
    assert new in _known(alice)
    assert old not in _known(alice)
    warned = bob.ssh("true", options=_STRICT)
    assert warned.returncode == 255
    assert b"REMOTE HOST IDENTIFICATION HAS CHANGED" in warned.stderr


def _public(key: Path) -> str:
    shown = subprocess.run(["ssh-keygen", "-y", "-f", key], capture_output=True, text=True, check=True)
    return shown.stdout.split()[1]


def _known(person: Person) -> set[str]:
    return {line.split()[2] for line in (person.folder / "known_hosts").read_text().splitlines()}
