"""Another machine than this one, as far as packets can tell: a network namespace behind two interfaces.

Owns its addresses and interfaces, which are gone with it. Must not know the product.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

METADATA = "169.254.169.254"
"""Where clouds tell machines about themselves."""
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Elsewhere:
    """The machine, which also plays the metadata service.

    `near` is the host's address on the way, `far` the machine's own, which workspaces may reach.
    """

    def __init__(self) -> None:
        token = secrets.token_hex(3)
        self.name, self._near, self._far = f"canary-{token}", f"vh{token}", f"vn{token}"
        third, fourth = secrets.randbelow(256), 4 * secrets.randbelow(64)
        self.near, self.far = f"198.18.{third}.{fourth + 1}", f"198.18.{third}.{fourth + 2}"

    def open(self) -> None:
        """Make it, but for a way to the metadata service."""
        name, near, far = self.name, self._near, self._far
        _ip("netns", "add", name)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        _ip("addr", "add", f"{self.near}/30", "dev", near)
        _ip("link", "set", near, "up")
        for line in (
            f"addr add {self.far}/30 dev {far}",
            f"link set {far} up",
            "link set lo up",
            f"addr add {METADATA}/32 dev lo",
            f"route add default via {self.near}",
        ):
            _ip("-n", name, *line.split())

    def show_metadata(self) -> None:
        """Lead the metadata address there, for everybody on this host."""
        _ip("route", "add", METADATA, "via", self.far)

    def listener(self) -> socket.socket:
        """A TCP socket that listens there, at `far`, and is this process's all the same."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._listen).result()

    def close(self) -> None:
        """Remove it."""
        for line in (f"link del {self._near}", f"netns del {self.name}"):
            subprocess.run(["ip", *line.split()], capture_output=True, check=False)

    def _listen(self) -> socket.socket:
        """setns(2) moves the calling thread alone, and this one ends."""
        place = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(place, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "cannot enter the other machine")
        finally:
            os.close(place)
        return socket.create_server((self.far, 0))


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    """One, removed afterwards."""
    made = Elsewhere()
    try:
        made.open()
        yield made
    finally:
        made.close()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, check=True)
