"""What an operator does to whole workspaces, and what their people find then."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.support.house import House, wait_for


def runs(house: House) -> dict[str, bool | None]:
    """Whose containers run, as the operator sees it."""
    return {record["user"]: record["running"] for record in house.listed("workspace", "list")}


def test_a_working_day(new_house: Callable[[], House]) -> None:
    """Started, stopped, rescued, handed over and removed; first with a gateway, then without one."""
    house = new_house()
    alice, bob = house.add("alice"), house.add("bob")
    house.admin("workspace", "start", "alice")
    wait_for(lambda: runs(house) == {"alice": True, "bob": False}, "alice's container in the list")
    # A login shell that ends at once is how people lock themselves out.
    alice.ssh("echo kept > ~/mine; echo 'exit 9' > ~/.profile")
    assert alice.ssh(stdin=b"echo in").returncode == 9
    house.admin("workspace", "start", "alice", "--rescue")
    assert alice.ssh(stdin=b"mv broken/.profile broken/mine.profile; cat broken/mine").stdout == b"kept\n"
    assert house.listed("workspace", "show", "alice")[0]["rescue"] is True
    house.admin("workspace", "start", "alice")
    assert alice.ssh("ls; test -e broken").stdout.split() == [b"mine", b"mine.profile"]
    refused = house.admin("workspace", "hand-over", "alice", "bob", status=1)
    assert "gpuadmin workspace stop alice" in refused.stderr
    house.admin("workspace", "stop", "alice")
    wait_for(lambda: not any(runs(house).values()), "no container in the list")
    house.stop(signal.SIGKILL)
    house.admin("workspace", "hand-over", "alice", "bob")
    house.admin("workspace", "start", "bob")
    assert runs(house) == {"alice": False, "bob": True}
    house.start()
    assert bob.ssh("cat from-alice/home/mine && echo x >> from-alice/home/mine").stdout == b"kept\n"
    house.admin("workspace", "remove", "bob")
    assert bob.ssh("ls").stdout == b""
    assert (house.state / "workspaces" / "removed" / "1" / "home" / "from-alice").is_dir()
