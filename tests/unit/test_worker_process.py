"""A live worker with stock clients and no engine: what it holds, what it loads, and that it ends in time."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import asyncssh
import pytest

from gateway import proofs, verbs
from gateway.connections import Connection
from gateway.errors import Code, PlatformError
from gateway.messages import encode
from tests.support.front import WORKER_ID, Front, front, until

FORBIDDEN = {
    "sqlite3",
    "_sqlite3",
    "sqlite_utils",
    "docker",
    "pynvml",
    "gateway.broker",
    "gateway.reception",
    "gateway.sqlite",
    "gateway.docker",
    "gateway.hostkeys",
    "gateway.wiring",
    "admin",
}


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    """One worker; alice may log in."""
    async with front(tmp_path, monkeypatch) as made:
        made.add(1, "alice")
        yield made


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def test_what_a_worker_is_and_holds(here: Front) -> None:
    assert (await here.ssh("alice", "localhost", "true"))[0] == 0
    pid = here.live[0].process.pid
    shown = status(pid)
    assert set(shown["Uid"].split()) == set(shown["Gid"].split()) == {str(WORKER_ID)}
    assert (shown["Groups"], shown["NoNewPrivs"], int(shown["CapEff"], 16)) == ("", "1", 0)
    # 1 and 2 are the broker's own, for the log.
    entries = [entry for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.name not in ("1", "2")]
    names = []
    for entry in entries:
        with suppress(FileNotFoundError):  # closed meanwhile
            names.append(os.readlink(entry))
    allowed = ("socket:[", "pipe:[", "anon_inode:[", "/dev/null")
    assert [name for name in names if not name.startswith(allowed)] == []
    sockets = {name[8:-1] for name in names if name.startswith("socket:")}
    named = [line for line in Path("/proc/net/unix").read_text().splitlines() if len(line.split()) > 7]
    assert [line for line in named if line.split()[6] in sockets] == []


async def everything_a_client_does(here: Front) -> None:
    """Log in, run, be refused, dial, and talk nonsense."""
    run, out, _ = await here.ssh(
        "alice", "-o", "SendEnv=COLORTERM", "localhost", "echo $COLORTERM", env={"COLORTERM": "truecolor"}
    )
    assert (run, out) == (0, b"truecolor\n")
    assert (await here.ssh("alice", "-tt", "localhost", "stty size; exit 3"))[0] == 3
    shell = await here.ssh("alice", "-tt", "localhost", data=b"exit 4\n")
    assert shell[0] == 4
    assert b"hello" in shell[1]
    assert (await here.ssh("alice", "localhost", "cat", data=b"\0\xff" * 50_000))[1] == b"\0\xff" * 50_000
    assert (await here.ssh("alice", "localhost", b"printf %s '\xff\xfe\xe9'"))[1] == b"\xff\xfe\xe9"
    assert (await here.ssh("alice", "localhost", "kill -TERM $$"))[0] == 255
    assert (await here.ssh("alice", "-s", "localhost", "nosuch"))[0] != 0
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        dialling = asyncio.create_task(here.ssh("alice", "-W", f"127.0.0.1:{port}", "localhost"))
        server.setblocking(False)
        accepted, _ = await asyncio.get_running_loop().sock_accept(server)
        with accepted:
            accepted.sendall(b"from inside")
        assert (await dialling)[1] == b"from inside"
    assert (await here.ssh("alice", "-W", "127.0.0.1:1", "localhost"))[0] == 255
    assert (await here.ssh("alice", "-W", "no.such.name.invalid:1", "localhost"))[0] == 255
    (here.folder / "bob.key").write_bytes((here.folder / "alice.key").read_bytes())
    (here.folder / "bob.key").chmod(0o600)
    refused = await here.ssh("bob", "localhost", "true")
    assert refused[0] == 255
    assert b"Permission denied" in refused[2]
    for nonsense in (b"GET / HTTP/1.0\r\n\r\n", b"SSH-2.0-x\r\n" + os.urandom(4000), b"\xff" * 9000, b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(nonsense)
        writer.write_eof()
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"SSH-2.0-")
            with suppress(ConnectionError):
                await reader.read()
        writer.close()
    await strange_messages(here)


async def strange_messages(here: Front) -> None:
    """A client that is logged in and says what no stock client does."""
    async with asyncssh.connect(
        "127.0.0.1",
        here.port,
        username="alice",
        client_keys=[str(here.folder / "alice.key")],
        known_hosts=None,
    ) as client:
        done = await client.run("printf %s $1", encoding=None)
        assert done.exit_status == 0
        process = await client.create_process("sleep 30", term_type="xterm", encoding=None)
        process.change_terminal_size(100, 50)
        process.send_break(100)
        process.send_signal("TERM")
        process.close()
        await process.wait_closed()
        with suppress(asyncssh.Error):
            await client.start_sftp_client()
        listener = await client.forward_remote_port("", 0, "localhost", 1)
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
            assert await reader.read() == b""  # this client reaches nobody at port 1
            writer.close()
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.open_connection("\u0301bad\0host", 99)


async def test_a_worker_loads_nothing_later_and_nothing_with_power(here: Front) -> None:
    await everything_a_client_does(here)
    here.behind.refusal = PlatformError(Code.UNAVAILABLE, "The engine does not answer; try again.")
    code, out, err = await here.ssh("alice", "localhost", "true")
    assert (code, out) == (75, b"")
    assert err.splitlines() == [
        b"gpu-gateway: starting your container",
        b"gpu-gateway: The engine does not answer; try again.",
    ]
    worker = here.live[0]
    worker.close()
    await until(lambda: "MODULES" in here.log.read_text())
    log = here.log.read_text()
    assert re.findall(r"LATE IMPORT (.*)", log) == []
    assert "internal_error" not in log
    modules = set(log.partition("MODULES ")[2].partition("\n")[0].split())
    assert "gateway.ssh.connection" in modules
    assert modules & FORBIDDEN == set()


async def test_a_worker_ends_with_the_broker_and_says_goodbye(here: Front) -> None:
    running = asyncio.create_task(here.ssh("alice", "localhost", "echo in; sleep 60"))
    await until(lambda: here.connections.shown() and here.connections.shown()[0].sessions)
    worker = here.live[0]
    worker.close()
    code, _, err = await running
    assert code == 255
    assert b"The gateway is restarting; log in again." in err
    async with asyncio.timeout(10):
        assert await worker.process.wait() == 0


async def test_a_worker_that_is_killed_is_replaced_and_its_connections_forgotten(here: Front) -> None:
    running = asyncio.create_task(here.ssh("alice", "localhost", "sleep 60"))
    await until(lambda: here.connections.shown())
    killed = here.live[0].process.pid
    os.kill(killed, signal.SIGKILL)
    assert (await running)[0] == 255
    await until(lambda: not here.connections.shown())
    # Nobody is turned away meanwhile: the kernel keeps who comes until a worker is there.
    assert (await here.ssh("alice", "localhost", "echo back"))[1] == b"back\n"
    assert here.live[0].process.pid != killed


async def test_a_disabled_user_is_out_at_once_and_stays_out(here: Front) -> None:
    running = asyncio.create_task(here.ssh("alice", "localhost", "sleep 60"))
    await until(lambda: here.connections.shown() and here.connections.shown()[0].sessions)
    here.add(1, "alice", enabled=False)
    here.reception.judge()
    assert here.connections.shown() == []
    code, _, err = await running
    assert code == 255
    assert b"Your account was disabled; ask your operator." in err
    assert (await here.ssh("alice", "localhost", "true"))[0] == 255


async def test_who_is_shut_out_while_entering_gets_no_line(here: Front) -> None:
    here.behind.wait = asyncio.Event()
    running = asyncio.create_task(here.ssh("alice", "localhost", "touch " + str(here.folder / "ran")))
    await until(lambda: here.behind.entered)
    here.add(1, "alice", enabled=False)
    here.reception.judge()
    here.behind.wait.set()
    assert (await running)[0] == 255
    assert not (here.folder / "ran").exists()


async def test_a_worker_that_lies_gets_nothing(here: Front) -> None:
    """What a taken worker could send on its own socket, for a connection that it carries."""
    worker = here.live[0]
    sent: list[object] = []
    worker.send = lambda message, descriptors=(): sent.append(message)  # type: ignore[method-assign,assignment,misc]
    connection: Connection = here.connections.arrive(worker, "192.0.2.1:1", here.reception.moment())
    here.connections.may_sign(worker, connection.id, b"1" * 32)
    lies = proofs.Evidence(connection.id, "alice", b"", b"", b"")
    here.reception.receive(worker, encode(lies), 0)
    here.reception.receive(worker, encode(verbs.Enter(1, "0" * 32)), 0)
    await until(lambda: len(sent) == 2)
    assert sent[0] == proofs.Refused(connection.id, "denied", "Permission denied.")
    assert sent[1] == verbs.Failed(1, "denied", "Permission denied.")
    assert here.behind.entered == []


async def test_a_client_that_is_gone_before_it_is_served_leaves_nothing(here: Front) -> None:
    pid = here.live[0].process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(20):
            sock = socket.create_connection(("127.0.0.1", here.port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
        await until(lambda: len(here.connections.of_worker(here.live[0])) == 20)
    finally:
        os.kill(pid, signal.SIGCONT)
    await until(lambda: here.connections.of_worker(here.live[0]) == [])
    assert (await here.ssh("alice", "localhost", "true"))[0] == 0


async def test_too_many_keys_end_the_connection(here: Front) -> None:
    files = []
    for number in range(25):
        file = here.folder / f"other{number}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
        files += ["-i", str(file)]
    (here.folder / "carol.key").write_bytes((here.folder / "other0").read_bytes())
    (here.folder / "carol.key").chmod(0o600)
    code, _, said = await here.ssh("carol", *files, "localhost", "true")
    assert code == 255
    assert b"Too many authentication failures" in said


async def test_a_window_that_changes_while_the_container_starts_is_the_programs(here: Front) -> None:
    here.behind.wait = asyncio.Event()
    async with asyncssh.connect(
        "127.0.0.1",
        here.port,
        username="alice",
        client_keys=[str(here.folder / "alice.key")],
        known_hosts=None,
    ) as client:
        process = await client.create_process("stty size", term_type="xterm", term_size=(80, 24))
        await until(lambda: here.behind.entered)
        process.change_terminal_size(132, 50)
        # A global request is answered after everything that was sent before it.
        await client._make_global_request(b"keepalive@openssh.com")
        here.behind.wait.set()
        async with asyncio.timeout(20):
            done = await process.wait()
        assert "50 132" in str(done.stdout)


async def test_a_client_learns_every_host_key_and_can_rekey(here: Front) -> None:
    options = ["-o", "UpdateHostKeys=yes", "-o", "RekeyLimit=1M"]
    assert (await here.ssh("alice", "localhost", "true"))[0] == 0
    code, out, err = await here.ssh(
        "alice", *options, "localhost", "head -c 20M /dev/zero; cat >&2", data=b"x" * 10
    )
    assert (code, len(out)) == (0, 20 << 20)
    assert err == b"gpu-gateway: starting your container\n" + b"x" * 10
    known = (here.folder / "known_hosts").read_text()
    assert {line.split()[1] for line in known.splitlines()} == {
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ssh-rsa",
    }
