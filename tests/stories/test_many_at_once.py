"""Twenty people, and one person twenty times, in the same instant."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

from tests.support.house import House, Person


def _all_at_once(people: Sequence[Person], command: str) -> list[bytes]:
    clients: list[subprocess.Popen[bytes]] = [person.start(command) for person in people]
    answers = [client.communicate(timeout=120) for client in clients]
    refused = [
        (client.returncode, answer)
        for client, answer in zip(clients, answers, strict=True)
        if client.returncode
    ]
    assert refused == []
    return [stdout for stdout, _ in answers]


def test_one_person_twenty_times_at_a_stopped_container(new_house: Callable[[], House]) -> None:
    """One container, started once, and nobody is refused."""
    house = new_house()
    alice = house.add("alice")
    answers = _all_at_once([alice] * 20, "ls -id /proc/1/ns/pid")
    assert len(set(answers)) == 1
    assert len([event for event in house.events() if event["event"] == "container_started"]) == 1


def test_twenty_people_at_stopped_containers(new_house: Callable[[], House]) -> None:
    """Each her own container, network and uid."""
    house = new_house()
    people = [house.add(f"user{number}") for number in range(20)]
    answers = _all_at_once(people, "id -u; hostname -I; ls -id /proc/1/ns/pid")
    for line in range(3):
        assert len({answer.splitlines()[line] for answer in answers}) == 20
    started = [event["user"] for event in house.events() if event["event"] == "container_started"]
    assert len(started) == len(set(started)) == 20


def test_a_cold_start_shows_progress_on_stderr_alone(new_house: Callable[[], House]) -> None:
    """After authentication, and not a byte on stdout."""
    house = new_house()
    alice = house.add("alice")
    cold, warm = alice.ssh("echo out"), alice.ssh("echo out")
    assert (cold.stdout, warm.stdout) == (b"out\n", b"out\n")
    assert b"gpu-gateway: starting your container\n" in cold.stderr
    assert warm.stderr == b""


def test_nothing_is_started_for_somebody_who_is_not_let_in(new_house: Callable[[], House]) -> None:
    """A start that her attempt had begun would be done by the end of the one that follows it."""
    house = new_house()
    alice, _, stranger = house.add("alice"), house.add("bob"), house.person("bob")
    assert stranger.ssh("true").returncode == 255
    assert alice.ssh("true").returncode == 0
    assert len(house.containers()) == 1
    assert [event["user"] for event in house.events() if event["event"] == "container_started"] == [1]
