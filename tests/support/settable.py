"""A clock that a test sets, and time that it lets pass, for the programs of one gateway.

Owns the library that does so, and its setting. Must not know what counts by it.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from tests.conftest import ROOT

SOURCE = ROOT / "tests" / "support" / "set_clock.c"
_NONE = timedelta(0)


class Clock:
    """The clock of programs that have its `environment`; nobody else's."""

    def __init__(self, folder: Path) -> None:
        library, self._setting = folder / "set_clock.so", folder / "ahead"
        compiled = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE]
        subprocess.run(compiled, check=True, timeout=60)
        self.ahead = self.passed = _NONE
        self._write()
        self.environment = {"LD_PRELOAD": str(library), "SET_CLOCK": str(self._setting)}

    def set(self, ahead: timedelta) -> timedelta:
        """Set it so that it is `ahead` of the right time; by how much that is a step."""
        moved, self.ahead = ahead - self.ahead, ahead
        self._write()
        return moved

    def let_pass(self, length: timedelta) -> None:
        """This time passes: it is no step, though nobody waits."""
        self.passed += length
        self._write()

    def _write(self) -> None:
        numbers = (round(each.total_seconds()) for each in (self.ahead, self.passed))
        with self._setting.open("r+b" if self._setting.exists() else "wb") as setting:
            setting.write(struct.pack("ll", *numbers))


@contextmanager
def a_clock() -> Iterator[Clock]:
    """A clock that is right; the workers, which may not look into a test's folder, can read its setting."""
    with tempfile.TemporaryDirectory(prefix="clock-") as folder:
        Path(folder).chmod(0o755)
        yield Clock(Path(folder))
