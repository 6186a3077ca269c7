"""The worker processes: started, spoken to, replaced when they die.

Owns the processes and the broker's ends of their sockets. A worker that breaks the protocol is
killed; only its own connections end. Must not know what the verbs mean.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

from gateway import proofs, verbs, wire
from gateway.connections import Connections, Peer
from gateway.errors import PlatformError
from gateway.hostkeys import HostKeys
from gateway.journal import explain, note
from gateway.messages import MessageError, decode, encode
from gateway.reception import Reception
from gateway.users import Account

MOST_KEYS = 1_000
"""Keys of one user that may log in: those that fit into one message."""
RESTART_AFTER = 0.5
"""Seconds before a dead worker is replaced, so that one that dies at once does not burn a core."""
END_WITHIN = 10.0


class Worker(Peer):
    """One worker process, from its start to its end."""

    def __init__(
        self, process: asyncio.subprocess.Process, sock: socket.socket, signing: socket.socket
    ) -> None:
        self.process = process
        self.ready = False
        self._closing = False
        self._talk: wire.PacketSocket | None = None
        self._sock = sock
        self._signing = signing

    def serve(self, received: Callable[[bytes, list[int]], None], sign: Callable[[bytes], bytes]) -> None:
        """Begin to read both sockets. Whatever goes wrong on one ends the process."""
        self._talk = wire.PacketSocket(self._sock, received, self._lost)
        self._sign = wire.PacketSocket(
            self._signing, lambda data, fds: self._answer(sign, data, fds), self._lost
        )

    def send(self, message: object, descriptors: tuple[int, ...] = ()) -> None:
        """Queue a verb; the descriptors belong to this call."""
        if self._talk is None:
            wire.close_all(descriptors)
        else:
            self._talk.send(encode(message), descriptors)

    def kill(self) -> None:
        """End the process; harmless when it has ended. Nothing that it has said since is heard."""
        self.ready = False
        self.close()
        with suppress(ProcessLookupError):
            self.process.kill()

    def close(self) -> None:
        """Close both sockets, which tells a living worker to say goodbye and end."""
        self._closing = True
        if self._talk is not None:
            self._talk.close()
            self._sign.close()

    def _lost(self) -> None:
        if not self._closing:
            self.kill()

    def _answer(self, sign: Callable[[bytes], bytes], data: bytes, fds: list[int]) -> None:
        wire.close_all(fds)
        try:
            signature = sign(data)
        except MessageError:
            self.kill()
            return
        self._sign.send(encode(proofs.Signature(signature)))


class Workers:
    """Keeps `count` workers running and hands accepted sockets to the least loaded one."""

    def __init__(
        self,
        count: int,
        identity: tuple[int, int],
        keys: HostKeys,
        connections: Connections,
        reception: Reception,
    ) -> None:
        self._count = count
        self._uid, self._gid = identity
        self._keys = keys
        self._connections = connections
        self._reception = reception
        self._workers: list[Worker] = []
        self._some_ready = asyncio.Event()

    async def run(self) -> None:
        """Keep every worker running until cancelled; then let them end."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._count):
                group.create_task(self._keep_one())

    async def ready(self) -> None:
        """Wait until a worker can take connections."""
        while not any(worker.ready for worker in self._workers):
            self._some_ready.clear()
            await self._some_ready.wait()

    def count_ready(self) -> int:
        """How many workers can take connections."""
        return sum(worker.ready for worker in self._workers)

    def hand_over(self, sock: socket.socket, peer: str) -> None:
        """Give an accepted socket to a worker; it is closed when none can take it."""
        able = [worker for worker in self._workers if worker.ready]
        if not able:
            sock.close()
            return
        worker = min(able, key=lambda each: len(self._connections.of_worker(each)))
        try:
            connection = self._connections.arrive(worker, peer, self._reception.moment())
        except PlatformError:
            sock.close()
            return
        worker.send(verbs.Connection(connection.id), (sock.detach(),))

    def push(self, changed: list[Account], gone: list[str]) -> None:
        """Tell every worker what changed about who may authenticate."""
        for worker in self._workers:
            if worker.ready:
                self._push_to(worker, changed, gone)

    def push_trust(self) -> None:
        """Tell every worker whose certificates are believed."""
        for worker in self._workers:
            if worker.ready:
                worker.send(self._authorities())

    def _authorities(self) -> verbs.Authorities:
        digests = [sha256(blob).digest() for blob in self._reception.trust.authorities]
        return verbs.Authorities(tuple(digests[:MOST_KEYS]))

    async def _keep_one(self) -> None:
        while True:
            try:
                worker = await self._start()
            except OSError as error:
                # No process or descriptor is left just now; that must not end those that run.
                explain(error)
                await asyncio.sleep(RESTART_AFTER)
                continue
            try:
                status = await worker.process.wait()
                note("worker_ended", pid=worker.process.pid, status=status)
            finally:
                self._workers.remove(worker)
                self._reception.worker_ended(worker)
                worker.close()
                await self._end(worker)
            await asyncio.sleep(RESTART_AFTER)

    async def _end(self, worker: Worker) -> None:
        if worker.process.returncode is not None:
            return
        try:
            async with asyncio.timeout(END_WITHIN):
                await worker.process.wait()
        except TimeoutError:
            worker.kill()
            await worker.process.wait()

    async def _start(self) -> Worker:
        ours, theirs = wire.pair()
        our_signing, their_signing = wire.pair()
        fds = (theirs.fileno(), their_signing.fileno())
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway.worker",
                *map(str, fds),
                pass_fds=fds,
                stdin=asyncio.subprocess.DEVNULL,
            )
        except OSError:
            ours.close()
            our_signing.close()
            raise
        finally:
            theirs.close()
            their_signing.close()
        worker = Worker(process, ours, our_signing)
        self._workers.append(worker)
        worker.serve(
            lambda data, descriptors: self._receive(worker, data, descriptors),
            lambda data: self._sign(worker, data),
        )
        return worker

    def _receive(self, worker: Worker, data: bytes, descriptors: list[int]) -> None:
        wire.close_all(descriptors)
        try:
            if worker.ready:
                self._reception.receive(worker, data, len(descriptors))
            else:
                self._greet(worker, verbs.from_worker(data, len(descriptors)))
        except MessageError as error:
            note("worker_broke_protocol", pid=worker.process.pid, reason=str(error))
            worker.kill()

    def _greet(self, worker: Worker, hello: object) -> None:
        if not isinstance(hello, verbs.Hello) or hello.version != verbs.VERSION or hello.connections:
            raise MessageError("a worker must begin with a hello of this version")
        takes = self._reception.admission.matches is not None
        worker.send(verbs.Welcome(verbs.VERSION, self._keys.public(), self._uid, self._gid, takes))
        self._push_to(worker, list(self._reception.accounts.values()), [])
        worker.send(self._authorities())
        worker.ready = True
        self._some_ready.set()

    def _push_to(self, worker: Worker, changed: list[Account], gone: list[str]) -> None:
        for account in changed:
            worker.send(verbs.Account(account.name, _digests(account) if account.enabled else ()))
        for name in gone:
            worker.send(verbs.AccountGone(name))

    def _sign(self, worker: Worker, data: bytes) -> bytes:
        message = decode(data, verbs.SIGNING)
        if not isinstance(message, proofs.Sign):
            raise MessageError("only requests to sign come here")
        if not self._connections.may_sign(worker, message.connection, message.data):
            return b""
        return self._keys.sign(message.key, message.algorithm, message.data)


def _digests(account: Account) -> tuple[bytes, ...]:
    return tuple(sha256(blob).digest() for blob in (*account.claimed, *account.keys))[:MOST_KEYS]
