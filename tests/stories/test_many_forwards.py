"""Five hundred channels on one connection, a stalled reader among them, and a container that floods."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.stories.test_reverse import reverse
from tests.support.house import House, Person, wait_for
from tests.support.near import free_port, listens, server

MANY = 500

# Speaks first; whoever then says "stall" is sent data without end, everybody else what she said, and the end.
_SERVER = """python3 -uc '
import asyncio
async def serve(reader, writer):
    writer.write(b"ready\\n")
    said = await reader.readline()
    while said == b"stall\\n":
        writer.write(bytes(65536))
        await writer.drain()
    writer.write(said * 1000)
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=600)
    print(server.sockets[0].getsockname()[1])
    await server.serve_forever()
asyncio.run(main())
' """

# Opens so many connections to a port, the first of which sends without end and is not read; the others each
# say who they are and read the answer. Prints how many answers were right.
_CALLERS = """python3 -uc '
import socket, sys, threading
port, many = int(sys.argv[1]), int(sys.argv[2])
stalled = socket.create_connection(("127.0.0.1", port))
def stall():
    stalled.sendall(b"stall\\n")
    while True:
        stalled.send(bytes(65536))
threading.Thread(target=stall, daemon=True).start()
callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(many - 1)]
for number, caller in enumerate(callers):
    caller.sendall(b"%d\\n" % number)
    caller.shutdown(1)
right = 0
for number, caller in enumerate(callers):
    heard = b""
    while data := caller.recv(65536):
        heard += data
    right += heard == b"%d\\n" % number * 1000
print(right)
' """

# Connects as often as it is told, as fast as it can, and lets go at once.
_FLOOD = """python3 -uc '
import socket, sys
for _ in range(int(sys.argv[2])):
    socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()
print("flooded")
' """


@contextmanager
def forward(person: Person) -> Iterator[int]:
    """`ssh -L` to the server in her container: the port on this side."""
    port = free_port()
    inside = person.start(_SERVER)
    assert inside.stdout is not None
    target = int(inside.stdout.readline())
    options = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{port}:127.0.0.1:{target}"]
    client = person.start(options=options)
    try:
        wait_for(lambda: listens(port), "the forward")
        yield port
    finally:
        for each in (client, inside):
            each.kill()
            each.communicate()


def heard(sock: socket.socket) -> bytes:
    """Everything until the end."""
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def test_a_stalled_reader_harms_none_of_five_hundred(alice: Person) -> None:
    """Through -L; no byte is lost of a server that speaks first."""
    with forward(alice) as port, ExitStack() as stack:
        address = ("127.0.0.1", port)
        callers = [stack.enter_context(socket.create_connection(address, 60)) for _ in range(MANY)]
        callers[0].sendall(b"stall\n")
        for number, caller in enumerate(callers[1:]):
            caller.sendall(b"%d\n" % number)
        for number, caller in enumerate(callers[1:]):
            assert heard(caller) == b"ready\n" + b"%d\n" % number * 1000


@pytest.mark.slow
def test_a_stalled_reader_on_this_side_harms_none_of_five_hundred(alice: Person) -> None:
    """Through -R."""
    over = threading.Event()

    def serve(peer: socket.socket) -> None:
        said = peer.makefile("rb").readline()
        if said == b"stall\n":
            over.wait(100)
        else:
            peer.sendall(said * 1000)

    with server(serve) as near, reverse(alice, f"0:127.0.0.1:{near}") as port:
        try:
            ended = alice.ssh(f"{_CALLERS} {port} {MANY}", seconds=100)
            assert ended.stdout == b"%d\n" % (MANY - 1), ended
        finally:
            over.set()


@pytest.mark.slow
def test_a_flood_from_inside_keeps_nobody_out(home: House, alice: Person) -> None:
    """Nobody serves on this side, so that each arrival is opened, refused and closed."""
    bob = home.people.get("bob") or home.add("bob")
    assert bob.ssh("true").returncode == 0
    with reverse(alice, f"0:127.0.0.1:{free_port()}") as port:
        flood = alice.start(f"{_FLOOD} {port} 2000")
        talk = bob.start("cat")
        assert talk.stdin is not None
        assert talk.stdout is not None
        words = 0
        while flood.poll() is None or not words:
            talk.stdin.write(b"still here\n")
            talk.stdin.flush()
            assert talk.stdout.readline() == b"still here\n"
            words += 1
        talk.communicate(timeout=20)
        assert flood.communicate()[0] == b"flooded\n"
        assert alice.ssh("echo fine").stdout == b"fine\n"
