"""Where the program `gpu` inside one container reaches the broker.

Owns a second socket in the runner's directory, its limits, and the packets that go through it: words that a
NUL separates come in, text and an exit status go out. Who asks is whose container the directory belongs to,
whatever is said. Must not know what is asked. Whoever dials is hostile: nothing here waits for it, and
nothing grows with what it sends.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from pathlib import Path

from gateway.journal import explain
from gateway.questions import Answer, pieces
from gateway.runner.link import RunnerSocket, listen

SOCKET_NAME = "gpu.sock"
MOST_ASKING = 8
"""Programs of one container that are served at once; the kernel holds a few more, and then they wait."""
LONGEST_QUESTION = 4096

_ACCEPT_SECONDS = 0.05  # the least time between two accepts: asking in a loop costs the asker alone
_ASK_SECONDS = 10.0
_TAKE_SECONDS = 10.0
_SEND_BUFFER = 64 * 1024
_MOST_WAITING = 128


class Hatch:
    """Listens in `directory`, which is there, until it is closed; `expected_uid` is the container's user."""

    def __init__(self, directory: Path, expected_uid: int, answer: Answer) -> None:
        """Start to listen, on the running loop. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        self._path, self._uid, self._answer = directory / SOCKET_NAME, expected_uid, answer
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._listener = listen(directory, SOCKET_NAME)
        self._watch()

    def close(self) -> None:
        """Listen no more, and leave every question. May be repeated."""
        if self._listener.fileno() < 0:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._path.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()

    def _watch(self) -> None:
        self._timer = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        self._loop.remove_reader(self._listener.fileno())
        try:
            sock, _ = self._listener.accept()
        except OSError:  # it hung up again, or no descriptor is left just now
            self._again()
            return
        task = self._loop.create_task(self._serve(sock))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        if len(self._tasks) < MOST_ASKING:
            self._again()

    def _again(self) -> None:
        """Accept the next one, in a moment."""
        if self._timer is None:
            self._timer = self._loop.call_later(_ACCEPT_SECONDS, self._watch)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._listener.fileno() >= 0 and len(self._tasks) == MOST_ASKING - 1:
            self._again()
        if not task.cancelled() and (error := task.exception()) is not None:
            explain(error)

    async def _serve(self, sock: socket.socket) -> None:
        with sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            uid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
            if uid != self._uid:
                return
            task = asyncio.current_task()
            assert task is not None
            asker = _Asker(sock, task.cancel)
            try:
                question = await asyncio.wait_for(asker.heard, _ASK_SECONDS)
                asker.put(b"x%d" % await self._answered(question, asker))
                await asyncio.wait_for(asker.taken(), _TAKE_SECONDS)
            except TimeoutError:
                return
            finally:
                asker.stop()

    async def _answered(self, question: bytes, asker: _Asker) -> int:
        if len(question) > LONGEST_QUESTION:
            asker.say("gpu: These are too many words.\n", True)
            return 2
        # The first word is the program's own name.
        words = question.decode("utf-8", "surrogateescape").split("\0")[1:]
        return await self._answer(tuple(words), asker.say)


class _Asker:
    """One program's end: its question, and what is to be said to it. `gone` is called when it hung up."""

    def __init__(self, sock: socket.socket, gone: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self.heard: asyncio.Future[bytes] = self._loop.create_future()
        self._sock, self._gone = sock, gone
        self._waiting: deque[bytes] = deque()
        self._taken = asyncio.Event()
        self._loop.add_reader(sock.fileno(), self._read)

    def say(self, text: str, error: bool) -> None:
        """Text for stdout or stderr."""
        for piece in pieces(text):
            self.put((b"e" if error else b"o") + piece.encode("utf-8", "replace"))

    def put(self, packet: bytes) -> None:
        """Send it now, or when there is room; who lets too much lie hears no more."""
        self._waiting.append(packet)
        if len(self._waiting) == 1:
            self._write()
        elif len(self._waiting) > _MOST_WAITING:
            self._gone()

    async def taken(self) -> None:
        """Wait until everything was sent."""
        while self._waiting:
            self._taken.clear()
            await self._taken.wait()

    def stop(self) -> None:
        """Let go of the socket."""
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())

    def _read(self) -> None:
        """The question, once; whatever comes after it is the end."""
        try:
            packet = self._sock.recv(LONGEST_QUESTION + 1)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if packet and not self.heard.done():
            self.heard.set_result(packet)
        else:
            self._loop.remove_reader(self._sock.fileno())
            self._gone()

    def _write(self) -> None:
        try:
            while self._waiting:
                self._sock.send(self._waiting[0])
                self._waiting.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._sock.fileno(), self._write)
            return
        except OSError:
            self._waiting.clear()
            self._gone()
        self._loop.remove_writer(self._sock.fileno())
        self._taken.set()


class Doorway(RunnerSocket):
    """The runner's socket, and beside it the hatch of `gpu`, for as long as the container may run."""

    def __init__(self, directory: Path, expected_uid: int, answer: Answer) -> None:
        """Start to listen on both. Raises OSError."""
        super().__init__(directory, expected_uid)
        self._hatch = Hatch(directory, expected_uid, answer)

    def close(self) -> None:
        """See RunnerSocket."""
        super().close()
        self._hatch.close()
