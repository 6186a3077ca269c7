"""A worker and a hostile runner that listens: floods, unknown numbers and silence harm nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.errors import Code, PlatformError
from gateway.ports import Arrival
from gateway.runner import client as client_module
from gateway.runner import listening, protocol
from gateway.runner.client import MOST_IN_FLIGHT
from gateway.runner.listening import MOST_ARRIVED
from tests.support.hostile import Hostile, hostile_runner
from tests.support.runner_places import DEADLINE


@pytest.fixture
async def hostile() -> AsyncIterator[Hostile]:
    async with hostile_runner() as made:
        yield made


class Listened:
    """A listener that stands, with who came."""

    def __init__(self) -> None:
        self.came: list[Arrival] = []


async def begin(hostile: Hostile) -> tuple[Listened, asyncio.Task[object]]:
    """A listener that the runner granted as its first id."""
    listened = Listened()
    task: asyncio.Task[object] = asyncio.create_task(  # type: ignore[arg-type]
        hostile.client.listen_tcp("", 0, listened.came.append)
    )
    assert await hostile.hear() == listening.Listen(1, "", 0)
    hostile.say(listening.Listening(1, 4711, ""))
    await asyncio.wait_for(asyncio.shield(task), DEADLINE)
    return listened, task


@pytest.mark.parametrize(
    "word",
    [
        listening.Listening(1, 4711, ""),
        listening.Listening(2, 4711, ""),
        listening.Unlistened(1),
        listening.Arrived(2, 1, "", 0),
        protocol.Refused(1, "in_use"),
        protocol.Dialed(1),
        listening.Decline(1),
    ],
)
async def test_what_nobody_asked_for_ends_the_conversation(hostile: Hostile, word: protocol.Message) -> None:
    await begin(hostile)
    hostile.say(word)
    assert "runner" in await asyncio.wait_for(hostile.client.closed(), DEADLINE)


async def test_one_arrival_too_many_or_a_number_twice_ends_it(hostile: Hostile) -> None:
    listened, _ = await begin(hostile)
    hostile.say(*(listening.Arrived(1, n, "127.0.0.1", n) for n in range(1, MOST_ARRIVED + 1)))
    await hostile.until(lambda: len(listened.came) == MOST_ARRIVED)
    listened.came[0].decline()
    assert await hostile.hear() == listening.Decline(1)
    hostile.say(listening.Arrived(1, 1, "", 0))
    await hostile.until(lambda: len(listened.came) == MOST_ARRIVED + 1)
    hostile.say(listening.Arrived(1, 99, "", 0))
    assert "an arrival too many" in await asyncio.wait_for(hostile.client.closed(), DEADLINE)


async def test_a_number_that_waits_is_not_given_again(hostile: Hostile) -> None:
    await begin(hostile)
    hostile.say(listening.Arrived(1, 5, "", 0), listening.Arrived(1, 5, "", 0))
    assert "an arrival too many" in await asyncio.wait_for(hostile.client.closed(), DEADLINE)


async def test_what_arrives_after_the_end_is_declined(hostile: Hostile) -> None:
    listened, task = await begin(hostile)
    listener = task.result()
    closing = asyncio.create_task(listener.close())  # type: ignore[attr-defined]
    assert await hostile.hear() == listening.Unlisten(1)
    hostile.say(listening.Arrived(1, 8, "", 0))
    assert await hostile.hear() == listening.Decline(8)
    assert not closing.done()
    hostile.say(listening.Unlistened(1))
    await asyncio.wait_for(closing, DEADLINE)
    assert listened.came == []


async def test_what_arrives_with_the_answer_is_heard(hostile: Hostile) -> None:
    listened = Listened()
    task = asyncio.create_task(hostile.client.listen_unix("/x", listened.came.append))
    await hostile.hear()
    hostile.say(listening.Listening(1, 0, "/x"), listening.Arrived(1, 1, "", 0))
    await asyncio.wait_for(task, DEADLINE)
    await hostile.until(lambda: len(listened.came) == 1)


async def test_accepts_count_as_descriptors_in_flight(hostile: Hostile) -> None:
    listened, _ = await begin(hostile)
    hostile.say(*(listening.Arrived(1, n, "", 0) for n in range(1, MOST_ARRIVED + 1)))
    await hostile.until(lambda: len(listened.came) == MOST_ARRIVED)
    accepting = [asyncio.ensure_future(arrival.accept()) for arrival in listened.came]
    heard = [await hostile.hear() for _ in range(MOST_IN_FLIGHT)]
    assert {type(message) for message in heard} == {listening.Accept}
    assert hostile.unread() == 0
    hostile.say(protocol.Taken(heard[0].id))  # type: ignore[union-attr]
    assert isinstance(await hostile.hear(), listening.Accept)
    hostile.client.close()
    for result in await asyncio.gather(*accepting, return_exceptions=True):
        assert isinstance(result, PlatformError)


async def test_a_taken_arrival_that_is_refused_is_a_sentence(hostile: Hostile) -> None:
    listened, _ = await begin(hostile)
    hostile.say(listening.Arrived(1, 3, "", 0))
    await hostile.until(lambda: listened.came)
    accepting = asyncio.ensure_future(listened.came[0].accept())
    asked = await hostile.hear()
    assert asked == listening.Accept(2, 3)
    hostile.say(protocol.Taken(2), protocol.Refused(2, "connect_failed"))
    with pytest.raises(PlatformError) as gone:
        await asyncio.wait_for(accepting, DEADLINE)
    assert gone.value.code is Code.UNAVAILABLE


async def test_a_runner_that_never_ends_a_listener_is_given_up(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, task = await begin(hostile)
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.05)
    await asyncio.wait_for(task.result().close(), DEADLINE)  # type: ignore[attr-defined]
    assert "does not answer" in await asyncio.wait_for(hostile.client.closed(), DEADLINE)
