"""A client that comes back learns the gateway's other host keys, as OpenSSH does by default."""

from __future__ import annotations

from tests.support.house import Person


def test_the_second_login_learns_every_host_key(alice: Person) -> None:
    """UpdateHostKeys is on in a person's own ssh, and off where a config names the known_hosts file."""
    assert alice.ssh("true").returncode == 0
    ended = alice.ssh("echo here", options=["-oUpdateHostKeys=yes"])
    assert (ended.returncode, ended.stdout) == (0, b"here\n"), ended.stderr
    known = (alice.folder / "known_hosts").read_text().splitlines()
    assert {line.split()[1] for line in known} == {"ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"}
