"""People bring their own SSH clients: each independent one does its five things with the gateway.

Every client here is the real program or library, as Debian, PyPI or npm have it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.stories.test_agent import an_agent
from tests.stories.test_reverse import call
from tests.support.house import Person, wait_for
from tests.support.near import greet_and_count, server
from tests.support.stacks import commands, libraries
from tests.support.stacks.stack import Login, Stack, Words
from tests.support.terminal import Terminal

QUICK = (commands.OPENSSH, commands.PUTTY, commands.DROPBEAR, commands.RSYNC)
SLOW = (
    libraries.ASYNCSSH,
    commands.PSCP,
    commands.PSFTP,
    commands.CURL_SFTP,
    commands.CURL_SCP,
    commands.LFTP,
    commands.SSHFS,
    libraries.LIBSSH,
    libraries.PARAMIKO,
    libraries.FABRIC,
    libraries.SSH2,
)
MEBIBYTE = bytes(range(256)) * 4096

_COUNTING_SERVER = """\
import socket
unix = PATH and socket.socket(socket.AF_UNIX)
if unix:
    unix.bind(PATH)
    unix.listen()
with unix or socket.create_server(("127.0.0.1", 0)) as server:
    print(0 if unix else server.getsockname()[1], flush=True)
    while True:
        connection, _ = server.accept()
        with connection:
            size, last = 0, b""
            while not last.endswith(b"END") and (data := connection.recv(65536)):
                size, last = size + len(data), last[-2:] + data
            connection.sendall(b"got %d" % size)
"""


def who_can(verb: str) -> list[Any]:
    """The clients that do it, as parameters of a test."""
    slow = [pytest.mark.slow, pytest.mark.timeout(600)]
    return [
        pytest.param(stack, marks=slow if stack in SLOW else [], id=stack.name.replace(" ", "-"))
        for stack in (*QUICK, *SLOW)
        if getattr(stack, verb) is not None
    ]


@pytest.fixture(scope="module")
def login(alice: Person, tmp_path_factory: pytest.TempPathFactory) -> Login:
    """Hers, with her key as PuTTY and dropbear spell it."""
    folder = tmp_path_factory.mktemp("login")
    for name in ("id", "id.pub"):
        (folder / name).write_bytes((alice.folder / name).read_bytes())
    (folder / "id").chmod(0o600)
    for words in (
        ["puttygen", "id", "-o", "id.ppk"],
        ["dropbearconvert", "openssh", "dropbear", "id", "id.dropbear"],
    ):
        subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=30)
    key = alice.folder / "known_hosts"
    shown = subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True)
    fingerprint = next(line.split()[1] for line in shown.stdout.splitlines() if "ED25519" in line)
    return Login("127.0.0.1", alice.house.port, alice.name, fingerprint, alice.config, folder)


def environment(login: Login) -> dict[str, str]:
    """This process's, with a home where a client may leave what it remembers, and nobody's agent."""
    return {**os.environ, "HOME": str(login.folder), "SSH_AUTH_SOCK": ""}


def ended(login: Login, words: Words, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """A client's command line, run to its end."""
    return subprocess.run(words, input=stdin, capture_output=True, timeout=60, env=environment(login))


@pytest.mark.parametrize("stack", who_can("run"))
def test_a_command_has_its_output_and_its_status(stack: Stack, login: Login) -> None:
    assert stack.run
    for status in (0, 7, 254):
        done = ended(login, stack.run(login, f"echo out; exit {status}"))
        assert (done.returncode, done.stdout) == (status, b"out\n"), done.stderr


@pytest.mark.parametrize("stack", [each for each in who_can("run") if not each.values[0].text])
def test_a_mebibyte_goes_in_and_comes_back(stack: Stack, login: Login) -> None:
    """Both directions at once, and the end of the input arrives."""
    assert stack.run
    done = ended(login, stack.run(login, "cat; echo end"), MEBIBYTE)
    assert (done.returncode, len(done.stdout)) == (0, len(MEBIBYTE) + 4), done.stderr
    assert done.stdout == MEBIBYTE + b"end\n"


@pytest.mark.parametrize("stack", who_can("terminal"))
def test_a_terminal_has_a_size_and_takes_what_is_typed(stack: Stack, login: Login) -> None:
    assert stack.terminal
    words = stack.terminal(login, 'tty; stty size; read line; echo "<$line>"; exit 5')
    with Terminal(["env", f"HOME={login.folder}", *words], columns=100, rows=30) as terminal:
        terminal.wait_for(r"/dev/pts/\d+\r+\n30 100\r+\n")
        terminal.type("typed\n")
        terminal.wait_for("<typed>")
        assert terminal.status() == 5


@pytest.mark.parametrize("stack", who_can("put"))
def test_a_file_goes_there_and_comes_back(stack: Stack, login: Login, alice: Person, tmp_path: Path) -> None:
    """Its bytes are counted by somebody else's hash, there; another file comes back."""
    if stack is commands.SSHFS:
        may_mount()
    assert stack.put
    assert stack.get
    here, there = tmp_path / "here", f"file-{secrets.token_hex(4)}"
    here.write_bytes(MEBIBYTE + there.encode())
    done = ended(login, stack.put(login, str(here), there))
    assert done.returncode == 0, done.stderr
    assert alice.ssh(f"sha256sum < {there}").stdout.split()[0] == digest(here)
    made = alice.ssh(f"head -c 1234567 /dev/urandom > {there}-2; sha256sum < {there}-2").stdout.split()[0]
    done = ended(login, stack.get(login, f"{there}-2", str(tmp_path / "back")))
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "back") == made


def digest(file: Path) -> bytes:
    """As sha256sum prints it."""
    return hashlib.sha256(file.read_bytes()).hexdigest().encode()


def may_mount() -> None:
    """Skips where this machine's kernel has no FUSE for us."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"this machine's kernel gives no /dev/fuse: {error}")


@contextmanager
def counting(alice: Person, path: str = "") -> Iterator[int]:
    """A server in her container that says how many bytes came before their end or the word END.

    On a socket file, or on a port, which is given.
    """
    server = alice.start("exec python3 -c 'exec(input())'")
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        server.stdin.write(f"exec({_COUNTING_SERVER!r}, {{'PATH': {path!r}}})\n".encode())
        server.stdin.flush()
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("stack", who_can("tunnel"))
def test_a_forward_reaches_the_container_and_carries_both_ends(
    stack: Stack, login: Login, alice: Person
) -> None:
    """A server that answers only when its client has ended its half, or says so when it cannot."""
    assert stack.tunnel
    data = MEBIBYTE + (b"END" if stack.text else b"")
    with counting(alice) as port:
        done = ended(login, stack.tunnel(login, port), data)
    assert done.stdout == b"got %d" % len(data), done.stderr


@pytest.mark.parametrize("stack", who_can("back"))
def test_a_reverse_forward_listens_in_the_container(stack: Stack, login: Login, alice: Person) -> None:
    """A server here speaks first, and answers a program there after the end of what that sent."""
    assert stack.back
    there = 20_000 + secrets.randbelow(40_000)
    with server(greet_and_count) as here:
        words = stack.back(login, there, here)
        with subprocess.Popen(words, stdin=subprocess.PIPE, env=environment(login)) as client:
            try:
                heard = wait_for(lambda: call(alice, there, 300_000), f"{stack.name}'s forward")
            finally:
                client.kill()
    assert heard == "got 300000"


@pytest.mark.parametrize("stack", who_can("agent"))
def test_an_agent_is_reached_from_the_container(stack: Stack, login: Login) -> None:
    """It shows its key, and signs with it."""
    assert stack.agent
    script = "ssh-add -L > ~/agent.pub && ssh-add -T ~/agent.pub && cat ~/agent.pub"
    with an_agent() as agent:
        done = subprocess.run(
            stack.agent(login, script),
            env={**environment(login), "SSH_AUTH_SOCK": str(agent.socket)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout.decode()) == (0, agent.public), done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ssh2_finds_the_extensions_that_it_knows_of_openssh(login: Login, alice: Person) -> None:
    """A client that was left strict reaches socket files because of the name that we give ourselves."""
    path = f"/tmp/{secrets.token_hex(4)}.sock"
    with counting(alice, path):
        done = ended(login, libraries.ssh2_socket(login, path), MEBIBYTE)
    assert (done.returncode, done.stdout) == (0, b"got %d" % len(MEBIBYTE)), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["ssh", "plink"])
def test_git_pushes_and_clones(transport: str, login: Login, alice: Person, tmp_path: Path) -> None:
    """Through OpenSSH and through PuTTY's plink."""
    address, command = {
        "ssh": ("gw", f"ssh -F {login.config}"),
        "plink": (
            f"{login.user}@{login.host}",
            f"plink -batch -P {login.port} -hostkey {login.fingerprint} -i {login.folder}/id.ppk",
        ),
    }[transport]
    name = f"repository-{secrets.token_hex(4)}.git"

    def git(*words: str) -> str:
        own = {"GIT_SSH_COMMAND": command, "GIT_SSH_VARIANT": "simple", **identity()}
        done = subprocess.run(
            ["git", *words], cwd=tmp_path, env={**environment(login), **own}, capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    alice.ssh(f"git init -q --bare {name}")
    git("init", "-q", "-b", "main", "mine")
    (tmp_path / "mine" / "data").write_bytes(MEBIBYTE)
    git("-C", "mine", "add", "data")
    git("-C", "mine", "commit", "-q", "-m", "first")
    git("-C", "mine", "push", "-q", f"{address}:{name}", "main")
    git("clone", "-q", "-b", "main", f"{address}:{name}", "again")
    assert (tmp_path / "again" / "data").read_bytes() == MEBIBYTE
    assert git("-C", "again", "rev-parse", "HEAD") == git("-C", "mine", "rev-parse", "HEAD")


def identity() -> dict[str, str]:
    """Who commits."""
    return {
        f"GIT_{role}_{what}": "alice@example.org"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }


def test_what_a_client_cannot_do_is_said() -> None:
    """No hole in the table is there by mistake."""
    for stack in (*QUICK, *SLOW):
        verbs = (stack.run, stack.terminal, stack.put, stack.get, stack.tunnel, stack.back)
        assert bool(stack.lacks) == (None in verbs), stack.name
