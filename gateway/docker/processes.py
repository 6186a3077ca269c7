"""Which of a container's processes are the user's own.

Owns the rule, told by the shape of the tree and not by names, which anyone can take: the platform's are
init, init's first child (the loop that keeps the runner alive) and that child's own children (the runner).
Orphans become children of init, never of the loop, so nothing of the user's hides there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class _Process:
    pid: int
    parent: int
    dead: bool
    age: int


def count_own(top: Mapping[str, Any], init: int) -> int:
    """Count the user's processes in the answer of `top` with `ps -eo pid,ppid,stat,etimes`.

    `init` is the pid of the container's init; pids are the host's. Zombies do not count.
    """
    living = [process for process in map(_read, top["Processes"] or ()) if not process.dead]
    children = [process for process in living if process.parent == init]
    # Ages are whole seconds; among equals the lower pid came first.
    loop = min(children, key=lambda process: (-process.age, process.pid), default=None)
    ours = {init} | ({loop.pid} if loop else set())
    return sum(process.pid not in ours and (loop is None or process.parent != loop.pid) for process in living)


def _read(row: list[str]) -> _Process:
    pid, parent, state, age = row[:4]
    return _Process(int(pid), int(parent), state.startswith("Z"), int(age))
