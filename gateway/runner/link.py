"""The broker's end of one container's runner: it listens, the runner dials.

Owns the socket in the container's directory, who may speak there, and the way a connection's socket reaches
the runner. Must not know containers or SSH. Whoever dials is hostile: nothing here waits for it, and nothing
grows with what it sends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from gateway.errors import Code, PlatformError
from gateway.runner import codec, packets
from gateway.runner.protocol import (
    PARTING,
    REPLY_LIMIT,
    TO_BROKER,
    VERSION,
    Connection,
    Hello,
    Part,
    Parted,
    Parting,
    ProtocolError,
)

SOCKET_NAME = "runner.sock"

_log = logging.getLogger(__name__)

_ACCEPT_SECONDS = 0.25  # the least time between two accepts: dialling in a loop costs the dialler alone
_HELLO_SECONDS = 10.0
_HELLO_LIMIT = 128 * 1024
_PASS_SECONDS = 10.0
# The kernel accounts at least 768 bytes to a message, and doubles what it is told: some sixteen connections
# may wait for a runner that does not read, then the socket is full.
_SEND_BUFFER = 6 * 1024
_ANSWERS = 2  # to each Part: that it goes on, and that it is over


class RunnerSocket:
    """Listens for the one runner of one container, for as long as the container may run.

    Must be made inside a running loop. `directory` is made if need be (0711) and is what the container gets,
    mounted read-only; its path may have any length. `expected_uid` is the container's user.
    """

    def __init__(self, directory: Path, expected_uid: int) -> None:
        """Start to listen. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        self._path, self._uid = directory / SOCKET_NAME, expected_uid
        self._runner: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._room: asyncio.Future[None] | None = None
        self._problem = "it has not dialled yet"
        self._connections: tuple[str, ...] = ()
        self._ready = asyncio.Event()
        self._turn = asyncio.Lock()
        self._parts = self._answers = 0
        self._parted: asyncio.Future[bool] | None = None
        self._begun: Callable[[int, bool], object] = lambda programs, hook: None
        self._closed = False
        self._last_accept = float("-inf")
        self._listener = listen(directory, SOCKET_NAME)
        self._listen()

    @property
    def connections(self) -> tuple[str, ...]:
        """The connections that the runner still served when it last said hello."""
        return self._connections

    async def ready(self, timeout: float) -> None:  # noqa: ASYNC109 - callers tell waits apart
        """Wait until the runner is there.

        Raises PlatformError(UNAVAILABLE) after `timeout` seconds, or when the socket is closed.
        """
        try:
            await asyncio.wait_for(self._ready.wait(), timeout)
        except TimeoutError:
            raise self._unavailable() from None
        if self._closed:
            raise self._unavailable()

    async def connect(self, connection_id: str) -> socket.socket:
        """Give the runner a new connection socket; the worker's end of it, non-blocking, is the caller's.

        Raises PlatformError(UNAVAILABLE) when no runner is there, or it does not take it in time.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                frame = codec.encode(Connection(connection_id))
                await asyncio.wait_for(self._pass(frame, [theirs.fileno()]), _PASS_SECONDS)
        except BaseException as problem:
            ours.close()
            if isinstance(problem, (OSError, TimeoutError)):
                raise self._unavailable() from problem
            raise
        ours.setblocking(False)
        return ours

    async def part(self, reason: str, seconds: int, begun: Callable[[int, bool], object]) -> None:
        """Have programs save their work before the container is stopped in `seconds`, for `reason`.

        Returns when the runner says that all have ended, which may be never: the caller bounds it, and asks
        once at a time. `begun` is called when there is something to wait for, with how many programs were
        told and whether her hook was started. Raises PlatformError(UNAVAILABLE) when no runner is there any
        more.
        """
        self._parts, self._begun = self._parts + 1, begun
        self._parted = parted = self._loop.create_future()
        self._answers += _ANSWERS
        try:
            frame = codec.encode(Part(self._parts, seconds, reason))
            await asyncio.wait_for(self._pass(frame, []), _PASS_SECONDS)
            if not await parted:
                raise ConnectionError("it is gone")
        except (OSError, TimeoutError) as problem:
            raise self._unavailable() from problem
        finally:
            if self._parted is parted:
                self._parted = None

    def close(self) -> None:
        """Stop listening and drop the runner; the connections that it serves live on. May be repeated."""
        if self._closed:
            return
        self._closed = True
        self._drop("the gateway closed it")
        self._stop_timer()
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._path.unlink(missing_ok=True)
        self._ready.set()

    async def _pass(self, frame: bytes, fds: list[int]) -> None:
        """Tell the runner, waiting for room; only one caller at a time can wait for it."""
        async with self._turn:
            while True:
                if self._runner is None or not self._ready.is_set():
                    raise ConnectionError("no runner")
                try:
                    return packets.send(self._runner, frame, fds)
                except BlockingIOError:
                    await self._writable(self._runner)

    async def _writable(self, runner: socket.socket) -> None:
        """Wait until the runner has read something, or is gone."""
        self._room = room = self._loop.create_future()
        self._loop.add_writer(runner.fileno(), _settle, room)
        try:
            await room
        finally:
            self._room = None
            if runner.fileno() >= 0:
                self._loop.remove_writer(runner.fileno())

    def _listen(self) -> None:
        """Watch the listener, from now until somebody dials."""
        self._timer = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        """Take one caller and listen no more until it is gone."""
        self._last_accept = self._loop.time()
        try:
            runner, _ = self._listener.accept()
        except OSError:  # it hung up again, or no descriptor is left just now
            return self._drop("it could not be accepted")
        runner.setblocking(False)
        self._runner = runner
        self._loop.remove_reader(self._listener.fileno())
        uid = struct.unpack("3i", runner.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid != self._uid:
            return self._drop(f"uid {uid} dialled in its place")
        runner.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._loop.add_reader(runner.fileno(), self._greet)
        self._timer = self._loop.call_later(_HELLO_SECONDS, self._drop, "it did not say hello")

    def _greet(self) -> None:
        """The first message must be a hello of our version."""
        assert self._runner is not None
        try:
            message = codec.decode(self._runner.recv(_HELLO_LIMIT), 0, TO_BROKER)
        except BlockingIOError:
            return
        except (OSError, ProtocolError) as problem:
            return self._drop(f"it said no hello: {problem}")
        assert isinstance(message, Hello)
        if message.version != VERSION:
            return self._drop(f"it speaks version {message.version}, not {VERSION}: recreate the workspace")
        self._stop_timer()
        self._connections = message.connections
        self._loop.add_reader(self._runner.fileno(), self._hear)
        self._answers = 0
        self._ready.set()

    def _hear(self) -> None:
        """What the runner says after its hello: the answers to a `Part`, and no word more."""
        assert self._runner is not None
        try:
            message = codec.decode(self._runner.recv(REPLY_LIMIT), 0, PARTING)
        except BlockingIOError:
            return
        except (OSError, ProtocolError):
            return self._drop("it hung up or spoke out of turn")
        assert isinstance(message, (Parting, Parted))
        self._answers -= 1
        if self._answers < 0:
            return self._drop("it answered what nobody asked")
        # Nobody waits any more for the answer to an earlier one.
        if self._parted is None or self._parted.done() or message.id != self._parts:
            return
        if isinstance(message, Parting):
            self._begun(message.programs, message.hook)
        else:
            self._parted.set_result(True)

    def _drop(self, problem: str) -> None:
        """Let go of whoever dialled, and listen again no sooner than the interval allows."""
        self._problem = problem
        self._stop_timer()
        if self._runner is not None:
            self._loop.remove_reader(self._runner.fileno())
            self._loop.remove_writer(self._runner.fileno())
            self._runner.close()
            self._runner = None
            if not self._closed:
                _log.warning("runner link lost: path=%s reason=%s", self._path, problem)
        if self._room is not None and not self._room.done():
            self._room.set_exception(ConnectionError(problem))
        if self._parted is not None and not self._parted.done():
            self._parted.set_result(False)
        if not self._closed:
            self._ready.clear()
            self._loop.remove_reader(self._listener.fileno())
            wait = max(0.0, self._last_accept + _ACCEPT_SECONDS - self._loop.time())
            self._timer = self._loop.call_later(wait, self._listen)

    def _stop_timer(self) -> None:
        """Cancel the one timer: for a hello, or for listening again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _unavailable(self) -> PlatformError:
        """The one sentence for whoever needed the runner."""
        sentence = f"The container's runner cannot be reached ({self._problem}); try again."
        return PlatformError(Code.UNAVAILABLE, sentence)


def _settle(room: asyncio.Future[None]) -> None:
    """Wake the one who waits; the descriptor may be reported twice."""
    if not room.done():
        room.set_result(None)


def listen(directory: Path, name: str) -> socket.socket:
    """A listening socket in `directory`, which the container may dial but not change. Raises OSError."""
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    os.chmod(directory, 0o711)
    (directory / name).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # A socket's address has room for 107 bytes; a state directory may be deeper, its descriptor never is.
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{handle}/{name}")
        os.chmod(directory / name, 0o666)
        listener.listen(4)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(handle)
    listener.setblocking(False)
    return listener
