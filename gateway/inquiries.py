"""The questions of `gpu` that workers have brought and that are being answered.

Owns whose they are, by the ticket, and that each ends with its session. Must not know what is asked, nor
sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from gateway.connections import Connection, Connections, Peer
from gateway.errors import Code, PlatformError
from gateway.messages import MessageError
from gateway.questions import Answered, Ask, Said, Say, pieces
from gateway.verbs import Failed

AnswerUser = Callable[[int, Sequence[str], Say], Awaitable[int]]


class Inquiries:
    """Has `answer(user_id, words, say)` answer, a task each in `tasks`."""

    def __init__(self, connections: Connections, answer: AnswerUser, tasks: asyncio.TaskGroup) -> None:
        self._connections = connections
        self._answer = answer
        self._tasks = tasks
        self._asked: dict[tuple[str, str], asyncio.Task[None]] = {}

    def ask(self, worker: Peer, message: Ask) -> None:
        """Answer a worker's question. Raises MessageError for a second one of the same session."""
        try:
            connection = self._connections.holder(worker, message.ticket)
            if message.channel not in connection.channels:
                raise PlatformError(Code.DENIED, "Permission denied.")
        except PlatformError as error:
            worker.send(Failed(message.request, error.code.value, error.message))
            return
        key = connection.id, message.channel
        if key in self._asked:
            raise MessageError("a session asks once")
        task = self._tasks.create_task(self._serve(worker, connection.user_id, message))
        self._asked[key] = task
        task.add_done_callback(lambda _: self._asked.pop(key))

    def withdraw(self, connection: Connection, channel: str | None = None) -> None:
        """A session has ended, or with None its whole connection: nobody waits for the answer any more."""
        for (id_, own), task in list(self._asked.items()):
            if id_ == connection.id and channel in (None, own):
                task.cancel()

    def asking(self, connection: Connection) -> set[str]:
        """The sessions of a connection that are nothing but a question: they are not in the container."""
        return {channel for id_, channel in self._asked if id_ == connection.id}

    async def _serve(self, worker: Peer, user_id: int, message: Ask) -> None:
        def say(text: str, error: bool) -> None:
            for piece in pieces(text):
                worker.send(Said(message.request, piece, error))

        status = await self._answer(user_id, message.words, say)
        worker.send(Answered(message.request, status))
