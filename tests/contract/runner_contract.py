"""What every runner must do, wherever it runs and however it is reached.

Owns the cases; `test_runner_contract` runs them in four places.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import Code, PlatformError
from gateway.runner.client import RunnerClient
from gateway.sessions import Exit, Kind, SessionRequest, Window
from tests.support.runner_places import (
    DEADLINE,
    Place,
    exec_,
    finish,
    pty,
    read_all,
    read_until,
    run,
    until,
    until_ended,
    write_all,
)


class RunnerContract:
    """Subclasses provide the fixture `place`."""

    @pytest.fixture
    async def client(self, place: Place) -> RunnerClient:
        return await place.client()

    @pytest.mark.parametrize("status", [0, 1, 2, 126, 127, 128, 143, 254, 255])
    async def test_exit_status(self, client: RunnerClient, status: int) -> None:
        assert (await run(client, f"exit {status}")).exit == Exit(status=status)

    @pytest.mark.parametrize("name", ["TERM", "KILL", "HUP", "USR1"])
    async def test_death_by_signal(self, client: RunnerClient, name: str) -> None:
        assert (await run(client, f"kill -{name} $$")).exit == Exit(signal=name)

    async def test_a_signal_reaches_the_whole_group(self, client: RunnerClient) -> None:
        execution = await client.start(exec_("sleep 1000 & echo up; wait"))
        await read_until(execution.stdout, b"up")
        execution.signal("TERM")
        assert (await finish(execution)).exit == Exit(signal="TERM")

    async def test_an_unknown_signal_is_passed_over(self, client: RunnerClient) -> None:
        execution = await client.start(exec_("read line; exit 3"))
        for name in ("NOSUCH", "", "x" * 1000, "a\0b", "STOP"):
            execution.signal(name)
        assert (await finish(execution, b"go\n")).exit == Exit(status=3)

    async def test_stdout_and_stderr_stay_apart(self, client: RunnerClient) -> None:
        done = await run(client, "echo out; echo err >&2")
        assert (done.out, done.err) == (b"out\n", b"err\n")

    async def test_stdout_can_be_opened_by_name(self, client: RunnerClient) -> None:
        done = await run(
            client, "echo one > /dev/stdout; echo two > /dev/stderr; cat < /dev/stdin", b"three\n"
        )
        assert (done.out, done.err) == (b"one\nthree\n", b"two\n")

    async def test_a_mebibyte_comes_back(self, client: RunnerClient) -> None:
        data = os.urandom(1024 * 1024)
        assert (await run(client, "cat", data)).out == data

    async def test_half_close_reaches_the_program(self, client: RunnerClient) -> None:
        assert (await run(client, "wc -c; echo still", b"x" * 70000)).out.split() == [b"70000", b"still"]

    async def test_a_long_command_of_foreign_bytes(self, client: RunnerClient) -> None:
        text = bytes(byte for byte in range(1, 256) if byte not in b"'\n") * 400
        done = await run(client, exec_(b"printf %s '" + text + b"'"))
        assert done.out == text

    async def test_a_command_above_the_limit_is_a_sentence(self, client: RunnerClient) -> None:
        with pytest.raises(PlatformError) as refused:
            await client.start(exec_(b"true " + b"x" * 140_000))
        assert refused.value.code is Code.INVALID
        assert (await run(client, "echo fine")).out == b"fine\n"

    async def test_environment(self, client: RunnerClient) -> None:
        env = {"GREETING": "h\udcffi", "LD_PRELOAD": "/x.so", "NVIDIA_VISIBLE_DEVICES": "all", "HOME": "/x"}
        env.update(LANG="xx_XX.UTF-8", LC_TIME="yy_YY", LC_NUMERIC="C.UTF-8", PATH="/x", SHELL="/x", USER="x")
        out = (await run(client, exec_("env -0", env))).out
        seen = dict(item.split(b"=", 1) for item in out.split(b"\0") if item)
        assert seen[b"GREETING"] == b"h\xffi"
        assert seen[b"LANG"] == seen[b"LC_NUMERIC"] == b"C.UTF-8"
        assert not {b"LD_PRELOAD", b"LC_TIME", b"SSH_TTY"} & seen.keys()
        assert seen.get(b"NVIDIA_VISIBLE_DEVICES", b"void") == b"void"  # the image's own, or none
        assert b"/x" not in (seen[b"HOME"], seen[b"PATH"], seen[b"SHELL"], seen[b"USER"])
        assert seen[b"USER"] == seen[b"LOGNAME"]
        assert seen[b"MAIL"] == b"/var/mail/" + seen[b"USER"]

    async def test_a_program_owes_nothing_to_the_runner(self, client: RunnerClient) -> None:
        script = (
            "umask; pwd; cat /proc/$$/oom_score_adj; ps -o sid= -p $$; echo $$; echo $0; echo $HOME;"
            "exec grep -E 'Sig(Blk|Ign)' /proc/self/status"
        )
        lines = (await run(client, script)).out.decode().splitlines()
        umask, directory, score, session, pid, name, home, blocked, ignored = lines
        assert (umask, directory, session.strip(), name) == ("0022", home, pid, "bash")
        assert int(score) == min(1000, int(Path("/proc/self/oom_score_adj").read_text()) + 200)
        # glibc's posix_spawn ignores its own two signals, 32 and 33, in whatever it starts.
        assert (int(blocked.split()[1], 16), int(ignored.split()[1], 16) & ~0x180000000) == (0, 0)

    async def test_a_program_inherits_no_descriptor(self, client: RunnerClient) -> None:
        others = [await client.start(exec_("sleep 1000")), await client.start(pty("sleep 1000"))]
        # The fourth is the listing's own.
        assert (await run(client, "exec ls /proc/self/fd")).out.split() == [b"0", b"1", b"2", b"3"]
        for other in others:
            other.signal("KILL")
            await asyncio.wait_for(other.wait(), DEADLINE)
            other.close()

    async def test_a_shell_without_terminal_is_a_login_shell(self, client: RunnerClient) -> None:
        done = await finish(
            await client.start(SessionRequest(Kind.SHELL)), b"echo $0; shopt -q login_shell && echo yes\n"
        )
        assert done.out.split() == [b"-bash", b"yes"]

    async def test_sftp_speaks_without_a_shell(self, client: RunnerClient) -> None:
        execution = await client.start(SessionRequest(Kind.SUBSYSTEM, b"sftp"))
        assert execution.stdin is not None
        await write_all(execution.stdin, b"\0\0\0\x05\x01\0\0\0\x03")
        await read_until(execution.stdout, b"\x02\0\0\0\x03")
        assert (await finish(execution)).exit == Exit(status=0)

    async def test_a_subsystem_is_not_signalled(self, client: RunnerClient) -> None:
        execution = await client.start(SessionRequest(Kind.SUBSYSTEM, b"sftp"))
        execution.signal("KILL")
        assert (await finish(execution)).exit == Exit(status=0)

    async def test_a_greeting_comes_before_the_programs_first_word(self, client: RunnerClient) -> None:
        execution = await client.start(replace(pty("echo own"), greeting="hello\nyou\n"))
        assert await read_all(execution.stdout) == b"hello\r\nyou\r\nown\r\n"

    async def test_an_unknown_subsystem_is_not_found(self, client: RunnerClient) -> None:
        with pytest.raises(PlatformError) as refused:
            await client.start(SessionRequest(Kind.SUBSYSTEM, b"no\xffsuch"))
        assert refused.value.code is Code.NOT_FOUND

    async def test_a_background_job_keeps_stdout_after_the_exit(self, client: RunnerClient) -> None:
        execution = await client.start(exec_("{ read line; echo late $line; } <&0 & exit 4"))
        assert await asyncio.wait_for(execution.wait(), DEADLINE) == Exit(status=4)
        assert (await finish(execution, b"word\n")).out == b"late word\n"

    async def test_terminal(self, client: RunnerClient) -> None:
        execution = await client.start(pty("tty; stty size; echo $TERM $SSH_TTY; stty -a"))
        out = (await read_all(execution.stdout)).decode()
        device, size, names = out.splitlines()[:3]
        assert re.fullmatch(r"/dev/pts/\d+", device)
        assert (size, names) == ("24 80", f"xterm {device}")
        assert await asyncio.wait_for(execution.wait(), DEADLINE) == Exit(status=0)
        execution.close()

    async def test_terminal_modes(self, client: RunnerClient) -> None:
        modes = {1: 7, 3: 8, 5: 255, 42: 1, 53: 0, 70: 0, 128: 9600, 129: 9600, 200: 1, 91: 1}
        execution = await client.start(pty("stty -a", modes))
        out = b" " + b" ".join((await read_all(execution.stdout)).split()) + b" "
        for piece in (
            b"9600 baud",
            b"intr = ^G;",
            b"erase = ^H;",
            b"eof = <undef>;",
            b" iutf8 ",
            b" -echo ",
            b" -opost ",
        ):
            assert piece in out
        execution.close()

    async def test_a_break_disturbs_nothing(self, client: RunnerClient) -> None:
        execution = await client.start(pty("read x; echo got $x"))
        execution.send_break()
        assert execution.stdin is not None
        await write_all(execution.stdin, b"word\n")
        assert b"got word" in await read_all(execution.stdout)
        execution.close()

    async def test_a_resize_is_signalled(self, client: RunnerClient) -> None:
        execution = await client.start(
            pty("trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.1; done")
        )
        await read_until(execution.stdout, b"up")
        execution.resize(Window(132, 2**32 - 1))
        await read_until(execution.stdout, b"65535 132")
        assert await asyncio.wait_for(execution.wait(), DEADLINE) == Exit(status=0)
        execution.close()

    async def test_control_c_interrupts_the_foreground_job(self, client: RunnerClient) -> None:
        execution = await client.start(pty())
        assert execution.stdin is not None
        # Each step waits: a shell that does not read yet may flush what was typed, and the job that
        # is to be interrupted says itself that it is in the foreground.
        await write_all(execution.stdin, b"PS1=rea''dy:\n")
        await read_until(execution.stdout, b"ready:")
        await write_all(execution.stdin, b"sh -c 'echo st\"\"art; exec sleep 1000'\n")
        await read_until(execution.stdout, b"start\r\n")
        await write_all(execution.stdin, b"\x03")
        await read_until(execution.stdout, b"ready:")
        await write_all(execution.stdin, b"echo st''atus $?\n")
        await read_until(execution.stdout, b"status 130")
        await write_all(execution.stdin, b"exit 5\n")
        await read_all(execution.stdout)
        assert await asyncio.wait_for(execution.wait(), DEADLINE) == Exit(status=5)
        execution.close()

    async def test_a_terminal_ends_with_its_leader_whoever_holds_it(self, client: RunnerClient) -> None:
        execution = await client.start(pty("(trap '' HUP; echo held; exec sleep 5) & read x; exit 6"))
        await read_until(execution.stdout, b"held")
        assert execution.stdin is not None
        await write_all(execution.stdin, b"go\n")
        await asyncio.wait_for(read_all(execution.stdout), 4)
        assert await asyncio.wait_for(execution.wait(), 4) == Exit(status=6)
        execution.close()

    async def test_all_output_of_a_terminal_arrives_before_the_exit(self, place: Place) -> None:
        """The leader is gone while its last words wait in the pty for somebody to read them."""
        mark = uuid.uuid4().hex
        client = await place.client()
        execution = await client.start(pty(_LAST_WORDS.format(f"{place.directory}/{mark}")))
        out = await read_until(execution.stdout, b"start")
        await until_ended(place, mark)
        out += await read_all(execution.stdout)
        written = (await run(client, f"cat {place.directory}/{mark}")).out
        assert len(out) - len("start") == int(written) > 0
        assert await asyncio.wait_for(execution.wait(), DEADLINE) == Exit(status=6)
        execution.close()

    async def test_closing_a_terminal_hangs_it_up(self, client: RunnerClient) -> None:
        execution = await client.start(pty("sleep 1000"))
        execution.close()
        assert await asyncio.wait_for(execution.wait(), DEADLINE) == Exit(signal="HUP")

    async def test_closing_without_terminal_breaks_the_pipe_and_signals_nobody(
        self, client: RunnerClient
    ) -> None:
        execution = await client.start(exec_("while echo x; do :; done 2>/dev/null; exit 9"))
        await read_until(execution.stdout, b"x")
        execution.close()
        ended = await asyncio.wait_for(execution.wait(), DEADLINE)
        assert ended in (Exit(signal="PIPE"), Exit(status=9))

    async def test_output_that_nobody_reads_breaks_the_pipe_alone(self, client: RunnerClient) -> None:
        execution = await client.start(exec_("read x; echo $x >&2; while :; do echo lost; done"))
        execution.close_stdout()
        execution.close_stdout()
        assert execution.stdin is not None
        assert execution.stderr is not None
        await write_all(execution.stdin, b"heard\n")
        assert await read_all(execution.stderr) == b"heard\n"
        assert await asyncio.wait_for(execution.wait(), DEADLINE) == Exit(signal="PIPE")
        execution.close()

    async def test_a_terminal_cannot_be_closed_by_halves(self, client: RunnerClient) -> None:
        execution = await client.start(pty("read x; echo got $x"))
        assert execution.stdin is not None
        await write_all(execution.stdin, b"word\n")
        execution.close_stdin()
        execution.close_stdout()
        assert b"got word" in await read_all(execution.stdout)
        execution.close()

    async def test_a_lost_connection_is_sshds_and_nothing_more(self, place: Place) -> None:
        mark = uuid.uuid4().hex
        client = await place.client()
        shell = await client.start(pty(f"exec -a fg-{mark} sleep 1000"))
        tmux = await client.start(
            pty(f"setsid -f bash -c 'exec -a setsid-{mark} sleep 1000' < /dev/null; echo up; read x")
        )
        kept = await client.start(
            pty(f"(trap '' HUP; exec -a nohup-{mark} sleep 1000) & sleep 0.2; echo up; read x")
        )
        plain = await client.start(exec_(f"exec -a plain-{mark} sleep 1000"))
        for execution in (tmux, kept):
            await read_until(execution.stdout, b"up")
        await until(lambda: len(place.processes(mark)) >= 4, "all four run")
        client.close()
        try:
            await until(lambda: not place.processes(f"fg-{mark}"), "the foreground job is hung up")
            for name in ("setsid-", "nohup-", "plain-"):
                assert place.processes(name + mark), name
        finally:
            for execution in (shell, tmux, kept, plain):
                execution.close()
            for pid in place.processes(f"-{mark}"):
                with suppress(ProcessLookupError):  # it may be ending by itself
                    os.kill(pid, signal.SIGKILL)

    async def test_dial(self, client: RunnerClient) -> None:
        server = await client.start(exec_(_SERVER.format("AF_INET", "('127.0.0.1', 0)")))
        port = int(await read_until(server.stdout, b"\n"))
        for host in ("127.0.0.1", "localhost", "LOCALHOST", "::ffff:127.0.0.1"):
            with await client.dial_tcp(host, port) as sock:
                await write_all(sock.fileno(), b"over " + host.encode())
                sock.shutdown(1)
                assert await read_all(sock.fileno()) == b"OVER " + host.upper().encode()
        server.signal("KILL")
        await finish(server)

    async def test_dial_a_name(self, client: RunnerClient) -> None:
        """Asked of the container's own resolver, again and again: its answer must never be missed."""
        name = (await run(client, "hostname")).out.decode().strip()
        server = await client.start(exec_(_SERVER.format("AF_INET", "('0.0.0.0', 0)")))
        port = int(await read_until(server.stdout, b"\n"))
        for _ in range(10):
            with await client.dial_tcp(name, port) as sock:
                sock.shutdown(1)
                assert await read_all(sock.fileno()) == b""
        server.signal("KILL")
        await finish(server)

    async def test_dial_a_path(self, client: RunnerClient, place: Place) -> None:
        path = f"{place.directory}/{uuid.uuid4().hex[:8]}"
        server = await client.start(exec_(_SERVER.format("AF_UNIX", repr(path))))
        await read_until(server.stdout, b"\n")
        with await client.dial_unix(path) as sock:
            data = b"a" * 3_000_000
            sending = asyncio.create_task(write_all(sock.fileno(), data))
            sending.add_done_callback(lambda _: sock.shutdown(1))
            assert await read_all(sock.fileno()) == data.upper()
            await sending
        server.signal("KILL")
        await finish(server)

    @pytest.mark.parametrize(
        ("host", "port"), [("127.0.0.1", 1), ("localhost", 0), ("::1", 1), ("name.invalid", 80), ("", 80)]
    )
    async def test_a_dial_that_nobody_answers(self, client: RunnerClient, host: str, port: int) -> None:
        with pytest.raises(PlatformError) as refused:
            await asyncio.wait_for(client.dial_tcp(host, port), 2 * DEADLINE)
        assert refused.value.code is Code.UNAVAILABLE
        assert (await run(client, "echo fine")).out == b"fine\n"

    @pytest.mark.parametrize("path", ["/nonexistent/socket", "", "/etc/passwd", "/" + "x" * 200])
    async def test_a_path_that_nobody_answers(self, client: RunnerClient, path: str) -> None:
        with pytest.raises(PlatformError) as refused:
            await asyncio.wait_for(client.dial_unix(path), DEADLINE)
        assert (refused.value.code, refused.value.message) == (Code.UNAVAILABLE, "open failed")

    async def test_a_stalled_reader_stalls_nobody_else(self, client: RunnerClient) -> None:
        stalled = [await client.start(pty("yes")), await client.start(exec_("yes"))]
        assert (await run(client, "echo fine")).out == b"fine\n"
        typed = await client.start(pty("cat"))
        assert typed.stdin is not None
        await write_all(typed.stdin, b"hello\n")
        await read_until(typed.stdout, b"hello\r\nhello\r\n")
        for execution in (*stalled, typed):
            execution.close()

    async def test_two_hundred_at_once(self, client: RunnerClient) -> None:
        executions = await asyncio.gather(*(client.start(exec_(f"read x; echo {n}$x")) for n in range(200)))
        done = await asyncio.gather(*(finish(execution, b"!\n") for execution in executions))
        assert [one.out for one in done] == [f"{n}!\n".encode() for n in range(200)]

    async def test_no_descriptor_is_left_here(self, client: RunnerClient) -> None:
        await _exercise(client)
        before = sorted(os.listdir("/proc/self/fd"))
        for _ in range(5):
            await _exercise(client)
        await until(lambda: len(os.listdir("/proc/self/fd")) <= len(before), "descriptors are closed")

    async def test_a_cancelled_start_leaves_nothing(self, client: RunnerClient) -> None:
        await _exercise(client)
        before = len(os.listdir("/proc/self/fd"))
        tasks = [asyncio.create_task(client.start(pty("sleep 1000"))) for _ in range(40)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (await run(client, "echo fine")).out == b"fine\n"
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before, "descriptors are closed")


class LinkedRunnerContract(RunnerContract):
    """The same for a runner that dials a broker's socket, and what only such a one can show."""

    async def test_no_descriptor_is_left_in_the_runner(self, place: Place, client: RunnerClient) -> None:
        await _exercise(client)
        folder = f"/proc/{place.runner_pid()}/fd"
        before = len(os.listdir(folder))
        for _ in range(5):
            await _exercise(client)
            passing = await place.client()
            held = [await passing.start(pty("sleep 1000")), await passing.start(exec_("sleep 1000"))]
            held[1].signal("KILL")
            await held[1].wait()
            passing.close()
            for execution in held:
                execution.close()
        await until(lambda: len(os.listdir(folder)) <= before, "the runner's descriptors are closed")

    async def test_a_closed_dial_is_closed_inside_though_its_server_idles(self, place: Place) -> None:
        client = await place.client()
        server = await client.start(exec_(_IDLE_SERVER))
        port = int(await read_until(server.stdout, b"\n"))
        folder = f"/proc/{place.runner_pid()}/fd"
        before = len(os.listdir(folder))
        sock = await client.dial_tcp("127.0.0.1", port)
        sock.shutdown(1)
        await read_until(server.stdout, b"half\n")
        assert len(os.listdir(folder)) > before
        sock.close()
        await until(lambda: len(os.listdir(folder)) <= before, "the runner let go of the idle server")
        server.close()

    async def test_the_runner_itself_is_killed_last(self, place: Place, client: RunnerClient) -> None:
        await run(client, "true")
        score = int(Path(f"/proc/{place.runner_pid()}/oom_score_adj").read_text())
        assert score == int(Path("/proc/self/oom_score_adj").read_text())

    async def test_a_dial_under_way_ends_with_its_connection(
        self, place: Place, client: RunnerClient
    ) -> None:
        path = f"{place.directory}/{uuid.uuid4().hex[:8]}"
        server = await client.start(exec_(_DEAF_SERVER.replace("PATH", path)))
        await read_until(server.stdout, b"up")
        folder = f"/proc/{place.runner_pid()}/fd"
        before = len(os.listdir(folder))
        passing = await place.client()
        dials = [asyncio.create_task(passing.dial_unix(path)) for _ in range(4)]
        await until(lambda: len(os.listdir(folder)) >= before + 9, "a connection and four dials")
        passing.close()
        for result in await asyncio.gather(*dials, return_exceptions=True):
            if not isinstance(result, BaseException):
                result.close()
        await until(lambda: len(os.listdir(folder)) <= before, "the runner gave up", seconds=5)
        server.close()

    async def test_a_stalled_hang_up_costs_no_cpu(self, place: Place, client: RunnerClient) -> None:
        """A pty whose programs are gone stays hung up, which epoll tells as often as it is asked."""
        mark = uuid.uuid4().hex
        execution = await client.start(pty(_LAST_WORDS.format(f"{place.directory}/{mark}")))
        await read_until(execution.stdout, b"start")
        await until_ended(place, mark)
        stat = Path(f"/proc/{place.runner_pid()}/stat")

        def ticks() -> int:
            fields = stat.read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        before = ticks()
        await asyncio.sleep(0.5)  # the window of the measurement, of fifty ticks
        assert ticks() - before <= 5
        execution.close()

    async def test_a_killed_runner_comes_back_and_takes_nothing_along(self, place: Place) -> None:
        mark = uuid.uuid4().hex
        client = await place.client()
        kept = f"exec -a kept-{mark} sleep 1000"
        script = f"setsid -f bash -c '{kept}' < /dev/null >&0 2>&0; echo up; read x; exit 2"
        shell = await client.start(pty(script))
        await read_until(shell.stdout, b"up")
        plain = await client.start(exec_(f"exec -a plain-{mark} cat"))
        await until(lambda: len(place.processes(f"-{mark}")) >= 2, "both run")
        first = place.runner_pid()
        os.kill(first, signal.SIGKILL)
        try:
            for execution in (shell, plain):
                with pytest.raises(PlatformError) as lost:
                    await asyncio.wait_for(execution.wait(), DEADLINE)
                assert lost.value.code is Code.UNAVAILABLE
            assert await read_all(shell.stdout) == b""
            with pytest.raises(PlatformError) as gone:
                await client.start(exec_("true"))
            assert gone.value.code is Code.UNAVAILABLE
            await until(lambda: place.serves(first), "the loop brought the runner back and it dialled")
            assert (await run(await place.client(), "echo fine")).out == b"fine\n"
            assert place.processes(f"kept-{mark}")
            assert plain.stdin is not None
            await write_all(plain.stdin, b"still")
            assert await read_until(plain.stdout, b"still")
        finally:
            shell.close()
            plain.close()
            for pid in place.processes(f"-{mark}"):
                with suppress(ProcessLookupError):  # it may be ending by itself
                    os.kill(pid, signal.SIGKILL)


async def _exercise(client: RunnerClient) -> None:
    """One of everything that owns a descriptor, refusals among them."""
    await run(client, "cat >/dev/null; echo x", b"data")
    terminal = await client.start(pty("echo x"))
    await read_all(terminal.stdout)
    await terminal.wait()
    terminal.close()
    with pytest.raises(PlatformError):
        await client.dial_tcp("127.0.0.1", 1)
    with pytest.raises(PlatformError):
        await client.start(SessionRequest(Kind.SUBSYSTEM, b"none"))
    (await client.start(pty("sleep 1000"))).close()


_SERVER = """exec python3 -uc "
import socket, threading
server = socket.socket(socket.{})
server.bind({})
server.listen()
print(server.getsockname()[1] if server.family == socket.AF_INET else 'up')
def serve(peer):
    while True:
        data = peer.recv(65536)
        if not data:
            break
        peer.sendall(data.upper())
    peer.close()
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"
"""

# Says when its peer has sent all, and never another word.
_IDLE_SERVER = """exec python3 -uc "
import socket, sys
server = socket.create_server(('127.0.0.1', 0))
print(server.getsockname()[1])
peer, _ = server.accept()
assert peer.recv(1) == b''
print('half')
sys.stdin.read()
"
"""

# Listens, and never accepts.
_DEAF_SERVER = """exec python3 -uc "
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind('PATH')
server.listen(0)
print('up')
sys.stdin.read()
"
"""

# Writes until its reader takes no more and the pty is full, notes how much that was, and is gone.
_LAST_WORDS = """stty raw; printf start; exec python3 -c "
import os, sys, time
os.set_blocking(1, False)
written = full = 0
while full < 5:
    try:
        written += os.write(1, b'.' * 512)
        full = 0
    except BlockingIOError:
        full += 1
        time.sleep(0.05)
open(sys.argv[1], 'w').write(str(written))
sys.exit(6)
" {}"""
