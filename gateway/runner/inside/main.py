"""The runner as a program: wires the loop to the broker's socket, or to one byte stream.

Owns its arguments and its standard descriptors. Must not know what is asked of it.
"""

from __future__ import annotations

import os
import sys

from gateway.runner.inside.broker import SOCKET_PATH, BrokerLink
from gateway.runner.inside.connection import World
from gateway.runner.inside.loop import Loop


def main() -> None:
    """Serve the broker's socket for ever, or with `--stream` one connection on standard input and output.

    One argument, if there is any, is the path of another socket.
    """
    os.chdir("/")  # never keep a directory of the user's busy
    _fill_standard_descriptors()
    base = {_text(name): _text(value) for name, value in os.environb.items()}
    world = World(Loop(), base)
    if sys.argv[1:] == ["--stream"]:
        from gateway.runner.inside.stream import StreamServed

        StreamServed(world, 0, 1, lambda: os._exit(0))
    else:
        BrokerLink(world, sys.argv[1] if sys.argv[1:] else SOCKET_PATH)
    world.loop.run()


def _fill_standard_descriptors() -> None:
    """Take 0 to 2 if nobody did: a pipe with one of these numbers would be overwritten in a child."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def _text(raw: bytes) -> str:
    """Text that stands for bytes, whatever the locale."""
    return raw.decode("utf-8", "surrogateescape")
