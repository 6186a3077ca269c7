"""Whole gateways for the stories."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from gateway.networks import parse_routes
from tests.conftest import GpuEngine
from tests.support.house import House, Person, wait_for

# Far from the product's default pool.
_SPACE = IPv4Network("10.128.0.0/10")


def a_pool() -> str:
    """The addresses of one gateway: a /20 that nobody on this machine uses, no other run either."""
    shown = subprocess.run(["ip", "-j", "-4", "route"], capture_output=True, text=True, check=True)
    used = [route.network for route in parse_routes(shown.stdout)]
    while True:
        first = int(_SPACE.network_address) + (secrets.randbelow(_SPACE.num_addresses >> 12) << 12)
        pool = IPv4Network((first, 20))
        if not any(pool.overlaps(network) for network in used):
            return str(pool)


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


@contextmanager
def a_lab(image: str, engine: GpuEngine) -> Iterator[House]:
    """A running gateway on the engine with stand-in GPUs, which knows all four of them."""
    house = a_house(image, engine.environment)
    try:
        house.start()
        wait_for(lambda: len(house.listed("gpu", "list")) == 4, "the inventory")
        yield house
    finally:
        ended(house)


@pytest.fixture
def lab(base_image: str, gpu_engine: GpuEngine) -> Iterator[House]:
    """A gateway with four GPUs for one test, which may do anything to it."""
    with a_lab(base_image, gpu_engine) as house:
        yield house


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
    """A user of `home` whose container runs, so that no test is told of its start."""
    alice = home.add("alice")
    assert alice.ssh("true").returncode == 0
    return alice


@pytest.fixture(scope="module")
def figure(request: pytest.FixtureRequest) -> Iterator[Callable[[str], None]]:
    """Keeps a line, to be told when the tests of a module that measure something have ended."""
    lines: list[str] = []
    yield lines.append
    plugins = request.config.pluginmanager
    with plugins.get_plugin("capturemanager").global_and_fixture_disabled():
        for line in ["", f"on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}:", *lines]:
            plugins.get_plugin("terminalreporter").write_line(line)


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
