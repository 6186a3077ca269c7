"""What every runner must do when it listens, wherever it runs and however it is reached.

Owns the cases; `test_listener_contract` runs them in four places.
"""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Awaitable, Callable

import pytest

from gateway.errors import Code, PlatformError
from gateway.ports import Arrival, Listener
from gateway.runner.client import RunnerClient
from gateway.runner.execution import Execution
from gateway.runner.listening import MOST_ARRIVED
from tests.support.runner_places import (
    DEADLINE,
    Place,
    exec_,
    finish,
    read_all,
    read_until,
    run,
    until,
    write_all,
)


class Ear:
    """Hears of arrivals, in order."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Arrival] = asyncio.Queue()

    def __call__(self, arrival: Arrival) -> None:
        self.queue.put_nowait(arrival)

    async def next(self) -> Arrival:
        """The next one."""
        return await asyncio.wait_for(self.queue.get(), DEADLINE)


def path_in(place: Place) -> str:
    """A path that nobody has."""
    return f"{place.directory}/{uuid.uuid4().hex[:12]}"


async def caller(client: RunnerClient, where: int | str) -> Execution:
    """A program inside that copies its standard streams to and from a listener, half-closes included."""
    return await client.start(exec_(_CALLER.format(repr(where) if isinstance(where, str) else where)))


class ListenerContract:
    """Subclasses provide the fixture `place`."""

    @pytest.fixture
    async def client(self, place: Place) -> RunnerClient:
        return await place.client()

    @pytest.fixture
    def ear(self) -> Ear:
        return Ear()

    async def test_bytes_and_half_closes_pass_both_ways(self, client: RunnerClient, ear: Ear) -> None:
        listener = await client.listen_tcp("localhost", 0, ear)
        program = await caller(client, listener.port)
        arrival = await ear.next()
        assert (arrival.host, arrival.port > 0) == ("127.0.0.1", True)
        with await arrival.accept() as sock:
            await write_all(sock.fileno(), b"first word")  # whoever was called may speak first
            await read_until(program.stdout, b"first word")
            assert program.stdin is not None
            await write_all(program.stdin, b"x" * 300_000)
            program.close_stdin()
            assert await read_all(sock.fileno()) == b"x" * 300_000
            await write_all(sock.fileno(), b"y" * 300_000)
            sock.shutdown(1)
            assert await read_all(program.stdout) == b"y" * 300_000
        program.close()

    async def test_any_host_means_loopback(self, client: RunnerClient, ear: Ear) -> None:
        hosts = ("", "*", "0.0.0.0", "localhost", "127.0.0.1", "203.0.113.9", "café", "no.such.invalid")
        ports = [(await client.listen_tcp(host, 0, ear)).port for host in hosts]
        rows = (await run(client, "cat /proc/net/tcp")).out.decode().splitlines()
        for port in ports:
            mine = [row.split()[1] for row in rows if f":{port:04X} 00000000:0000 0A" in row]
            assert mine == [f"0100007F:{port:04X}"]

    async def test_a_port_that_is_taken(self, client: RunnerClient, ear: Ear) -> None:
        listener = await client.listen_tcp("", 0, ear)
        with pytest.raises(PlatformError) as refused:
            await client.listen_tcp("127.0.0.1", listener.port, Ear())
        assert refused.value.code is Code.CONFLICT
        await caller(client, listener.port)
        (await ear.next()).decline()

    async def test_a_closed_listener_frees_its_port_and_leaves_what_was_accepted(
        self, client: RunnerClient, ear: Ear
    ) -> None:
        listener = await client.listen_tcp("", 0, ear)
        program, late = await caller(client, listener.port), await caller(client, listener.port)
        sock, waits = await (await ear.next()).accept(), await ear.next()
        await listener.close()
        await listener.close()
        again = await client.listen_tcp("", listener.port, ear)
        assert again.port == listener.port
        await again.close()
        with sock, await waits.accept() as other:
            for connected in (sock, other):
                await write_all(connected.fileno(), b"still")
            for each in (program, late):
                await read_until(each.stdout, b"still")
        assert (await finish(await caller(client, listener.port))).exit.status == 3

    async def test_who_is_declined_reads_the_end(self, client: RunnerClient, ear: Ear) -> None:
        listener = await client.listen_tcp("", 0, ear)
        program = await caller(client, listener.port)
        (await ear.next()).decline()
        assert await read_all(program.stdout) == b""
        program.close()

    async def test_a_caller_who_left_is_found_at_its_end(self, client: RunnerClient, ear: Ear) -> None:
        listener = await client.listen_tcp("", 0, ear)
        assert (await run(client, f"echo -n gone > /dev/tcp/127.0.0.1/{listener.port}")).exit.status == 0
        with await (await ear.next()).accept() as sock:
            assert await read_all(sock.fileno()) == b"gone"

    async def test_only_so_many_wait_and_the_rest_come_later(self, client: RunnerClient, ear: Ear) -> None:
        listener = await client.listen_tcp("", 0, ear)
        program = await client.start(exec_(_CROWD.format(listener.port, MOST_ARRIVED + 10)))
        await read_until(program.stdout, b"all")
        waiting = [await ear.next() for _ in range(MOST_ARRIVED)]
        assert (await run(client, "echo fine")).out == b"fine\n"
        assert ear.queue.empty()
        for arrival in waiting:
            arrival.decline()
        for _ in range(10):
            (await ear.next()).decline()
        program.close()

    async def test_a_cancelled_accept_leaves_no_one_waiting(self, client: RunnerClient, ear: Ear) -> None:
        listener = await client.listen_tcp("", 0, ear)
        program = await client.start(exec_(_CROWD.format(listener.port, MOST_ARRIVED + 1)))
        for _ in range(MOST_ARRIVED):
            accepting = asyncio.ensure_future((await ear.next()).accept())
            await asyncio.sleep(0)
            accepting.cancel()
            await asyncio.wait([accepting])
        (await ear.next()).decline()
        program.close()

    async def test_a_socket_file_is_its_users_and_goes_with_the_listener(
        self, client: RunnerClient, place: Place, ear: Ear
    ) -> None:
        path = path_in(place)
        listener = await client.listen_unix(path, ear)
        assert (listener.path, listener.port) == (path, 0)
        assert (await run(client, f"stat -c '%a %F' {path}")).out == b"600 socket\n"
        program = await caller(client, path)
        arrival = await ear.next()
        assert (arrival.host, arrival.port) == ("", 0)
        with await arrival.accept() as sock:
            await write_all(sock.fileno(), b"by file")
            await read_until(program.stdout, b"by file")
        await listener.close()
        assert (await run(client, f"test -e {path}")).exit.status == 1
        assert (await run(client, "umask")).out == b"0022\n"

    async def test_a_file_in_the_way_stays(self, client: RunnerClient, place: Place, ear: Ear) -> None:
        path = path_in(place)
        await run(client, f"echo hers > {path}; ln -s {path} {path}.link")
        listener = await client.listen_unix(path + ".live", ear)
        for taken in (path, path + ".link", listener.path, place.directory):
            with pytest.raises(PlatformError) as refused:
                await client.listen_unix(taken, ear)
            assert refused.value.code is Code.CONFLICT
        assert (await run(client, f"cat {path}.link")).out == b"hers\n"
        (await ear.next()).decline()  # to find out whether somebody listens there means to connect
        await listener.close()
        await run(client, f"rm {path}*")

    async def test_a_file_that_took_its_place_is_not_removed(
        self, client: RunnerClient, place: Place, ear: Ear
    ) -> None:
        listener = await client.listen_unix(path_in(place), ear)
        await run(client, f"echo hers > {listener.path}.new; mv {listener.path}.new {listener.path}")
        await listener.close()
        assert (await run(client, f"cat {listener.path}; rm {listener.path}")).out == b"hers\n"

    async def test_a_left_over_socket_file_is_replaced(
        self, client: RunnerClient, place: Place, ear: Ear
    ) -> None:
        path = path_in(place)
        await run(client, f"python3 -c 'import socket; socket.socket(1).bind(\"{path}\")'")
        listener = await client.listen_unix(path, ear)
        await caller(client, path)
        (await ear.next()).decline()
        await listener.close()

    async def test_a_path_that_cannot_be(self, client: RunnerClient, ear: Ear) -> None:
        for path in ("/nonexistent/socket", "", "/etc/passwd/x", "/tmp/" + "x" * 200):
            with pytest.raises(PlatformError) as refused:
                await client.listen_unix(path, ear)
            assert refused.value.code is Code.UNAVAILABLE
        assert (await run(client, "echo fine")).out == b"fine\n"

    async def test_names_above_the_limits_are_a_sentence(self, client: RunnerClient, ear: Ear) -> None:
        asked: list[Callable[[], Awaitable[Listener]]] = [
            lambda: client.listen_unix("/tmp/" + "x" * 5000, ear),
            lambda: client.listen_tcp("x" * 300, 0, ear),
            lambda: client.listen_tcp("", 70_000, ear),
        ]
        for ask in asked:
            with pytest.raises(PlatformError) as refused:
                await ask()
            assert refused.value.code is Code.INVALID

    async def test_a_private_socket_lies_where_nobody_else_may_look(
        self, client: RunnerClient, ear: Ear
    ) -> None:
        listener = await client.listen_private(ear)
        folder = os.path.dirname(listener.path)
        assert (await run(client, f"stat -c %a {folder} {listener.path}")).out == b"700\n600\n"
        await caller(client, listener.path)
        (await ear.next()).decline()
        await listener.close()
        assert (await run(client, f"test -e {folder}")).exit.status == 1

    async def test_listeners_end_with_their_connection(self, place: Place, client: RunnerClient) -> None:
        passing = await place.client()
        tcp = await passing.listen_tcp("", 0, Ear())
        paths = [await passing.listen_unix(path_in(place), Ear()), await passing.listen_private(Ear())]
        passing.close()
        await tcp.close()
        for path in paths:
            left = f"while test -e {path.path}; do sleep 0.01; done"
            assert (await asyncio.wait_for(run(client, left), DEADLINE)).exit.status == 0
        assert (await finish(await caller(client, tcp.port))).exit.status == 3

    async def test_a_cancelled_listen_leaves_no_listener(self, client: RunnerClient, place: Place) -> None:
        path = path_in(place)
        for _ in range(3):
            asking = asyncio.create_task(client.listen_unix(path, Ear()))
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
        async with asyncio.timeout(DEADLINE):
            while (await run(client, f"test -e {path}")).exit.status == 0:
                pass
        await (await client.listen_unix(path, Ear())).close()

    async def test_no_descriptor_is_left_here(self, client: RunnerClient, ear: Ear) -> None:
        async def exercise() -> None:
            listener = await client.listen_tcp("", 0, ear)
            programs = [await caller(client, listener.port) for _ in range(2)]
            (await ear.next()).decline()
            (await (await ear.next()).accept()).close()
            for program in programs:
                await finish(program)
            await listener.close()

        await exercise()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            await exercise()
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before, "descriptors are closed")


class LinkedListenerContract(ListenerContract):
    """The same for a runner that dials a broker's socket, and what only such a one can show."""

    async def test_no_descriptor_is_left_in_the_runner(self, place: Place, client: RunnerClient) -> None:
        await run(client, "true")
        folder = f"/proc/{place.runner_pid()}/fd"
        before = len(os.listdir(folder))
        for _ in range(3):
            passing, ear = await place.client(), Ear()
            listener = await passing.listen_tcp("", 0, ear)
            await passing.listen_private(ear)
            programs = [await caller(passing, listener.port) for _ in range(2)]
            sock, _ = await (await ear.next()).accept(), await ear.next()
            passing.close()
            sock.close()
            for program in programs:
                program.close()
        await until(lambda: len(os.listdir(folder)) <= before, "the runner's descriptors are closed")

    async def test_a_killed_runner_takes_its_listeners_along(self, place: Place) -> None:
        client = await place.client()
        tcp = await client.listen_tcp("", 0, Ear())
        unix = await client.listen_unix(path_in(place), Ear())
        first = place.runner_pid()
        os.kill(first, signal.SIGKILL)
        await client.closed()
        await tcp.close()
        with pytest.raises(PlatformError) as gone:
            await client.listen_tcp("", 0, Ear())
        assert gone.value.code is Code.UNAVAILABLE
        await until(lambda: place.serves(first), "the loop brought the runner back and it dialled")
        again = await place.client()
        assert (await again.listen_tcp("", tcp.port, Ear())).port == tcp.port
        await (await again.listen_unix(unix.path, Ear())).close()


# Status 3 when nobody listens.
_CALLER = """exec python3 -c "
import os, socket, sys, threading
where = {}
sock = socket.socket(socket.AF_INET if isinstance(where, int) else socket.AF_UNIX)
try:
    sock.connect(('127.0.0.1', where) if isinstance(where, int) else where)
except OSError:
    sys.exit(3)
def send():
    while data := os.read(0, 65536):
        sock.sendall(data)
    sock.shutdown(1)
threading.Thread(target=send, daemon=True).start()
while data := sock.recv(65536):
    os.write(1, data)
"
"""

_CROWD = """exec python3 -uc "
import socket, sys
crowd = [socket.create_connection(('127.0.0.1', {})) for _ in range({})]
print('all')
sys.stdin.read()
"
"""
