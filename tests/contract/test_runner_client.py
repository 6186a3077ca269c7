"""A worker and a hostile runner: nothing that it says or leaves unsaid harms the worker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from gateway.errors import Code, PlatformError
from gateway.runner import client as client_module
from gateway.runner import codec, packets, protocol
from gateway.runner.client import MOST_IN_FLIGHT
from gateway.sessions import Exit, Window
from tests.support.hostile import Hostile, hostile_runner
from tests.support.runner_places import DEADLINE, exec_, pty, until


@pytest.fixture
async def hostile() -> AsyncIterator[Hostile]:
    async with hostile_runner() as made:
        yield made


async def begin(hostile: Hostile) -> tuple[asyncio.Task[object], protocol.Start]:
    """A start that waits for its answer."""
    task: asyncio.Task[object] = asyncio.create_task(hostile.client.start(exec_("true")))  # type: ignore[arg-type]
    message = await hostile.hear()
    assert isinstance(message, protocol.Start)
    return task, message


@pytest.mark.parametrize(
    "words",
    [
        b"garbage",
        b"\0\0\0\x02{}",
        b"x" * 100_000,
        codec.encode(protocol.Exited(1, 0, None, False)),
        codec.encode(protocol.Taken(1)),
        codec.encode(protocol.Dialed(1)),
        codec.encode(protocol.Started(2, 7)),
        codec.encode(protocol.Data(1, 1, b"x")),
        codec.encode(protocol.Close(1)),
        codec.encode(protocol.Hello(1, ())),
    ],
)
async def test_what_nobody_asked_for_ends_the_conversation(hostile: Hostile, words: bytes) -> None:
    task, _ = await begin(hostile)
    hostile.say(words)
    with pytest.raises(PlatformError) as lost:
        await asyncio.wait_for(task, DEADLINE)
    assert lost.value.code is Code.UNAVAILABLE
    assert "runner" in await asyncio.wait_for(hostile.client.closed(), DEADLINE)


async def test_a_second_exit_ends_the_conversation(hostile: Hostile) -> None:
    task, start = await begin(hostile)
    exited = protocol.Exited(start.id, 3, None, False)
    hostile.say(protocol.Started(start.id, 7), exited)
    execution = await asyncio.wait_for(task, DEADLINE)
    assert await execution.wait() == Exit(status=3)  # type: ignore[attr-defined]
    hostile.say(exited)
    await asyncio.wait_for(hostile.client.closed(), DEADLINE)
    execution.close()  # type: ignore[attr-defined]


async def test_descriptors_from_a_runner_are_dropped_by_the_kernel(hostile: Hostile) -> None:
    task, start = await begin(hostile)
    before = len(os.listdir("/proc/self/fd"))
    packets.send(hostile.sock, codec.encode(protocol.Started(start.id, 7)), [hostile.sock.fileno()] * 50)
    execution = await asyncio.wait_for(task, DEADLINE)
    assert len(os.listdir("/proc/self/fd")) == before
    execution.close()  # type: ignore[attr-defined]


async def test_a_flood_leaves_the_loop_to_others(hostile: Hostile) -> None:
    """A flood of proper answers is taken a few at a time."""
    tasks = [asyncio.create_task(hostile.client.dial_tcp("localhost", 1)) for _ in range(MOST_IN_FLIGHT)]
    asked = [await hostile.hear() for _ in tasks]
    turns = 0
    at: list[int] = []
    received = hostile.client._received
    hostile.client._channel._received = lambda message: (at.append(turns), received(message))  # type: ignore

    def turn() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(turn)

    turn()
    for message in asked:
        assert isinstance(message, protocol.Dial)
        hostile.say(protocol.Taken(message.id), protocol.Refused(message.id, "denied"))
    for task in tasks:
        with pytest.raises(PlatformError) as refused:
            await asyncio.wait_for(task, DEADLINE)
        assert refused.value.code is Code.DENIED
    assert max(at.count(number) for number in at) <= MOST_IN_FLIGHT


async def test_descriptors_in_flight_are_capped(hostile: Hostile) -> None:
    tasks = [asyncio.create_task(hostile.client.start(exec_("true"))) for _ in range(50)]
    await until(lambda: len(hostile.client._in_flight) == MOST_IN_FLIGHT, "as many as the cap are sent")
    assert hostile.unread() == MOST_IN_FLIGHT
    hostile.say(protocol.Started(1, 7))
    assert isinstance(await hostile.hear(), protocol.Start)
    assert hostile.unread() == 0
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(result, BaseException):
            result.close()


async def test_a_dial_that_takes_long_holds_up_no_start(hostile: Hostile) -> None:
    dials = [asyncio.create_task(hostile.client.dial_tcp("192.0.2.1", 1)) for _ in range(MOST_IN_FLIGHT)]
    for _ in dials:
        message = await hostile.hear()
        assert isinstance(message, protocol.Dial)
        hostile.say(protocol.Taken(message.id))
    task, start = await begin(hostile)
    hostile.say(protocol.Failed(start.id, "ENOENT", "/bin/none\x1b: no"))
    with pytest.raises(PlatformError) as failed:
        await asyncio.wait_for(task, DEADLINE)
    assert failed.value.code is Code.NOT_FOUND
    assert "\x1b" not in failed.value.message
    for dial in dials:
        dial.cancel()
    await asyncio.gather(*dials, return_exceptions=True)


async def test_a_runner_that_does_not_answer_is_given_up(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.05)
    with pytest.raises(PlatformError):
        await asyncio.wait_for(hostile.client.start(pty("true")), DEADLINE)
    assert "does not answer" in await hostile.client.closed()


async def test_a_runner_that_never_reads_is_given_up_before_memory_grows(hostile: Hostile) -> None:
    task, start = await begin(hostile)
    hostile.say(protocol.Started(start.id, 7))
    execution = await asyncio.wait_for(task, DEADLINE)
    for width in range(20_000):
        execution.resize(Window(width % 65535, 1))  # type: ignore[attr-defined]
    assert "does not read" in await asyncio.wait_for(hostile.client.closed(), DEADLINE)
    with pytest.raises(PlatformError):
        await execution.wait()  # type: ignore[attr-defined]
    execution.close()  # type: ignore[attr-defined]


async def test_a_cancelled_start_is_closed_when_it_comes_after_all(hostile: Hostile) -> None:
    task, start = await begin(hostile)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    hostile.say(protocol.Started(start.id, 7))
    assert await hostile.hear() == protocol.Close(start.id)
    hostile.say(protocol.Exited(start.id, None, "HUP", False))
    again, start = await begin(hostile)
    hostile.say(protocol.Started(start.id, 8))
    (await asyncio.wait_for(again, DEADLINE)).close()  # type: ignore[attr-defined]


async def test_a_closed_client_says_so(hostile: Hostile) -> None:
    task, _ = await begin(hostile)
    hostile.client.close()
    hostile.client.close()
    with pytest.raises(PlatformError):
        await asyncio.wait_for(task, DEADLINE)
    for ask in (hostile.client.start(exec_("true")), hostile.client.dial_unix("/x")):
        with pytest.raises(PlatformError) as gone:
            await ask
        assert gone.value.code is Code.UNAVAILABLE
