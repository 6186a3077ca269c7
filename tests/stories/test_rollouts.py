"""A new version of an image is tried by some, given to all and taken back, as it is seen from inside."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from gateway.rollout import bucket
from tests.support.house import House, Person

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
    home.admin("image", "promote", new)
    home.admin("image", "pin", "--group", "vision", old)
    assert runs(first, other) == [b"2", b"1"]
    home.admin("image", "rollback", name)
    home.admin("image", "pin", "--group", "vision", "inherit")
    # Built again under a tag that people run: a digest is what they run.
    tag(old, 3)
    home.admin("image", "add", old)
    assert runs(first, other) == [b"1", b"1"]
    home.admin("image", "pin", "--default", home.image)
