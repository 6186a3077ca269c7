"""Whole gateways for the stories."""

from __future__ import annotations

import itertools
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.house import House, Person

# Far from the product's default pool; each gateway of a run gets a /20 of its own.
_POOLS = itertools.count(secrets.randbelow(128))


def a_pool() -> str:
    """The addresses of one gateway."""
    number = next(_POOLS) % 256
    return f"10.{224 + number // 16}.{number % 16 * 16}.0/20"


def a_house(image: str, environment: dict[str, str] | None = None, settings: str = "") -> House:
    """A gateway that is not started yet."""
    folder = Path(tempfile.mkdtemp(prefix="house-"))
    own = {} if environment is None else {"environment": environment}
    return House(folder, image, a_pool(), settings=settings, **own)


def ended(house: House) -> None:
    """Remove a gateway and all that it made."""
    try:
        house.close()
    finally:
        shutil.rmtree(house.folder)


@pytest.fixture(scope="module")
def home(base_image: str) -> Iterator[House]:
    """One running gateway for the tests of a module that do not disturb it."""
    house = a_house(base_image)
    try:
        house.start()
        yield house
    finally:
        ended(house)


@pytest.fixture(scope="module")
def alice(home: House) -> Person:
    """A user of `home`."""
    return home.add("alice")


@pytest.fixture
def new_house(base_image: str) -> Iterator[Callable[[], House]]:
    """Makes started gateways that a test may do anything to."""
    houses: list[House] = []

    def make(environment: dict[str, str] | None = None) -> House:
        houses.append(a_house(base_image, environment))
        houses[-1].start()
        return houses[-1]

    yield make
    for house in houses:
        ended(house)
