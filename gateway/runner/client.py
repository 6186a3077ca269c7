"""The worker's end of one SSH connection's runner socket: start programs, dial, listen, know how it ended.

Owns the ids, who waits for which answer, and the cap on descriptors in flight. Must not know SSH.
Everything a runner says is hostile input: an answer that nobody asked for ends the conversation.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

from gateway.errors import Code, PlatformError
from gateway.ports import Arrived, Listener, PipeSource
from gateway.runner import codec, listening
from gateway.runner.arrivals import Arrivals
from gateway.runner.asked import State, after
from gateway.runner.channel import Channel, PacketChannel
from gateway.runner.ends import Ends, clamped, fitting, pipe_ends, socket_ends
from gateway.runner.execution import Controls, Execution
from gateway.runner.listening import Accept, Decline, Listen, Listening, ListenPrivate, ListenUnix, Unlisten
from gateway.runner.packets import close_all
from gateway.runner.protocol import (
    Asked,
    Break,
    Close,
    Dial,
    DialUnix,
    Exited,
    Failed,
    Message,
    ProtocolError,
    Refused,
    Resize,
    Signal,
    Start,
)
from gateway.runner.refusals import failure, gone
from gateway.runner.streams import StreamChannel
from gateway.sessions import Exit, SessionRequest

MOST_IN_FLIGHT = 16
"""Messages with descriptors that the runner has not taken yet: they count against all workers' one uid."""

ANSWER_SECONDS = 60.0
"""A runner that leaves a descriptor lying for so long is given up; a paused container may take a while."""


class RunnerClient:
    """One SSH connection's way into the container, over a SEQPACKET socket or, slower, one byte stream.

    Owns `sock`. Needs the running loop; asyncio's and uvloop's will do.
    """

    def __init__(self, sock: socket.socket, pipes: PipeSource) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipes = pipes
        self._ids = count(1)
        self._states: dict[int, State] = {}
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._exits: dict[int, asyncio.Future[Exit]] = {}
        self._arrivals = Arrivals(
            lambda arrival: self._dial(Accept(next(self._ids), arrival)),
            lambda arrival: self._tell(Decline(arrival)),
        )
        self._queue: deque[tuple[Asked, bytes, tuple[int, ...]]] = deque()
        self._in_flight: dict[int, asyncio.TimerHandle] = {}
        self._end: asyncio.Future[str] = self._loop.create_future()
        kind = PacketChannel if sock.type == socket.SOCK_SEQPACKET else StreamChannel
        self._channel: Channel = kind(sock, self._received, self._lost)

    async def start(self, request: SessionRequest) -> Execution:
        """Start a program and return once it runs.

        Raises PlatformError: INVALID for a command or environment above the protocol's limits, NOT_FOUND for
        a shell or subsystem that the image does not have, NO_CAPACITY when the container has no process,
        memory or terminal left, UNAVAILABLE when the runner is gone.
        """
        ends = socket_ends() if request.pty is not None else await pipe_ends(self._pipes)
        message = Start.of(next(self._ids), fitting(request))
        exit = self._exits[message.id] = self._future()
        try:
            await self._ask(message, ends, State.STARTING)
        except BaseException:
            self._exits.pop(message.id, None)
            raise
        stdin, stdout, *stderr = ends.ours * 2 if request.pty is not None else ends.ours
        return Execution(stdin, stdout, stderr[0] if stderr else None, self._controls(message.id), exit)

    async def dial_tcp(self, host: str, port: int) -> socket.socket:
        """Connect to `host` and `port` as seen from inside the container; the caller owns the socket.

        It is non-blocking and keeps half-closes. Raises PlatformError: DENIED, NO_CAPACITY or UNAVAILABLE
        (nothing answers, or the runner is gone), INVALID for a host that is too long.
        """
        return await self._dial(Dial(next(self._ids), host, port))

    async def dial_unix(self, path: str) -> socket.socket:
        """Connect to a stream socket's path inside the container, as its user; else as `dial_tcp`."""
        return await self._dial(DialUnix(next(self._ids), path))

    async def listen_tcp(self, host: str, port: int, arrived: Arrived) -> Listener:
        """See Runner."""
        return await self._listen(Listen(next(self._ids), host, port), arrived)

    async def listen_unix(self, path: str, arrived: Arrived) -> Listener:
        """See Runner."""
        return await self._listen(ListenUnix(next(self._ids), path), arrived)

    async def listen_private(self, arrived: Arrived) -> Listener:
        """See Runner."""
        return await self._listen(ListenPrivate(next(self._ids)), arrived)

    def close(self) -> None:
        """End the connection: terminals are hung up, everything that waits fails. Harmless when repeated."""
        self._channel.close()
        self._lost("the connection was closed")

    async def closed(self) -> str:
        """Wait for the end of the conversation, and tell why, in words for a log."""
        return await asyncio.shield(self._end)

    async def _listen(self, message: Listen | ListenUnix | ListenPrivate, arrived: Arrived) -> Listener:
        """Ask for a listener; what arrives may come in one packet with the answer."""
        self._arrivals.hear(message.id, arrived)
        try:
            answer = await self._ask(message, Ends((), ()), State.ASKING)
        except BaseException:
            self._arrivals.deaf(message.id)
            raise
        assert isinstance(answer, Listening)
        return Listener(answer.port, answer.path, partial(self._unlisten, message.id))

    async def _unlisten(self, id: int) -> None:
        """See Listener."""
        if self._states.get(id) is not State.LISTENING:
            return
        self._answers[id] = self._future()
        self._release(id)
        try:
            with suppress(PlatformError):  # the runner is gone, and the listener with it
                await asyncio.wait_for(self._answers[id], ANSWER_SECONDS)
        except TimeoutError:
            self._break_off("the runner does not answer")
        finally:
            self._answers.pop(id, None)

    async def _dial(self, message: Dial | DialUnix | Accept) -> socket.socket:
        """Ask for a connection; our end of it once it stands."""
        ends = socket_ends()
        await self._ask(message, ends, State.DIALLING)
        return socket.socket(fileno=ends.ours[0])

    async def _ask(self, message: Asked, ends: Ends, state: State) -> Message:
        """Send `message` with their ends and wait for the answer; when that is no, our ends are closed."""
        try:
            self._submit(message, ends.theirs, state)
            return await self._answers[message.id]
        except BaseException:
            close_all(ends.ours)
            self._abandon(message.id)
            raise
        finally:
            self._answers.pop(message.id, None)

    def _submit(self, message: Asked, fds: tuple[int, ...], state: State) -> None:
        """Queue a message; its descriptors are owned by the queue from here on."""
        try:
            if self._end.done():
                raise gone()
            frame = codec.encode(message)
        except ProtocolError as problem:
            close_all(fds)
            sentence = f"The gateway cannot pass this on ({problem}); send less."
            raise PlatformError(Code.INVALID, sentence) from problem
        except PlatformError:
            close_all(fds)
            raise
        self._states[message.id] = state
        self._answers[message.id] = self._future()
        self._queue.append((message, frame, fds))
        self._pump()

    def _future(self) -> asyncio.Future[Any]:
        """A future whose failure may go unseen: not everybody waits for an exit."""
        future: asyncio.Future[Any] = self._loop.create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future

    def _pump(self) -> None:
        """Send what the cap allows."""
        while self._queue and len(self._in_flight) < MOST_IN_FLIGHT and not self._end.done():
            message, frame, fds = self._queue.popleft()
            late = partial(self._break_off, "the runner does not answer")
            self._in_flight[message.id] = self._loop.call_later(ANSWER_SECONDS, late)
            self._channel.send(frame, message, fds)

    def _received(self, message: Message) -> None:
        """Take an answer. Raises ProtocolError, which the channel turns into the end."""
        id: int = message.id  # type: ignore[union-attr]
        before = self._states.get(id)
        state = after(before, message)
        if id in self._in_flight:
            self._in_flight.pop(id).cancel()
            self._pump()
        if state is None:
            del self._states[id]
        else:
            self._states[id] = state
        self._settle(id, message, before, state)

    def _settle(self, id: int, message: Message, before: State | None, state: State | None) -> None:
        """Wake who waits for this."""
        if isinstance(message, Exited):
            exit = self._exits.pop(id, None)
            if exit is not None:
                exit.set_result(message.exit)
            return
        if isinstance(message, listening.Arrived):
            return self._arrivals.arrived(message)
        if state is State.TAKEN:
            return
        answer = self._answers.get(id)
        if isinstance(message, (Failed, Refused)):
            if answer is not None and not answer.done():
                answer.set_exception(failure(message, before is State.ASKING))
        elif answer is not None and not answer.done():
            answer.set_result(message)
        else:
            self._abandon(id)

    def _abandon(self, id: int) -> None:
        """Nobody wants `id` any more: take it back, or have it closed once it is there."""
        for asked in self._queue:
            if asked[0].id == id:
                self._queue.remove(asked)
                close_all(asked[2])
                self._states.pop(id, None)
                return
        self._release(id)

    def _controls(self, id: int) -> Controls:
        """How the execution `id` is steered."""
        return Controls(
            signal=lambda name: self._steer(Signal(id, name)),
            resize=lambda window: self._steer(Resize(id, clamped(window))),
            send_break=lambda: self._steer(Break(id)),
            close=lambda: self._release(id),
        )

    def _steer(self, message: Signal | Resize | Break | Close) -> None:
        """Tell the runner, while the program runs."""
        if self._states.get(message.id) is State.RUNNING:
            self._tell(message)

    def _release(self, id: int) -> None:
        """Our descriptors for `id` are closed."""
        state = self._states.get(id)
        if state is State.LISTENING:
            self._states[id] = State.ENDING
            self._arrivals.deaf(id)
            self._tell(Unlisten(id))
        elif state in (State.RUNNING, State.TAKEN):
            self._tell(Close(id))
        self._channel.release(id)

    def _tell(self, message: Message) -> None:
        """Send a message without descriptors; one that cannot be said (an endless signal name) is not."""
        try:
            frame = codec.encode(message)
        except ProtocolError:
            return
        self._channel.send(frame, message, ())

    def _break_off(self, reason: str) -> None:
        """Stop talking to a runner that does not do its part."""
        self._channel.close()
        self._lost(reason)

    def _lost(self, reason: str) -> None:
        """The conversation has ended: everything that waits fails, every descriptor is closed."""
        if self._end.done():
            return
        self._end.set_result(reason)
        while self._queue:
            close_all(self._queue.popleft()[2])
        for timer in self._in_flight.values():
            timer.cancel()
        waiting: list[asyncio.Future[Any]] = [*self._answers.values(), *self._exits.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(gone())
        self._exits.clear()
        self._states.clear()
        self._in_flight.clear()
