"""`gpuadmin top`: the GPUs and who uses them, live in a terminal.

Owns the terminal while it runs and gives it back as it was, however it ends. Must not know what is drawn
(admin.screens).
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import FrameType
from typing import NoReturn

import click

from admin import screens
from admin.call import Call, pass_call
from admin.gpus import records
from admin.inventory import look
from admin.using import Watch
from gateway.errors import Code, PlatformError

EVERY = 2.0
"""Seconds between two looks."""
WITHIN = 1.0
"""Seconds for the driver: keys wait as long."""
# The other screen and no cursor, and back (xterm's control sequences, DECSET 1049 and 25).
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _TO_END_OF_LINE, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command()
@pass_call
def top(call: Call) -> None:
    """Watch the GPUs: how busy each is, who holds it and whose programs run on it. q ends it.

    \b
    Example:
      gpuadmin top
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        raise PlatformError(
            Code.INVALID, "This draws on a terminal, and there is none; see: gpuadmin gpu list --json"
        )
    look(call)
    with _ended_by_hand(), _terminal() as events:
        watch = Watch(WITHIN)
        while True:
            _draw(call, watch)
            if _ends(events):
                return


@contextmanager
def _ended_by_hand() -> Iterator[None]:
    """^C is a way to end this, not a failure."""
    try:
        yield
    except KeyboardInterrupt:
        return


@contextmanager
def _terminal() -> Iterator[int]:
    """The terminal for a whole screen; gives a descriptor that is readable when a signal came."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    came, wakes = os.pipe()
    os.set_blocking(came, False)
    os.set_blocking(wakes, False)
    # A signal without a handler of Python's wakes nobody up.
    handlers = {number: signal.signal(number, handler) for number, handler in _HANDLERS.items()}
    waker = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    try:
        tty.setcbreak(keyboard)
        mode = termios.tcgetattr(keyboard)
        # ^Z would leave a shell on our screen.
        mode[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(keyboard, termios.TCSANOW, mode)
        _write(_ENTER)
        yield came
    finally:
        # A terminal that was closed takes neither.
        with suppress(OSError, termios.error):
            _write(_LEAVE)
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        signal.set_wakeup_fd(waker)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(came)
        os.close(wakes)


def _resized(number: int, frame: FrameType | None) -> None:
    """The next look asks for the size."""


def _ended(number: int, frame: FrameType | None) -> NoReturn:
    """As a shell says it of a program that a signal ended."""
    sys.exit(128 + number)


_HANDLERS = {signal.SIGWINCH: _resized, signal.SIGTERM: _ended, signal.SIGHUP: _ended}


def _draw(call: Call, watch: Watch) -> None:
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    found, answers = records(call, watch)
    blocks = "utf" in (sys.stdout.encoding or "").lower()
    # Not the last column: what is erased behind a full line would be its last character.
    lines = screens.screen(found, datetime.now(UTC), columns - 1, rows, blocks, answers)
    painted = [screens.paint(line, "NO_COLOR" not in os.environ) for line in lines]
    # In place: what was there is written over, so that nothing flickers.
    _write(_HOME + "\n".join(f"{line}{_TO_END_OF_LINE}" for line in painted) + _BELOW)


def _ends(events: int) -> bool:
    """Wait for the next look, for another size or for a key: whether it was one that ends this."""
    ready, _, _ = select.select([sys.stdin, events], [], [], EVERY)
    if events in ready:
        os.read(events, 512)
    if sys.stdin not in ready:
        return False
    keys = os.read(sys.stdin.fileno(), 512)
    return not keys or bool(set(keys) & set(b"qQ\x04"))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
