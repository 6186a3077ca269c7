"""Forwards reach the container's own network and nothing of the gateway's."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.house import House, Person, wait_for

_SERVER = (
    "python3 -c 'import socket,sys\n"
    's=socket.socket(); s.bind(("127.0.0.1",0)); s.listen(50)\n'
    "print(s.getsockname()[1], flush=True)\n"
    "while True:\n"
    ' c,_=s.accept(); d=b""\n'
    " while True:\n"
    "  p=c.recv(65536)\n"
    "  if not p: break\n"
    "  d+=p\n"
    ' c.sendall(b"got %d" % len(d)); c.close()\''
)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    """Whether somebody listens there, asked of the kernel: a connection would be forwarded."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1] == f"0100007F:{port:04X}" and row[3] == "0A" for row in rows)


@contextmanager
def _forward(person: Person, target: str) -> Iterator[int]:
    port = _free_port()
    client = person.start("-N", options=["-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{port}:{target}"])
    try:
        wait_for(lambda: _listens(port), "the forward")
        yield port
    finally:
        client.kill()
        client.communicate()


@contextmanager
def _server(person: Person) -> Iterator[int]:
    client = person.start(_SERVER)
    try:
        assert client.stdout is not None
        yield int(client.stdout.readline())
    finally:
        client.kill()
        client.communicate()


def test_a_forward_reaches_a_server_in_the_container_with_half_closes(alice: Person) -> None:
    """The server answers after our end of file, through -L."""
    with _server(alice) as server, _forward(alice, f"127.0.0.1:{server}") as port:
        for size in (1, 100_000, 3_000_000):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
                sock.sendall(b"x" * size)
                sock.shutdown(socket.SHUT_WR)
                assert sock.recv(100) == b"got %d" % size


def test_the_gateways_own_network_is_out_of_reach(alice: Person) -> None:
    """127.0.0.1 is the container's: a server on the gateway's machine hears nothing."""
    with socket.socket() as canary:
        canary.bind(("127.0.0.1", 0))
        canary.listen()
        canary.setblocking(False)
        ended = alice.ssh(options=["-o", "LogLevel=INFO", "-W", f"127.0.0.1:{canary.getsockname()[1]}"])
        assert ended.returncode == 255
        assert b"open failed: connect failed" in ended.stderr
        try:
            canary.accept()
        except BlockingIOError:
            return
        raise AssertionError("the canary was reached")


def test_a_refused_forward_leaves_the_connection_alive(alice: Person) -> None:
    """Reason 2, and a session on the same connection goes on."""
    client = alice.start(
        "cat", options=["-o", "LogLevel=ERROR", "-L", f"{(port := _free_port())}:127.0.0.1:9"]
    )
    assert client.stdin is not None
    assert client.stdout is not None
    wait_for(lambda: _listens(port), "the forward")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        assert sock.recv(10) == b""
    client.stdin.write(b"alive\n")
    client.stdin.flush()
    assert client.stdout.readline() == b"alive\n"
    client.communicate(timeout=20)


def test_an_operator_ends_one_forward(home: House, alice: Person) -> None:
    """The forwarded connection is cut, and the client that was nothing but it ends."""
    with _server(alice) as port:
        before = {each["id"] for each in _forwards(home, alice)}
        with alice.start(options=["-W", f"localhost:{port}"]) as client:
            try:
                (cut,) = wait_for(
                    lambda: [each for each in _forwards(home, alice) if each["id"] not in before],
                    "the forward in the list",
                )
                assert cut["command"] == f"localhost:{port}"
                home.admin("session", "kill", cut["id"])
                client.wait(20)
            finally:
                client.kill()
                client.communicate()
        assert cut["id"] not in {each["id"] for each in _forwards(home, alice)}


def _forwards(home: House, person: Person) -> list[dict[str, Any]]:
    """Those that `session list` shows of her."""
    mine = [row for row in home.listed("session", "list") if row["user"] == person.name]
    return [each for row in mine for each in row["sessions"] if each["kind"] == "forward"]
