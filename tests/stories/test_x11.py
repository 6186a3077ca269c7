"""X11: a program in the container opens a window on a real X server, through OpenSSH's own client."""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.stories.test_reverse import master
from tests.support.house import House, Person, wait_for

# Speaks X11 (X Window System Protocol, appendix B) with the cookie that xauth knows for $DISPLAY: opens a
# window with the first argument's name, says so, and keeps it until its input ends. A second argument is
# taken for the cookie.
_CLIENT = """python3 -uc '
import os, socket, struct, subprocess, sys
number = int(os.environ["DISPLAY"].partition(":")[2].partition(".")[0])
listed = subprocess.run(["xauth", "list", "unix:%d" % number], capture_output=True, check=True).stdout.split()
kind, cookie = listed[1], bytes.fromhex((sys.argv[2:] or [listed[2].decode()])[0])
sock = socket.create_connection(("localhost", 6000 + number))
pad = lambda data: data + bytes(-len(data) % 4)
def take(count):
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            print("hung up")
            sys.exit(1)
        data += piece
    return data
sock.sendall(struct.pack("<BxHHHHxx", 108, 11, 0, len(kind), len(cookie)) + pad(kind) + pad(cookie))
status, _, _, length = struct.unpack("<BxHHH", take(8))
setup = take(4 * length)
if status != 1:
    print("refused")
    sys.exit(1)
base, vendor, formats = struct.unpack_from("<4xI8xHxxxB", setup)
(root,) = struct.unpack_from("<I", setup, 32 + vendor + -vendor % 4 + 8 * formats)
name = sys.argv[1].encode()
sock.sendall(struct.pack("<BBHIIhhHHHHII", 1, 0, 8, base, root, 0, 0, 9, 9, 0, 1, 0, 0))
units = 6 + len(pad(name)) // 4
sock.sendall(struct.pack("<BBHIIIBxxxI", 18, 0, units, base, 39, 31, 8, len(name)) + pad(name))
sock.sendall(struct.pack("<BxHI", 8, 2, base) + struct.pack("<BxH", 43, 1))
take(32)
print("shown on", os.environ["DISPLAY"], listed[2].decode())
sys.stdin.read()
' """


@dataclass
class Server:
    """An X server without a screen. `environment` makes a program use it."""

    display: str
    environment: dict[str, str]

    def windows(self) -> str:
        """Every window that it shows."""
        command = ["xwininfo", "-root", "-tree", "-display", self.display]
        shown = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return shown.stdout

    def start(self, person: Person, command: str, *options: str) -> subprocess.Popen[bytes]:
        """A command of hers with X11 forwarded, left running."""
        return person.start(command, options=options or ["-Y"], env=self.environment)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Xvfb, which takes nobody without its cookie."""
    with tempfile.TemporaryDirectory(prefix="x11-") as folder:
        authority = Path(folder, "authority")
        authority.touch()
        reader, writer = os.pipe()
        command = ["Xvfb", "-displayfd", str(writer), "-nolisten", "tcp", "-auth", str(authority)]
        subprocess.run(["xauth", "-qf", authority, "add", ":99", ".", secrets.token_hex(16)], check=True)
        process = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
        os.close(writer)
        with os.fdopen(reader) as told:
            display = f":{told.readline().strip()}"
        cookie = subprocess.run(
            ["xauth", "-f", authority, "list"], capture_output=True, check=True
        ).stdout.split()[2]
        subprocess.run(["xauth", "-qf", authority, "add", display, ".", cookie], check=True)
        yield Server(display, {**os.environ, "DISPLAY": display, "XAUTHORITY": str(authority)})
        process.terminate()
        process.wait()


def line(client: subprocess.Popen[bytes]) -> str:
    """The next line that it prints."""
    assert client.stdout is not None
    text = client.stdout.readline().decode().strip()
    assert text, client.communicate(timeout=20)
    return text


def end(*clients: subprocess.Popen[Any]) -> None:
    """Let them end, and wait for it."""
    for client in clients:
        client.communicate(timeout=20)


def listens_at_10(person: Person) -> bool:
    """Whether somebody listens in her container where display :10 is, at port 6010."""
    return b"0100007F:177A 00000000:0000 0A" in person.ssh("cat /proc/net/tcp").stdout


def test_a_window_is_seen_and_goes_with_its_program(alice: Person, server: Server) -> None:
    program = server.start(alice, _CLIENT + "'from inside'")
    assert line(program).startswith("shown on localhost:10.0 ")
    assert '"from inside"' in server.windows()
    end(program)
    wait_for(lambda: '"from inside"' not in server.windows(), "the window's end")
    wait_for(lambda: not listens_at_10(alice), "the display's end")
    assert alice.ssh("echo ${DISPLAY-none}").stdout == b"none\n"


def test_a_display_ends_with_its_session(
    alice: Person, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the connection goes on."""
    for name in ("DISPLAY", "XAUTHORITY"):
        monkeypatch.setenv(name, server.environment[name])
    with master(alice, "-Y") as through:
        for _ in range(2):
            assert through("-Y", command=["echo $DISPLAY"]).stdout == b"localhost:10.0\n"
            wait_for(lambda: not listens_at_10(alice), "the display's end")


def test_a_terminal_has_it_too(alice: Person, server: Server) -> None:
    program = server.start(alice, "echo $DISPLAY", "-Y", "-tt")
    assert line(program) == "localhost:10.0"
    end(program)


def test_a_client_that_does_not_trust_the_container_shows_its_windows(alice: Person, server: Server) -> None:
    """-X: the client has its X server make a cookie of less worth (Security Extension)."""
    program = server.start(alice, _CLIENT + "untrusted", "-X")
    assert line(program).startswith("shown on localhost:10.0 ")
    assert '"untrusted"' in server.windows()
    end(program)


def test_sessions_and_people_have_displays_of_their_own(home: House, alice: Person, server: Server) -> None:
    bob = home.people.get("bob") or home.add("bob")
    bob.ssh("true")
    names = {"one": alice, "two": alice, "three": bob}
    programs = [server.start(person, _CLIENT + name) for name, person in names.items()]
    shown = [line(program).split() for program in programs]
    assert {each[2] for each in shown[:2]} == {"localhost:10.0", "localhost:11.0"}
    assert shown[2][2] == "localhost:10.0"
    assert len({each[3] for each in shown}) == 3  # each client made a cookie of its own
    seen = server.windows()
    assert all(f'"{name}"' in seen for name in names)
    end(*programs)


def test_a_wrong_cookie_is_hung_up_on_by_the_client(alice: Person, server: Server) -> None:
    program = server.start(alice, _CLIENT + f"thief {'0' * 32}")
    assert line(program) in ("hung up", "refused")
    end(program)
    assert '"thief"' not in server.windows()


@pytest.mark.slow  # xauth tries for twenty seconds to lock a file that it cannot make
def test_without_a_cookie_there_is_no_display_and_the_session_goes_on(alice: Person, server: Server) -> None:
    alice.ssh("chmod 500 ~")
    try:
        program = server.start(alice, "echo ${DISPLAY-none}", "-Y", "-o", "LogLevel=INFO")
        out, err = program.communicate(timeout=60)
    finally:
        alice.ssh("chmod 700 ~")
    assert (program.returncode, out) == (0, b"none\n")
    assert b"The program xauth failed in your container" in err
    assert b"X11 forwarding request failed" in err
