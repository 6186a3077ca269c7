"""Reverse forwards: whoever connects inside the container reaches a server beside the person's client."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support.house import House, Person, wait_for
from tests.support.near import free_port, greet_and_count, server

_STANDS = b"remote forward success"
_ALLOCATED = re.compile(rb"Allocated port (\d+) for remote forward")

# Connects, sends so many bytes and the end, and prints what it heard; 3 when nobody listens.
_CALL = """python3 -c '
import socket, sys
unix, where, size = len(sys.argv[1]) > 6, sys.argv[1], int(sys.argv[2])
sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
try:
    sock.connect(where if unix else ("127.0.0.1", int(where)))
except OSError:
    sys.exit(3)
assert sock.recv(6) == b"ready\\n"
sock.sendall(b"x" * size)
sock.shutdown(1)
print(sock.makefile().read())
' """


def call(person: Person, where: int | str, size: int = 1) -> str:
    """What a program in her container hears there; empty when nobody listens."""
    ended = person.ssh(f"{_CALL} {where} {size}")
    assert ended.returncode in (0, 3), ended
    return ended.stdout.decode().strip()


@pytest.fixture
def near() -> Iterator[int]:
    """A server on this side: its port."""
    with server(greet_and_count) as port:
        yield port


@contextmanager
def reverse(person: Person, *forwards: str) -> Iterator[int]:
    """`ssh -N -R ...` once the forwards stand: the port that it printed, if any."""
    options = ["-N", "-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=DEBUG1"]
    for forward in forwards:
        options += ["-R", forward]
    with tempfile.TemporaryFile() as log:
        client = person.start(options=options, stderr=log)
        try:
            text = wait_for(lambda: _standing(client, log, len(forwards)), "the forward")
            allocated = _ALLOCATED.search(text)
            yield int(allocated[1]) if allocated else 0
        finally:
            client.kill()
            client.communicate()


def _standing(client: subprocess.Popen[bytes], log: IO[bytes], count: int) -> bytes:
    text = os.pread(log.fileno(), 1 << 20, 0)
    assert client.poll() is None, text
    return text if text.count(_STANDS) == count else b""


@contextmanager
def master(
    person: Person, *more: str, **popen: Any
) -> Iterator[Callable[..., subprocess.CompletedProcess[bytes]]]:
    """An open ControlMaster, made with `more` options: a function that runs `ssh OPTIONS` through it."""
    path = person.folder / secrets.token_hex(4)
    options = ["-o", "LogLevel=INFO", "-S", str(path)]
    client = person.start(options=["-M", "-N", *options, *more], **popen)
    wait_for(path.exists, "the control socket")
    try:
        yield lambda *more, **words: person.ssh(*words.get("command", ()), options=[*options, *more])
    finally:
        client.kill()
        client.communicate()


def test_port_0_prints_a_port_that_leads_to_this_side(alice: Person, near: int) -> None:
    """The server speaks first, and answers after the end of what it was sent."""
    with reverse(alice, f"0:127.0.0.1:{near}") as port:
        for size in (1, 100_000, 3_000_000):
            assert call(alice, port, size) == f"got {size}"
    wait_for(lambda: call(alice, port) == "", "the end of the listener")


def test_any_host_means_the_containers_own_loopback(alice: Person, near: int) -> None:
    hosts = ("", "localhost:", "*:", "0.0.0.0:", "127.0.0.1:")
    forwards = [f"{host}{9110 + number}:127.0.0.1:{near}" for number, host in enumerate(hosts)]
    with reverse(alice, *forwards):
        assert call(alice, 9110) == call(alice, 9112) == "got 1"
        rows = [row.split() for row in alice.ssh("cat /proc/net/tcp").stdout.decode().splitlines()]
        ports = [f"{9110 + number:04X}" for number in range(len(hosts))]
        listening = [row[1] for row in rows if row[3] == "0A" and row[1][-4:] in ports]
        assert sorted(listening) == [f"0100007F:{port}" for port in ports]
        ours = Path("/proc/net/tcp").read_text()  # of the gateway's own machine
        assert not any(address in ours for address in listening)


def test_two_users_have_one_port_each(home: House, alice: Person, near: int) -> None:
    bob = home.people.get("bob") or home.add("bob")
    bob.ssh("true")
    his_server = server(lambda peer: peer.sendall(b"ready\nbob's own"))
    with his_server as his, reverse(alice, f"9101:127.0.0.1:{near}"), reverse(bob, f"9101:127.0.0.1:{his}"):
        assert (call(alice, 9101), call(bob, 9101)) == ("got 1", "bob's own")


def test_a_taken_port_fails_as_sshd_says_it(alice: Person, near: int) -> None:
    with reverse(alice, f"9102:127.0.0.1:{near}"):
        options = ["-R", f"9102:127.0.0.1:{near}", "-o", "LogLevel=INFO"]
        ended = alice.ssh("true", options=[*options, "-o", "ExitOnForwardFailure=yes"])
        assert ended.returncode == 255
        assert b"remote port forwarding failed for listen port 9102" in ended.stderr
        ended = alice.ssh("echo here", options=options)
        assert (ended.returncode, ended.stdout) == (0, b"here\n")
        assert b"remote port forwarding failed for listen port 9102" in ended.stderr
        assert call(alice, 9102) == "got 1"


def test_forwards_come_and_go_on_an_open_connection(alice: Person, near: int) -> None:
    with master(alice) as through:
        for _ in range(2):
            assert through("-O", "forward", "-R", f"9103:127.0.0.1:{near}").returncode == 0
            assert call(alice, 9103) == "got 1"
            assert through("-O", "cancel", "-R", f"9103:127.0.0.1:{near}").returncode == 0
            assert call(alice, 9103) == ""
        taken = through("-O", "forward", "-R", f"/etc/passwd:127.0.0.1:{near}")
        assert taken.returncode == 255
        assert b"not forwarded" in through("-O", "cancel", "-R", f"9199:127.0.0.1:{near}").stderr
        port = through("-O", "forward", "-R", f"0:127.0.0.1:{near}").stdout.decode().strip()
        assert call(alice, int(port)) == "got 1"
        assert through("-O", "cancel", "-R", f"0:127.0.0.1:{near}").returncode == 0
        assert call(alice, int(port)) == ""
        assert through(command=["echo alive"]).stdout == b"alive\n"


def test_a_socket_file_is_hers_alone_and_goes_with_the_connection(alice: Person, near: int) -> None:
    path = "/workspace/reverse.sock"
    with reverse(alice, f"{path}:127.0.0.1:{near}"):
        assert alice.ssh(f"stat -c '%a %F' {path}").stdout == b"600 socket\n"
        assert call(alice, path, 100_000) == "got 100000"
        second = alice.ssh("true", options=["-R", f"{path}:127.0.0.1:1", "-o", "ExitOnForwardFailure=yes"])
        assert second.returncode == 255
        assert call(alice, path) == "got 1"
    wait_for(lambda: alice.ssh(f"test -e {path}").returncode == 1, "the file's end")
    alice.ssh(f"python3 -c 'import socket; socket.socket(1).bind(\"{path}\")'")
    with reverse(alice, f"{path}:127.0.0.1:{near}"):
        assert call(alice, path) == "got 1"


def test_a_listener_counts_as_a_forward(home: House, alice: Person) -> None:
    with reverse(alice, "9104:127.0.0.1:1"):
        shown = [each for row in home.listed("session", "list") for each in row["sessions"]]
        assert [each["kind"] for each in shown if each["command"] == "-R localhost:9104"] == ["forward"]


def test_a_refusal_beside_the_client_is_told_inside(alice: Person) -> None:
    """Nobody listens on this side: the program inside reads the end, and the next one may find somebody."""
    port = free_port()
    with reverse(alice, f"9105:127.0.0.1:{port}"):
        heard = alice.ssh("exec 3<>/dev/tcp/127.0.0.1/9105; cat <&3; echo over")
        assert heard.stdout == b"over\n"
        with socket.create_server(("127.0.0.1", port)) as late:
            program = alice.start("exec 3<>/dev/tcp/127.0.0.1/9105; cat <&3")
            late.settimeout(20)
            peer = late.accept()[0]
            peer.sendall(b"here now")
            peer.close()
            assert program.communicate(timeout=20)[0] == b"here now"


def test_a_killed_runner_ends_the_listener_and_not_the_connection(alice: Person, near: int) -> None:
    with master(alice) as through:
        forward = ("-R", f"9106:127.0.0.1:{near}")
        assert through("-O", "forward", *forward).returncode == 0
        alice.ssh("pkill -KILL -f runner.pyz")
        wait_for(lambda: alice.ssh("true").returncode == 0, "the runner's return")
        assert call(alice, 9106) == ""
        assert through("-O", "cancel", *forward).returncode == 0  # the client does not ask for an answer
        assert through("-O", "forward", *forward).returncode == 0
        assert call(alice, 9106) == "got 1"


def test_an_operator_ends_a_listener(home: House, alice: Person, near: int) -> None:
    """Nobody is listening inside any more; the connection that asked for it lives."""
    with reverse(alice, f"0:localhost:{near}") as port:
        assert call(alice, port) != ""
        row, what = wait_for(lambda: _listed(home, "-R localhost:0"), "the listener in the list")
        home.admin("session", "kill", what["id"])
        wait_for(lambda: call(alice, port) == "", "the listener's end")
        wait_for(lambda: _listed(home, "-R localhost:0") is None, "its end in the list")
        assert row["id"] in {each["id"] for each in home.listed("session", "list")}


def _listed(home: House, command: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The connection, and its forward, that `session list` shows with these words."""
    rows = home.listed("session", "list")
    found = [(row, each) for row in rows for each in row["sessions"] if each["command"] == command]
    return found[0] if found else None
