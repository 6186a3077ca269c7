"""What an operator does to whole workspaces, and what their people find then."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

from gateway.folders import WorkspaceFolders
from tests.stories.conftest import a_house, ended
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
    house.admin("workspace", "start", "bob", "--rescue")
    assert runs(house) == {"alice": False, "bob": True}
    house.start()
    handed = "broken/from-alice/home/mine"
    assert bob.ssh(f"cat {handed} && echo x >> {handed}; touch here").stdout == b"kept\n"
    house.stop(signal.SIGKILL)
    house.admin("workspace", "remove", "bob")
    assert runs(house) == {"alice": False, "bob": False}
    assert not (house.state / "workspaces" / "2").exists()
    house.start()
    assert bob.ssh("ls").stdout == b""
    put_away = house.state / "workspaces" / "removed" / "1" / "home"
    assert (put_away / "from-alice" / "home" / "mine").read_text() == "kept\nx\n"


def test_a_hand_over_that_is_killed_half_way_is_done_by_the_gateway(base_image: str) -> None:
    """gpuadmin, without a gateway, dies when the files left their place; each is somewhere in the end."""
    house = a_house(base_image)
    try:
        for name in ("alice", "bob"):
            house.add(name)
        with house.store() as store:
            WorkspaceFolders(house.state).prepare(store.user("alice"))
        workspaces = house.state / "workspaces"
        for number in range(2000):
            (workspaces / "1" / "home" / f"file{number}").touch()
        command = [sys.executable, "-c", "from admin.main import main; main()"]
        words = ["workspace", "hand-over", "alice", "bob"]
        with subprocess.Popen([*command, *words], env=house.environment) as killed, house.store() as store:
            wait_for(store.wanted, "the record")
            # While we write nobody else does, so it cannot say that it is done.
            with store._db.write():
                wait_for(lambda: not (workspaces / "1").exists(), "the first move")
                killed.kill()
                killed.wait()
            assert store.wanted()
            house.start()
            wait_for(lambda: not store.wanted(), "the rest of the work")
        files = list((workspaces / "2" / "home" / "from-alice" / "home").glob("file*"))
        assert len(files) == 2000
        assert {path.stat().st_uid for path in files} == {30002}
    finally:
        ended(house)


def test_fifty_people_of_a_table_log_in(home: House) -> None:
    """All of them are there at once, and none while a line is wrong."""
    people = [home.person(f"student{number}") for number in range(50)]
    home.admin("group", "add", "course")
    lines = [f"{person.name},{person.public_key.read_text().strip()},course" for person in people]
    table = home.folder / "people.csv"
    table.write_text("\n".join(["name,key,groups", *lines, "student7,not a key,course"]) + "\n")
    refused = home.admin("user", "add", "--from", str(table), status=2)
    assert "student7" in refused.stderr
    assert home.listed("user", "list") == []
    before = len(home.events())
    table.write_text("\n".join(["name,key,groups", *lines]) + "\n")
    assert home.admin("user", "add", "--from", str(table)).stdout.endswith("Added 50 people.\n")
    wait_for(lambda: all(home.heard_of(each.name, before) for each in people), "them all in the gateway")
    for person in (people[0], people[-1]):
        uid = person.ssh("id -u").stdout
        assert uid == b"%d\n" % next(
            u["uid"] for u in home.listed("user", "list") if u["name"] == person.name
        )
