"""A terminal behaves as one on the machine itself."""

from __future__ import annotations

import re

from tests.support.house import House, Person, wait_for
from tests.support.terminal import Terminal


def _ssh(person: Person, *words: str) -> list[object]:
    return ["ssh", "-F", person.config, "-tt", *words]


def test_a_shell_greets_knows_its_size_and_ends_with_the_shells_status(alice: Person) -> None:
    """The greeting names the image and the GPUs; the size and the status are the terminal's own."""
    with Terminal(_ssh(alice, "gw"), columns=132, rows=43) as terminal:
        terminal.wait_for(r"alice on gpu-gateway/base:dev\r\n  no GPU\r\n")
        terminal.wait_for(r"\$ ")
        terminal.type("tty; stty size; echo $TERM-$0\n")
        terminal.wait_for(r"/dev/pts/\d+\r\n43 132\r\n\S+--bash\r\n")
        terminal.type("exit 9\n")
        assert terminal.status() == 9


def test_the_programs_window_follows_the_clients(alice: Person) -> None:
    """SIGWINCH arrives with the new size."""
    with Terminal(
        _ssh(alice, "gw", "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.1; done")
    ) as terminal:
        terminal.wait_for("ready")
        terminal.resize(100, 30)
        terminal.wait_for("30 100")
        assert terminal.status() == 0


def test_control_c_interrupts_the_foreground_program(alice: Person) -> None:
    """^C is the terminal's, not the client's: the shell lives on."""
    with Terminal(_ssh(alice, "gw")) as terminal:
        terminal.wait_for(r"\$ ")
        terminal.type("sh -c 'echo rea''dy; exec sleep 1000'\n")
        terminal.wait_for(r"\rready")
        terminal.type("\x03")
        terminal.wait_for(r"\$ ")
        terminal.type("echo status=$?; exit 0\n")
        terminal.wait_for("status=130")
        assert terminal.status() == 0


def test_a_client_that_vanishes_hangs_up_its_terminal_and_nothing_else(alice: Person) -> None:
    """The shell's job ends by SIGHUP; nohup, setsid and another session live on."""
    with Terminal(_ssh(alice, "gw")) as terminal:
        terminal.wait_for(r"\$ ")
        terminal.type("nohup sleep 7101 >/dev/null 2>&1 & setsid sleep 7102 & echo pid=$$; sleep 7103\n")
        shell = terminal.wait_for(r"pid=(\d+)\r\n")[1].decode()
        wait_for(lambda: alice.ssh("pgrep -f 'sleep 710[3]'").stdout, "the foreground sleep")
        terminal.vanish()
    wait_for(
        lambda: not alice.ssh(f"ps -o pid= -p {shell}; pgrep -f 'sleep 710[3]'").stdout,
        "the end of the shell",
    )
    left = alice.ssh("pgrep -af 'sleep 710[12]'; pkill -f 'sleep 710[12]'").stdout
    assert len(re.findall(rb"sleep 710[12]", left)) == 2


def test_only_terminals_are_greeted(home: House, alice: Person) -> None:
    """Not one byte of ours on the stdout of an exec, a subsystem or a shell without a terminal."""
    assert alice.ssh("true").stdout == b""
    assert alice.ssh(stdin=b"echo only\n", options=["-T"]).stdout == b"only\n"
    with alice.start("sftp", options=["-s"]) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"\0\0\0\5\1\0\0\0\3")
        client.stdin.flush()
        assert client.stdout.read(9)[4:] == b"\2\0\0\0\3"
        client.stdin.close()
