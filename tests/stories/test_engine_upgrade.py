"""The engine is upgraded while the gateway runs, and taken back again; nobody restarts the gateway."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stories.conftest import a_house, ended
from tests.support.engine_proxy import SPOKEN, EngineProxy
from tests.support.house import House


class Engine:
    """The machine's engine, behind an address at which it can be another version of itself."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._proxy = EngineProxy(folder / "engine.sock")
        self.address = self._proxy.address
        self._do(self._proxy.open())

    def upgrade(self, version: str) -> None:
        """Stop it, and start one that speaks another version of the API; containers run on."""
        self._do(self._proxy.cut())
        self._proxy.become(version)
        self._do(self._proxy.open())

    def close(self) -> None:
        """Stop it."""
        self._do(self._proxy.cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Speaks its own version."""
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    made = Engine(folder)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


@pytest.fixture
def house(engine: Engine, base_image: str) -> Iterator[House]:
    """A running gateway on that engine."""
    made = a_house(base_image, {**os.environ, "DOCKER_HOST": engine.address})
    try:
        made.start()
        yield made
    finally:
        engine.upgrade(SPOKEN)
        ended(made)


def test_an_engine_that_is_upgraded_under_us(engine: Engine, house: House) -> None:
    """Who is in stays in, who comes gets in, by the versions that either engine speaks."""
    alice, bob = house.add("alice"), house.add("bob")
    process = house.process
    with alice.start("echo kept > mine; echo in; cat") as session:
        assert session.stdin is not None
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        engine.upgrade("1.53")
        assert bob.ssh("echo in").stdout == b"in\n"
        assert alice.ssh("cat mine").stdout == b"kept\n"
        session.stdin.write(b"still\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"still\n"
        house.admin("workspace", "stop", "alice")
        assert session.wait(30) == 255
    engine.upgrade(SPOKEN)
    assert alice.ssh("cat mine").stdout == b"kept\n"
    assert len(house.containers()) == 2
    assert house.process is process
    assert process is not None
    assert process.poll() is None
