"""Many people and many connections: more than a machine could start OpenSSH clients for.

Owns the clients, which are asyncssh's, many in this process. Must not assert anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncssh

from tests.support.house import House, Person, wait_for

AT_ONCE = 20
"""Logins that are under way together."""


def enrol(house: House, names: Iterable[str]) -> list[Person]:
    """Users with keys, added by one file of people, whom a running gateway has heard of."""
    people = [house.person(name) for name in names]
    table = house.folder / "people.csv"
    rows = [f"{person.name},{person.public_key.read_text().strip()}\n" for person in people]
    table.write_text("".join(["name,key\n", *rows]))
    before = len(house.events())
    house.admin("user", "add", "--from", str(table))
    if house.process is not None:
        wait_for(lambda: all(house.heard_of(person.name, before) for person in people), "the people")
    house.people |= {person.name: person for person in people}
    return people


async def log_in(host: str, port: int, user: str, key: Path) -> asyncssh.SSHClientConnection:
    """One connection, with nothing open on it."""
    return await asyncssh.connect(
        host, port, username=user, client_keys=[str(key)], known_hosts=None, config=None, agent_path=None
    )


async def enter(person: Person) -> asyncssh.SSHClientConnection:
    """One connection of a person to her gateway."""
    return await log_in("127.0.0.1", person.house.port, person.name, person.folder / "id")


@asynccontextmanager
async def connected(people: Sequence[Person]) -> AsyncIterator[list[asyncssh.SSHClientConnection]]:
    """A connection for each entry of `people`, closed afterwards."""
    connections: list[asyncssh.SSHClientConnection] = []
    try:
        for start in range(0, len(people), AT_ONCE):
            connections += await asyncio.gather(*map(enter, people[start : start + AT_ONCE]))
        yield connections
    finally:
        await leave(connections)


async def leave(connections: Sequence[asyncssh.SSHClientConnection]) -> None:
    """Close connections and wait until they are."""
    for connection in connections:
        connection.close()
    for connection in connections:
        await connection.wait_closed()


async def run_many(connections: Sequence[asyncssh.SSHClientConnection], sessions: int) -> None:
    """That many sessions of `true`, divided among the connections, which all work at once.

    Every tenth has a terminal, and every tenth comes with a forward that nobody answers.
    """

    async def some(connection: asyncssh.SSHClientConnection) -> None:
        for number in range(sessions // len(connections)):
            await connection.run("true", check=True, term_type="xterm" if number % 10 == 0 else None)
            if number % 10 == 5:
                with suppress(asyncssh.ChannelOpenError):
                    await connection.open_connection("127.0.0.1", 1)

    await asyncio.gather(*map(some, connections))


async def log_in_often(people: Sequence[Person], logins: int) -> None:
    """That many connections with one session each, one after the other for each entry of `people`."""

    async def some(person: Person) -> None:
        for _ in range(logins // len(people)):
            async with await enter(person) as connection:
                await connection.run("true", check=True)

    await asyncio.gather(*map(some, people))
