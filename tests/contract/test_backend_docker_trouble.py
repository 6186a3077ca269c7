"""An engine that is away, silent, stopped or restarted, and a firewall that cannot be set."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.docker import firewall
from gateway.docker.backend import DockerBackend
from gateway.docker.firewall import Firewall
from gateway.docker.naming import resource_name
from gateway.errors import Code, PlatformError
from tests.contract.backend_contract import DEADLINE, GRACE, ignore, listening
from tests.support.docker_world import DockerWorld, docker
from tests.support.engine_proxy import EngineProxy
from tests.support.loop_watch import never_waits

CALLS: dict[str, Callable[[DockerWorld], Awaitable[object]]] = {
    "start": lambda world: world.backend.start(world.spec(), ignore),
    "inspect": lambda world: world.backend.inspect(1),
    "list": lambda world: world.backend.list(),
    "stop": lambda world: world.backend.stop(1, GRACE),
    "remove": lambda world: world.backend.remove(1),
    "remove_network": lambda world: world.backend.remove_network(1),
    "processes": lambda world: world.backend.processes(1),
    "facts": lambda world: world.backend.facts(),
}


@pytest.fixture(autouse=True)
def the_loop_is_free() -> Iterator[None]:
    """No call of the engine is made where the event loop runs."""
    with never_waits():
        yield


@pytest.fixture
async def proxy(docker_world: DockerWorld, tmp_path: Path) -> AsyncIterator[EngineProxy]:
    """The world's backend speaks to the engine through this."""
    made = EngineProxy(tmp_path / "engine.sock")
    await docker_world.backend.close()
    docker_world.backend = DockerBackend(docker_world.instance, docker_world.pool, made.address)
    yield made
    await made.cut()


@pytest.mark.parametrize("call", CALLS)
async def test_an_absent_engine_is_unavailable(
    docker_world: DockerWorld, proxy: EngineProxy, call: str
) -> None:
    with pytest.raises(PlatformError, match="does not answer; ask your operator") as caught:
        await asyncio.wait_for(CALLS[call](docker_world), 5)
    assert caught.value.code is Code.UNAVAILABLE


async def test_a_silent_engine_is_unavailable_within_ten_seconds(
    docker_world: DockerWorld, proxy: EngineProxy
) -> None:
    """All calls five times at once."""
    await proxy.hush()
    calls = [asyncio.ensure_future(call(docker_world)) for call in CALLS.values() for _ in range(5)]
    _, late = await asyncio.wait(calls, timeout=12)
    assert not late
    for call in calls:
        error = call.exception()
        assert isinstance(error, PlatformError)
        assert error.code is Code.UNAVAILABLE


async def test_an_engine_that_falls_silent_later_is_unavailable(
    docker_world: DockerWorld, proxy: EngineProxy
) -> None:
    await proxy.open()
    await docker_world.backend.start(docker_world.spec(), ignore)
    await proxy.cut()
    with pytest.raises(PlatformError) as caught:
        await docker_world.backend.inspect(1)
    assert caught.value.code is Code.UNAVAILABLE
    await proxy.hush()
    with pytest.raises(PlatformError) as caught:
        await asyncio.wait_for(docker_world.backend.inspect(1), 12)
    assert caught.value.code is Code.UNAVAILABLE
    await proxy.cut()
    await proxy.open()
    found = await docker_world.backend.inspect(1)
    assert found is not None
    assert found.running


async def test_an_end_while_the_engine_was_away_is_told_when_it_is_back(
    docker_world: DockerWorld, proxy: EngineProxy
) -> None:
    await proxy.open()
    for number in (1, 2, 3):
        await docker_world.backend.start(docker_world.spec(number), ignore)
    async with listening(docker_world.backend) as ends:
        await docker_world.end(1)
        assert (await asyncio.wait_for(ends.get(), DEADLINE)).workspace_id == 1
        await proxy.cut()
        await docker_world.end(2)
        await proxy.open()
        assert (await asyncio.wait_for(ends.get(), DEADLINE)).workspace_id == 2
        await docker_world.end(3)
        assert (await asyncio.wait_for(ends.get(), DEADLINE)).workspace_id == 3
        assert ends.empty()
    async with asyncio.timeout(5):
        while any(thread.name == "container-ends" for thread in threading.enumerate()):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("restarted", [True, False], ids=["restarted", "kept"])
async def test_an_engine_of_another_version_is_spoken_to_in_it(
    docker_world: DockerWorld, proxy: EngineProxy, restarted: bool
) -> None:
    """Upgraded past what was agreed, and back; its containers ended with it, or `live-restore` kept them."""
    await proxy.open()
    made = await docker_world.backend.start(docker_world.spec(), ignore)
    async with listening(docker_world.backend) as ends:
        for version in ("1.53", "1.41"):
            await proxy.cut()
            if restarted:
                await docker_world.end(1)
                await asyncio.to_thread(docker, "wait", resource_name(docker_world.instance, 1))
            proxy.become(version)
            await proxy.open()
            assert (await docker_world.backend.facts()).api == tuple(map(int, version.split(".")))
            again = await docker_world.backend.start(docker_world.spec(), ignore)
            assert (again.container_id == made.container_id) is not restarted
            made = again
            if restarted:
                assert (await asyncio.wait_for(ends.get(), DEADLINE)).workspace_id == 1
        await docker_world.backend.stop(1, GRACE)
        assert (await asyncio.wait_for(ends.get(), DEADLINE)).workspace_id == 1
        assert ends.empty()


async def test_listens_before_there_is_an_engine(docker_world: DockerWorld, proxy: EngineProxy) -> None:
    async with listening(docker_world.backend) as ends:
        with pytest.raises(PlatformError):
            await docker_world.backend.inspect(1)
        await proxy.open()
        await docker_world.backend.start(docker_world.spec(), ignore)
        await docker_world.backend.stop(1, GRACE)
        assert (await asyncio.wait_for(ends.get(), DEADLINE)).workspace_id == 1


async def test_nothing_starts_where_the_firewall_cannot_be_set(
    docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(
            PlatformError, match="firewall that keeps workspaces apart cannot be set"
        ) as caught:
            await docker_world.backend.start(docker_world.spec(), ignore)
    assert caught.value.code is Code.UNAVAILABLE
    assert await docker_world.backend.inspect(1) is None


def test_rules_that_are_there_are_left_alone(
    docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    Firewall(docker_world.instance, docker_world.pool).ensure()

    def refuse(tool: str, text: str) -> None:
        raise AssertionError(f"{tool} would write {text}")

    monkeypatch.setattr(firewall, "_restore", refuse)
    Firewall(docker_world.instance, docker_world.pool).ensure()
    with pytest.raises(AssertionError, match="would write"):
        Firewall(docker_world.instance, "10.99.0.0/16").ensure()
