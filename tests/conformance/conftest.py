"""Both servers, live, and every case played against both at once, a few cases at a time."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.conformance.case import Case, Side
from tests.stories.conftest import a_house, ended
from tests.support.house import House
from tests.support.oracle import Oracle

AT_ONCE = 4

Answers = Callable[[Case], tuple[str, str]]


_PACK = r"""
tar -chf - -C /usr/sbin sshd $(ldd /usr/sbin/sshd | sed -n 's,.*=> \(.*\)/\([^/]*\) (.*,-C \1 \2,p')
"""


@pytest.fixture(scope="session")
def oracle_side(oracle_image: str) -> Iterator[Side]:
    """OpenSSH's sshd. Without it nothing here passes."""
    # Without it sshd gives up on X11 where a container has no ::1.
    with closing(Oracle(oracle_image, config="AddressFamily inet\n")) as oracle:
        folder = oracle.folder
        with (folder / "sshd.tar").open("wb") as packed:
            subprocess.run(["docker", "exec", oracle.name, "sh", "-c", _PACK], stdout=packed, check=True)
        yield side_of_sshd(oracle)


@pytest.fixture(scope="session")
def our_side(base_image: str, oracle_side: Side) -> Iterator[Side]:
    """A gateway whose user's container runs."""
    house = a_house(base_image)
    try:
        yield side_of_a_gateway(house, oracle_side.sshd)
    finally:
        ended(house)


@pytest.fixture(scope="session")
def answers(request: pytest.FixtureRequest, oracle_side: Side, our_side: Side) -> Iterator[Answers]:
    """What the oracle and the gateway answer to a case. All cases of this run are under way at once."""
    with at_once(wanted(request, "answers"), (oracle_side, our_side)) as both:
        yield both


def side_of_sshd(oracle: Oracle) -> Side:
    """The oracle's user and her ssh, with sshd itself where somebody put it; it starts nothing for her."""
    folder = oracle.folder
    keys = (folder / "id", folder / "known_hosts")
    side = Side(
        "sshd", oracle.config, oracle.address, 22, *keys, folder / "sshd.tar", lambda: None, oracle.restart
    )
    side.prepare()
    return side


def side_of_a_gateway(house: House, sshd: Path) -> Side:
    """Starts the gateway, with a user whose container runs."""
    house.start()
    alice = house.add("alice")
    assert alice.ssh("true").returncode == 0

    def restart() -> None:
        house.stop()
        house.start()

    def cool() -> None:
        house.admin("workspace", "stop", "alice")

    keys = (alice.folder / "id", alice.folder / "known_hosts")
    side = Side("gateway", alice.config, "127.0.0.1", house.port, *keys, sshd, cool, restart)
    side.prepare()
    return side


def wanted(request: pytest.FixtureRequest, fixture: str) -> list[Case]:
    """The cases of this run whose answers come from that fixture."""
    return [
        item.callspec.params["case"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and fixture in item.fixturenames and hasattr(item, "callspec")
    ]


@contextmanager
def at_once(wanted: Sequence[Case], sides: tuple[Side, Side]) -> Iterator[Answers]:
    """Plays all of these cases against both sides, a few at a time: what came of each."""
    with ThreadPoolExecutor(AT_ONCE * len(sides)) as pool:
        under_way: dict[str, list[Future[str]]] = {
            case.name: [pool.submit(side.answer, case) for side in sides] for case in wanted if not case.alone
        }

        def both(case: Case) -> tuple[str, str]:
            if case.alone:
                wait(future for futures in under_way.values() for future in futures)
                under_way[case.name] = [pool.submit(side.answer, case) for side in sides]
            theirs, ours = (each.result() for each in under_way[case.name])
            return theirs, ours

        yield both
        for each in under_way.values():
            for future in each:
                future.cancel()
