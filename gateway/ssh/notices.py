"""What the platform shows on an open terminal, in between what the program there writes.

Owns what waits for a terminal whose reader is slow: a few notices, then the oldest are dropped, so that
nobody who does not read costs memory. Must not know what a notice says, nor what runs on the terminal.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from gateway.ssh.pump import Channel

MOST_WAITING = 4
"""The newest matter: each tells how much time is left."""


class Notices:
    """The notices of one terminal's channel; `pause` and `resume` follow the channel as its output does."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._paused = False

    def show(self, notice: bytes) -> None:
        """Send it behind what was sent before, or when the channel takes bytes again."""
        self._waiting.append(notice)
        self._send()

    def pause(self) -> None:
        """The channel takes no more."""
        self._paused = True

    def resume(self) -> None:
        """It takes more again."""
        self._paused = False
        self._send()

    def _send(self) -> None:
        # Writing may pause the channel in the middle; one that is closed takes nothing, which is as well.
        while self._waiting and not self._paused:
            with suppress(OSError):
                self._channel.write(self._waiting.popleft())
