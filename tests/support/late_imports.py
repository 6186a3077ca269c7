"""Runs a module as `python -m` does, and reports what it imports after it gave up its privileges.

Owns the reporting: a line `LATE IMPORT name` on stderr for each, and at the end `MODULES name name`. It
stands in for the interpreter: its arguments are `-m MODULE ARGUMENTS`.
"""

from __future__ import annotations

import atexit
import os
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class Reporter(MetaPathFinder):
    """Finds nothing; it is asked before anybody else about each module that is not loaded yet."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Report the name when root's rights are gone."""
        if os.getuid() != 0:
            os.write(2, f"LATE IMPORT {name}\n".encode())


def modules() -> None:
    """Report everything that was loaded."""
    os.write(2, f"MODULES {' '.join(sorted(sys.modules))}\n".encode())


if __name__ == "__main__":
    atexit.register(modules)
    sys.meta_path.insert(0, Reporter())
    sys.path[0] = os.getcwd()
    _, _, module, *arguments = sys.argv
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
