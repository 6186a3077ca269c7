"""One session channel: what the client asked for, the program, and its end.

Owns the order of things: the program starts when the request was accepted, input waits until then,
the exit status goes out after the last byte of output. Not one byte of ours ever goes to stdout,
save the greeting of a terminal. Must not know how the container is reached.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncssh

from gateway.asking import words_of
from gateway.errors import PlatformError
from gateway.journal import explain
from gateway.ports import Execution
from gateway.sessions import Exit, Kind, Pty, SessionRequest, Window
from gateway.ssh import words
from gateway.ssh.asked import answered
from gateway.ssh.channels import SessionChannel
from gateway.ssh.entry import REASON_WITHIN
from gateway.ssh.notices import Notices
from gateway.ssh.pump import Inflow, Outflow

if TYPE_CHECKING:
    from gateway.ssh.connection import Connection

STDERR = asyncssh.EXTENDED_DATA_STDERR
SFTP = b"sftp"
INTERRUPT = b"\x03"
LONGEST_GREETING = 4096
"""Bytes that the runner takes."""


class Session(asyncssh.SSHServerSession[bytes]):
    """Serves one session channel."""

    def __init__(self, connection: Connection) -> None:
        self.id = secrets.token_hex(4)
        self._connection = connection
        self._channel: SessionChannel
        self._pty: Pty | None = None
        self._kind = Kind.SHELL
        self._subsystem = b""
        self._execution: Execution | None = None
        self._input: Inflow | None = None
        self._outputs: list[Outflow] = []
        self._notices: Notices | None = None
        self._early: list[bytes] = []
        self._early_end = False
        self._reason: str | None = None
        self._asking = False
        self._interrupted = False
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """The channel is open."""
        assert isinstance(chan, SessionChannel)
        self._channel = chan

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed: let go of the program as sshd does."""
        self._connection.session_closed(self.id)
        self._connection.displays.close(self._channel)
        if self._task is not None:
            self._task.cancel()

    def pty_requested(self, term_type: str, term_size: tuple[int, int, int, int], term_modes: object) -> bool:
        """A terminal, for the program that is asked for next."""
        assert isinstance(term_modes, dict)
        self._pty = Pty(term_type, Window(*term_size), dict(term_modes))
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """The client's window has another size."""
        if self._pty is None:
            return
        self._pty = replace(self._pty, window=Window(width, height, pixwidth, pixheight))
        if self._execution is not None:
            self._execution.resize(self._pty.window)

    def signal_received(self, signal: str) -> None:
        """A signal request (RFC 4254 section 6.9)."""
        if self._execution is not None:
            self._execution.signal(signal)

    def break_received(self, msec: int) -> bool:
        """A break (RFC 4335), for a terminal only."""
        if self._execution is None or self._pty is None:
            return False
        self._execution.send_break()
        return True

    def shell_requested(self) -> bool:
        """A login shell."""
        return True

    def exec_requested(self, command: str) -> bool:
        """One command; its bytes are the channel's."""
        self._kind = Kind.EXEC
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        """A subsystem; sftp is the one that there is, and a request for another fails as sshd's does."""
        self._kind, self._subsystem = Kind.SUBSYSTEM, subsystem.encode()
        # A protocol does not survive a terminal; some clients are set up to ask for one always.
        self._pty = None
        return self._subsystem == SFTP

    def session_started(self) -> None:
        """The request was accepted: start the program."""
        self._task = self._connection.tasks.create_task(self._run())

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Input; until the program runs it waits here, and the client is held back."""
        if self._pty is not None:
            self._connection.activity.acted()
        else:
            self._connection.activity.moved(len(data))
        if self._input is not None:
            self._input.feed(data)
        elif self._asking:
            if INTERRUPT in data:
                self._interrupt()
        else:
            self._early.append(data)
            self._channel.pause_reading()

    def eof_received(self) -> bool:
        """The end of input, which is not the end of the session."""
        if self._input is not None:
            self._input.end()
        self._early_end = True
        return True

    def pause_writing(self) -> None:
        """The client takes no more output."""
        for output in self._outputs:
            output.pause()
        if self._notices is not None:
            self._notices.pause()

    def resume_writing(self) -> None:
        """It takes more again."""
        if self._notices is not None:
            self._notices.resume()
        for output in self._outputs:
            output.resume()

    def output_unwanted(self) -> None:
        """The client will read no more output: the program shall learn so."""
        if self._execution is not None:
            for output in self._outputs[:1]:
                output.stop()
            self._notices = None
            self._execution.close_stdout()

    def announce(self, text: str) -> None:
        """Show a notice where a program runs on a terminal; nothing else gets a byte of ours."""
        if self._notices is not None:
            self._notices.show(words.notice(text))

    def _interrupt(self) -> None:
        """A terminal's ^C, which no terminal turns into a signal here, leaves a question that still waits."""
        self._asking = False
        self._interrupted = True
        if self._task is not None:
            self._task.cancel()

    def end(self, reason: str) -> None:
        """The platform ends this session; the person reads why."""
        self._reason = reason
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            await self._serve()
        except asyncio.CancelledError:
            if self._interrupted:
                self._exit(Exit(words.INTERRUPTED))
            if self._interrupted or self._reason is None:
                return
            self.say(self._reason)
            self._exit(Exit(words.ENDED))
        except Exception as error:
            known = explain(error)
            self.say(known.message)
            self._exit(Exit(words.status(known)))
        finally:
            self._let_go()

    async def _serve(self) -> None:
        asked = words_of(self._channel.command) if self._kind is Kind.EXEC else None
        if asked is not None:
            self._asking = self._pty is not None
            if self._asking:
                self._channel.resume_reading()
            self._exit(Exit(await answered(self._connection.entry, self.id, self._channel, asked, self._pty)))
            return
        runner = await self._connection.entry.runner(self.say, self._pty is not None)
        greeted = self._pty is not None and self._kind is Kind.SHELL
        try:
            await self._connection.entry.begin_session(
                self.id, self._kind.value, words.shown(self._command()), greeted
            )
            self._connection.activity.acted()
            request = self._request(greeted)
            self._execution = await runner.start(request)
            if self._pty is not None and self._pty is not request.pty:
                self._execution.resize(self._pty.window)
            self._connect(self._execution)
            for output in self._outputs:
                await output.done
            self._notices = None
            self._exit(await self._ended(self._execution))
        finally:
            self._connection.entry.closed(self.id)

    async def _ended(self, execution: Execution) -> Exit:
        """How the program ended; when nobody can say, the broker's reason, for which there is a moment."""
        try:
            ended = await execution.wait()
            if ended.out_of_memory:
                self.say("Your container ran out of memory, so the kernel ended a program in it; use less.")
            return ended
        except PlatformError:
            await asyncio.sleep(REASON_WITHIN)
            self.say("Your container or the runner in it ended; log in again.")
            return Exit(words.ENDED)

    def _command(self) -> bytes:
        return self._channel.command if self._kind is Kind.EXEC else self._subsystem

    def _request(self, greeted: bool) -> SessionRequest:
        channel = self._channel
        env = {
            name.decode("ascii", "surrogateescape"): value.decode("utf-8", "surrogateescape")
            for name, value in channel.get_environment_bytes().items()
        }
        greeting = self._connection.entry.greeting().encode()[:LONGEST_GREETING] if greeted else b""
        shown = greeting.decode("utf-8", "ignore")
        env |= self._connection.variables() | self._display()
        return SessionRequest(self._kind, self._command(), env, self._pty, shown)

    def _display(self) -> dict[str, str]:
        display = self._channel.get_x11_display()
        return {} if display is None else {"DISPLAY": display}

    def _connect(self, execution: Execution) -> None:
        # What a terminal shows by itself, as top does, is nobody's doing.
        moved = None if self._pty is not None else self._connection.activity.moved
        self._outputs = [Outflow(execution.stdout, self._channel, moved=moved)]
        if execution.stderr is not None:
            self._outputs.append(Outflow(execution.stderr, self._channel, STDERR, moved))
        if self._pty is not None:
            self._notices = Notices(self._channel)
        assert execution.stdin is not None
        self._input = Inflow(execution.stdin, self._channel, execution.close_stdin)
        for data in self._early:
            self._input.feed(data)
        self._early.clear()
        if self._early_end:
            self._input.end()
        self._channel.resume_reading()

    def say(self, text: str, bar: bool = False) -> None:
        """A line of ours for the person, on stderr."""
        with suppress(OSError):
            self._channel.write_stderr(words.line(text, self._pty is not None, bar))

    def _exit(self, ended: Exit) -> None:
        """Send the status after the last byte, which a slow client may not have taken yet."""
        self._channel.when_sent(lambda: self._send_exit(ended))

    def _send_exit(self, ended: Exit) -> None:
        with suppress(OSError):
            if self._channel.is_closing():
                return
            self._channel.write_eof()
            if ended.signal is not None:
                self._channel.exit_with_signal(words.signal_name(ended.signal), ended.core_dumped, lang="")
            else:
                self._channel.exit(ended.status if ended.status is not None else words.ENDED)

    def _let_go(self) -> None:
        if self._input is not None:
            self._input.stop()
        for output in self._outputs:
            output.stop()
        if self._execution is not None:
            self._execution.close()
            self._execution = None
