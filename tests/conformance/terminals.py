"""Cases with a terminal: its modes, its size, its keys, its end. The numbers are the clients' matrix's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.conformance.case import Case, Side, readable
from tests.support.terminal import Terminal

_ALL_MODES = "tty | tr -d 0-9; stty -a; stty size; echo $TERM"


# Once this is shown, bash has given the terminal to the program.
_READY = "sh -c 'echo rea\"\"dy; exec {}'\n"


def _at(side: Side, command: str, **size: int) -> Terminal:
    """A terminal with a local shell command that may use `ssh -F $0`."""
    return Terminal(["bash", "-c", command, side.config], **size)


def _seen(command: str, **size: int) -> Callable[[Side], str]:
    """What a terminal shows from the start of the command to its end, and its status."""

    def play(side: Side) -> str:
        with _at(side, command, **size) as terminal:
            status = terminal.status(60)
            return f"{readable(terminal.seen)}\nstatus {status}"

    return play


def _window(side: Side) -> str:
    command = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.1; done"
    with Terminal(["ssh", "-F", side.config, "-tt", "gw", command]) as terminal:
        terminal.wait_for("ready")
        terminal.resize(100, 30)
        size = terminal.wait_for(r"\d+ \d+")[0].decode()
        return f"{size} {terminal.status()}"


def _keys(side: Side) -> str:
    """^C, ^\\, ^Z and ^D at a shell without start-up files."""
    seen = []
    with Terminal(["ssh", "-F", side.config, "-tt", "gw", "PS1='ps''1> ' exec bash --norc -i"]) as terminal:
        for typed, shown in (
            (_READY.format("sleep 1801"), "ready\r\n"),
            ("\x03", r"\^C"),
            ("echo one=$?\n", r"one=(\d+)"),
            (_READY.format("sleep 1802"), "ready\r\n"),
            ("\x1c", r"\^\\"),
            ("echo two=$?\n", r"two=(\d+)"),
            (_READY.format("sleep 1803"), "ready\r\n"),
            ("\x1a", "Stopped"),
            ("echo three=$?; kill %1\n", r"three=(\d+)"),
            (_READY.format("cat"), "ready\r\n"),
            ("typed\n\x04", "typed\r\ntyped\r\n"),
            ("exit 7\n", "exit"),
        ):
            if typed.endswith("\n") and not typed.startswith("typed"):
                terminal.wait_for("ps1> ")
            terminal.type(typed)
            seen.append(readable(terminal.wait_for(shown)[0]))
        return "\n".join([*seen, f"status {terminal.status()}"])


def _escapes(side: Side) -> str:
    """~B is a break; ~. ends the client alone."""
    command = "stty -a | grep -o '.brkint'; echo rea''dy; cat"
    with Terminal(["ssh", "-F", side.config, "-e~", "-tt", "gw", command]) as terminal:
        before = readable(terminal.wait_for(r"(?s).*ready\r\n")[0])
        terminal.type("\n~B")
        terminal.type("alive\n")
        answer = readable(terminal.wait_for(r"alive\s+alive")[0]).split()
        terminal.type("\n~.")
        return f"{before}{answer}{terminal.status()}"


def _signals(side: Side) -> str:
    """Signal requests reach the program's process group, whatever their names are; a subsystem's never."""
    import asyncio

    import asyncssh

    async def one(client: Any, name: str) -> str:
        program = await client.create_process(
            f"trap 'echo shell; exit 3' {name}; sh -c 'echo ready; exec sleep 2000'"
        )
        await program.stdout.readline()
        program.send_signal(name)
        ended = await program.wait(timeout=20)
        return f"{name} {ended.stdout!r} {ended.exit_status} {ended.exit_signal}"

    async def all_of_them() -> str:
        async with asyncssh.connect(
            side.host,
            side.port,
            config=[str(side.config)],
            username="alice",
            client_keys=[str(side.key)],
            known_hosts=None,
        ) as client:
            said = [await one(client, name) for name in ("HUP", "INT", "TERM", "USR1", "USR2", "QUIT")]
            program = await client.create_process("echo ready; exec sleep 2000")
            await program.stdout.readline()
            program.send_signal("NONSENSE")
            program.send_signal("INFO@openssh.com")
            program.send_signal("KILL")
            ended = await program.wait(timeout=20)
            said.append(f"{ended.exit_status} {ended.exit_signal}")
            return "\n".join(said)

    return asyncio.run(all_of_them())


CASES = [
    Case(
        "16 the modes of the person's terminal",
        play=_seen(f"ssh -F $0 -tt gw '{_ALL_MODES}'", columns=132, rows=43),
        shows=r"/dev/pts/\r\nspeed 38400 baud; rows 43; columns 132",
    ),
    Case(
        "16 modes that the person changed",
        play=_seen(
            "stty erase ^H intr ^B -ixon -echo iutf8 tostop eol @; "
            f"TERM=vt220 ssh -F $0 -tt gw '{_ALL_MODES}'"
        ),
        shows=r"(?s)intr = \^B.*erase = \^H.*-ixon.*-echo.*vt220",
    ),
    Case(
        "16 a terminal for somebody who has none",
        f"ssh -tt gw '{_ALL_MODES}' </dev/null; env -u TERM ssh -tt gw 'echo [$TERM]; stty size' </dev/null",
        shows=r"rows 0; columns 0",
    ),
    Case(
        "16 no terminal without one here",
        "ssh -t gw tty </dev/null; echo $?; ssh -T gw 'tty; stty' </dev/null; ssh gw 'echo [$TERM]'",
        shows="not a tty\n",
    ),
    Case("17 the window's size follows", play=_window, shows="^30 100 0$"),
    Case(
        "18 keys that signal", play=_keys, shows=r"one=130\n(.*\n)*two=131\n(.*\n)*three=148\n(.*\n)*status 7"
    ),
    Case("19 a break, and the client's way out", play=_escapes, shows="255$"),
    Case("19 signals by name", play=_signals, shows="HUP"),
    Case(
        "20 the status of a program on a terminal",
        r"""
        for _ in $(seq 5); do ssh -tt gw 'exit 5' </dev/null; echo $?; done
        ssh -tt gw 'kill -9 $$' </dev/null; echo $?
        """,
        shows="(5\n){5}255\n",
    ),
    Case(
        "20 every byte that a terminal showed",
        r"""
        ssh -tt gw 'seq 1 100000; exit 6' </dev/null | sha256sum; echo ${PIPESTATUS[0]}
        ssh -tt gw 'printf "a\nb\tc\n"' </dev/null | od -c
        """,
        shows=r"(?s)  -\n6\n.*\\r  \\n",
    ),
    Case(
        "20 a child that keeps the terminal",
        r"""
        ssh -tt gw 'sleep 2001 & echo early' </dev/null; echo $?; until_ok ssh gw "! pgrep -f 'sleep 200[1]'"
        """,
        shows="early\r\n0\n",
    ),
    Case(
        "20 input for a terminal through a pipe",
        r"printf 'one\n\004' | ssh -tt gw 'cat >/dev/null; echo $?; exit 3' | tail -1; echo ${PIPESTATUS[1]}",
        shows="0\r\n3\n",
    ),
    Case(
        "what a shell on a terminal says first",
        r"""printf 'exit\n' | ssh -tt gw | head -c 10 | tr -d '\r\n'""",
        shows=r".",
        ours=r"alice on g",
        why="a person is told which image she is in and which GPUs she holds",
    ),
    Case(
        "a ~/.hushlogin",
        r"""
        ssh gw 'touch ~/.hushlogin'
        printf 'PS1=; exit 4\n' | ssh -tt gw | grep -c -E 'Last login|no GPU'; echo ${PIPESTATUS[1]}
        ssh gw 'rm ~/.hushlogin'
        """,
        shows="0\n4\n",
        alone=True,
    ),
]
