"""What a live process holds: counted from outside (memory, descriptors) and from inside (tasks, objects).

Owns the counting. A Python program that is started with `observed` in its environment answers SIGUSR1 with a
line `{"event": "census", ...}` on stderr; nothing of the product takes part. Must not judge a number.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Python imports `sitecustomize` by itself, before the program.
_OBSERVER = """
import asyncio, collections, gc, json, os, signal


def census(*_):
    gc.collect()
    try:
        tasks = len(asyncio.all_tasks())
    except RuntimeError:
        tasks = 0
    found = map(type, gc.get_objects())
    kinds = collections.Counter(f"{kind.__module__}.{kind.__qualname__}" for kind in found)
    line = {"event": "census", "pid": os.getpid(), "tasks": tasks, "kinds": kinds}
    os.write(2, json.dumps(line).encode() + b"\\n")


signal.signal(signal.SIGUSR1, census)
"""


@dataclass(frozen=True)
class Census:
    """What one process held. `memory` is its proportional set size in bytes.

    `descriptors` counts them by what they are: "socket", "pipe", or a file's path. `kinds` counts the objects
    that the garbage collector knows, after it has collected.
    """

    memory: int
    descriptors: Counter[str]
    tasks: int
    kinds: Counter[str]

    def __str__(self) -> str:
        """The figures of a report."""
        descriptors = sum(self.descriptors.values())
        return f"{self.memory / (1 << 20):.1f} MiB, {descriptors} descriptors, {self.tasks} tasks"


def observed(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """The environment of a Python program, and of all that it starts, that answers SIGUSR1.

    `folder` gets the module that does it.
    """
    (folder / "sitecustomize.py").write_text(_OBSERVER)
    return {**environment, "PYTHONPATH": str(folder)}


def census(pid: int, answer: dict[str, Any]) -> Census:
    """What a process holds, with what it answered to SIGUSR1."""
    return Census(memory(pid), descriptors(pid), answer["tasks"], Counter(answer["kinds"]))


def memory(*pids: int) -> int:
    """Proportional set size in bytes: a page that several processes share counts as its part in each."""
    return sum(1024 * int(_PSS.findall(Path(f"/proc/{pid}/smaps_rollup").read_text())[0]) for pid in pids)


_PSS = re.compile(r"^Pss: +(\d+) kB$", re.MULTILINE)


def descriptors(pid: int) -> Counter[str]:
    """How many descriptors of each kind a process has open."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[os.readlink(entry).partition(":[")[0]] += 1
        except FileNotFoundError:
            continue
    return found


def contained(containers: Iterable[str]) -> dict[int, str]:
    """The processes of these containers (their whole ids): the host's pid, and the command line."""
    wanted, found = set(containers), {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            groups = set(re.findall(r"[0-9a-f]{64}", (folder / "cgroup").read_text()))
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        # What has ended but was not reaped yet has no command line, and holds nothing.
        if groups & wanted and line:
            found[int(folder.name)] = line
    return found


def runners(containers: Iterable[str]) -> list[int]:
    """The host's pids of the runners in these containers."""
    return [pid for pid, line in contained(containers).items() if re.search(r"python3 .*\.pyz$", line)]
