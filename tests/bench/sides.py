"""The two sides of every measurement: the gateway, and OpenSSH's sshd in a container of the same image.

Owns starting and ending them. Must not know what is measured.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.stories.conftest import a_house, ended
from tests.support import images
from tests.support.house import House
from tests.support.oracle import Oracle

LONGEST = 600.0

PINNED = ("-o", "KexAlgorithms=curve25519-sha256", "-o", "Ciphers=aes128-gcm@openssh.com")
"""Client options that give both sides the same key exchange and cipher."""


@dataclass(frozen=True)
class Side:
    """One server, called `gw` in the ssh config of its user. `options` go to every client."""

    name: str
    config: Path
    options: tuple[str, ...] = ()

    @property
    def client(self) -> tuple[str, ...]:
        """The arguments that ssh, scp and sftp share."""
        return ("-F", str(self.config), *self.options)

    def ssh(self, *words: str, options: Sequence[str] = ()) -> list[str]:
        """The command that runs `words` there."""
        return ["ssh", *self.client, *options, "gw", *words]

    def run(self, *words: str) -> bytes:
        """What `words` print there; they must succeed."""
        done = subprocess.run(self.ssh(*words), stdout=subprocess.PIPE, check=True, timeout=LONGEST)
        return done.stdout


@dataclass(frozen=True)
class Sides:
    """Both, and what belongs to neither."""

    house: House
    oracle: Oracle
    image: str
    scratch: Path
    options: tuple[str, ...] = ()
    kept: dict[str, Path] = field(default_factory=dict)

    @property
    def ours(self) -> Side:
        """The gateway."""
        return Side("gateway", self.house.people["alice"].config, self.options)

    @property
    def theirs(self) -> Side:
        """sshd."""
        return Side("sshd", self.oracle.config, self.options)

    def container(self) -> str:
        """Alice's running container."""
        (found,) = self.house.containers()
        return found

    def quiet_file(self, name: str, size: int) -> Path:
        """A file of `size` bytes that no cipher or disk can make shorter; made once."""
        path = self.scratch / name
        if not path.exists():
            with path.open("wb") as file:
                subprocess.run(["head", "-c", str(size), "/dev/urandom"], stdout=file, check=True)
        return path


@contextmanager
def both() -> Iterator[Sides]:
    """Both sides with the user alice, warm; gone afterwards."""
    with ExitStack() as stack:
        house = a_house(images.base())
        stack.callback(ended, house)
        house.start()
        house.add("alice")
        oracle = Oracle(images.oracle(), config="MaxAuthTries 20\n")
        stack.callback(oracle.close)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        sides = Sides(house, oracle, images.BASE, scratch)
        sides.ours.run("true")
        yield sides
