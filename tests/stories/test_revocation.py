"""Who may come in is decided now, not at her last login.

VULNERABILITY: sshd lets a session live on after its key or account is gone. HERE: it ends within 5 s, the
person reads why, and nobody can tell from outside who exists.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.house import House, Person, wait_for

_WITHIN = 5.0


@pytest.fixture
def bob(home: House) -> Person:
    """A user whom a test may disable."""
    names = {user["name"] for user in home.listed("user", "list")}
    return home.add(next(name for name in (f"bob{number}" for number in range(99)) if name not in names))


def _open(person: Person) -> subprocess.Popen[bytes]:
    session = person.start("echo in; sleep 1000")
    assert session.stdout is not None
    assert session.stdout.readline() == b"in\n"
    return session


@pytest.mark.parametrize("what", ["disable", "remove-key", "remove-user"])
def test_a_live_session_ends_within_five_seconds_and_says_why(home: House, bob: Person, what: str) -> None:
    """Disabled, key removed, user removed."""
    with _open(bob) as session:
        key = home.listed("key", "list", bob.name)[0]["fingerprint"]
        words = {
            "disable": ["user", "disable", bob.name],
            "remove-key": ["key", "remove", key],
            "remove-user": ["user", "remove", bob.name],
        }[what]
        begun = time.monotonic()
        home.admin(*words)
        _, stderr = session.communicate(timeout=20)
        assert time.monotonic() - begun < _WITHIN
        assert session.returncode == 255
        assert b"gpu-gateway: " in stderr
        assert any(word in stderr for word in (b"disabled", b"removed"))
    assert b"Permission denied" in bob.ssh("true").stderr


def _limit(home: House, person: Person, options: str) -> None:
    before = len(home.events())
    home.admin("key", "add", person.name, "-", stdin=f"{options} {person.public_key.read_text()}")
    wait_for(lambda: home.heard_of(person.name, before), "the key's options in the gateway")


def test_a_key_is_good_from_its_addresses_and_its_session_ends_when_it_expires(
    home: House, bob: Person
) -> None:
    """`from=` and `expiry-time=`, as in authorized_keys; and unlike sshd, an open session ends as well."""
    _limit(home, bob, 'from="192.0.2.0/24"')
    refused = bob.ssh("true")
    assert (refused.returncode, refused.stdout) == (255, b"")
    assert b"Permission denied" in refused.stderr
    _limit(home, bob, 'from="192.0.2.0/24,127.0.0.*"')
    assert bob.ssh("echo in").stdout == b"in\n"
    with _open(bob) as session:
        end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
        _limit(home, bob, f'expiry-time="{end:%Y%m%d%H%M%S}Z"')
        _, stderr = session.communicate(timeout=30)
        assert datetime.now(UTC) >= end
        assert b"gpu-gateway: The key that you logged in with has expired" in stderr
    assert b"Permission denied" in bob.ssh("true").stderr


def test_a_disabled_user_comes_back_when_enabled(home: House, bob: Person) -> None:
    """Enable undoes disable, with her files."""
    bob.ssh("echo kept > mine")
    for word, status in (("disable", 255), ("enable", 0)):
        before = len(home.events())
        home.admin("user", word, bob.name)
        while not home.heard_of(bob.name, before):
            time.sleep(0.01)
        assert bob.ssh("cat mine").returncode == status


def test_a_removed_users_name_used_again_inherits_nothing(home: House, bob: Person) -> None:
    """A new id: another uid, an empty home; the old files are kept for their retention."""
    bob.ssh("echo secret > mine")
    old = home.listed("user", "list")
    home.admin("user", "remove", bob.name)
    again = home.add(bob.name)
    assert again.ssh("cat mine").returncode != 0
    before = next(user for user in old if user["name"] == bob.name)
    after = next(user for user in home.listed("user", "list") if user["name"] == bob.name)
    assert after["uid"] != before["uid"]
    kept = home.state / "workspaces" / str(before["id"]) / "home" / "mine"
    assert kept.read_text() == "secret\n"


def test_strangers_cannot_tell_who_exists(home: House, bob: Person) -> None:
    """Unknown, disabled, wrong key: the same words, and times that do not tell them apart."""
    disabled = home.add(f"off-{bob.name}")
    home.admin("user", "disable", disabled.name)
    mallory = home.person(bob.name)
    unknown = home.person("nobody-here")

    def attempt(person: Person) -> tuple[float, bytes, bytes]:
        begun = time.monotonic()
        ended = person.ssh("true")
        return time.monotonic() - begun, ended.stdout, ended.stderr.replace(person.name.encode(), b"NAME")

    seen: dict[str, list[tuple[float, bytes, bytes]]] = {"mallory": [], "disabled": [], "unknown": []}
    for _ in range(15):
        for name, person in (("mallory", mallory), ("disabled", disabled), ("unknown", unknown)):
            seen[name].append(attempt(person))
    assert len({answers[1:] for attempts in seen.values() for answers in attempts}) == 1
    times = [[answer[0] for answer in attempts] for attempts in seen.values()]
    middles = [statistics.median(each) for each in times]
    # The noise of each alone: that of all together would grow with the difference that is looked for.
    spread = max(statistics.stdev(each) for each in times)
    assert max(middles) - min(middles) < 3 * spread + 0.005


def test_one_key_opens_one_account(home: House, bob: Person, new_house: Callable[[], House]) -> None:
    """A key of two people would make two people one; the second is refused in one sentence."""
    refused = home.admin("user", "add", "carol", "--key", str(bob.public_key), status=1)
    assert refused.stderr.startswith("gpuadmin: ")
    assert refused.stderr.count("\n") == 1
    assert "carol" not in {user["name"] for user in home.listed("user", "list")}


def test_an_operator_ends_a_session_by_either_id(home: House, bob: Person) -> None:
    """`session kill` takes a connection's id or a session's; the other sessions of the connection live."""
    for which in ("session", "connection"):
        with _open(bob) as session:
            row = wait_for(lambda: _shown(home, bob), "the session in the list")
            home.admin("session", "kill", row["sessions"][0]["id"] if which == "session" else row["id"])
            _, stderr = session.communicate(timeout=10)
            assert session.returncode == 255
            assert b"An operator ended this session." in stderr
    home.admin("session", "kill", "no-such-id", status=1)


def _shown(home: House, person: Person) -> dict[str, Any] | None:
    rows = home.listed("session", "list")
    return next((row for row in rows if row["user"] == person.name and row["sessions"]), None)
