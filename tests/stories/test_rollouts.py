"""A new version of an image is tried by some, given to all and taken back, as it is seen from inside."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from gateway.rollout import bucket
from tests.support.house import House, Person, wait_for
from tests.support.terminal import Terminal

WHICH = "echo $WHICH"

Tag = Callable[[str, int], str]


@pytest.fixture
def tag(home: House) -> Iterator[Tag]:
    """Makes an image that tells which build it is, and gives it a tag; all of them are removed."""
    made: list[str] = []

    def build(ref: str, which: int) -> str:
        container = home.docker("create", home.image, "true")
        made.append(home.docker("commit", f"--change=ENV WHICH={which}", container))
        home.docker("rm", container)
        home.docker("tag", made[-1], ref)
        return made[-1]

    yield build
    for name in home.people:
        home.admin("workspace", "recreate", name)
    for digest in made:
        home.docker("image", "rm", "-f", digest)


def runs(*people: Person) -> list[bytes]:
    """What is seen from inside by each of these, who are all logged out."""
    return [person.ssh(WHICH).stdout.strip() for person in people]


def test_canary_promotion_and_rollback_are_seen_from_inside(home: House, tag: Tag) -> None:
    alice, bob = home.add("alice"), home.add("bob")
    with home.store() as store:
        ids = [store.user(person.name).id for person in (alice, bob)]
    few = min(map(bucket, ids)) + 1
    first, other = (alice, bob) if bucket(ids[0]) < few else (bob, alice)
    name = f"gpu-gateway-test/{secrets.token_hex(4)}"
    old, new = f"{name}:1", f"{name}:2"
    tag(old, 1)
    home.admin("image", "add", old)
    home.admin("image", "pin", "--default", name)
    assert runs(first, other) == [b"1", b"1"]
    tag(new, 2)
    assert "is a candidate" in home.admin("image", "add", new).stdout
    assert runs(first, other) == [b"1", b"1"]

    home.admin("image", "promote", new, "--canary", f"{few}%", "--reason", "a trial")
    assert runs(first, other) == [b"2", b"1"]
    home.admin("image", "rollback", name)
    assert runs(first, other) == [b"1", b"1"]

    home.admin("group", "add", "vision")
    home.admin("group", "join", "vision", other.name)
    home.admin("image", "promote", new, "--group", "vision")
    assert runs(first, other) == [b"1", b"2"]
    with first.start("echo here; cat") as working:
        assert working.stdout is not None
        assert working.stdin is not None
        assert working.stdout.readline() == b"here\n"
        home.admin("image", "promote", new)
        # She works: her container keeps its version, and says so.
        with Terminal(["ssh", "-F", first.config, "-tt", "gw"], columns=200) as terminal:
            terminal.wait_for(f"{first.name} on {old}\r\n", 60)
            terminal.wait_for(f"A newer version is ready, {new}: it applies at the next start", 60)
        assert runs(first) == [b"1"]
        working.stdin.close()
        working.wait(60)
    home.admin("image", "pin", "--group", "vision", old)
    wait_for(lambda: runs(first) == [b"2"], "the version that was promoted")
    assert runs(first, other) == [b"2", b"1"]
    home.admin("image", "rollback", name)
    home.admin("image", "pin", "--group", "vision", "inherit")
    # Built again under a tag that people run: a digest is what they run.
    tag(old, 3)
    home.admin("image", "add", old)
    assert runs(first, other) == [b"1", b"1"]
    home.admin("image", "pin", "--default", home.image)
