"""What the kernel says of a container's control groups (cgroups(7)): CPU, memory and disks.

Owns finding them, by the names that engines give them and without asking one, and the files of both
versions. Blocking. Must not know whose a container is.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.occupants import containers_of

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Consumption:
    """Microseconds of CPU since the group was made, and bytes of memory without the cache of files that the
    kernel would give up first; `io` are bytes read from disks and written there since then. None where
    memory, or that, is not accounted for."""

    cpu: int
    memory: int | None
    io: int | None = None


class ControlGroups:
    """The groups of containers under `root`, found once each."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._found: dict[str, tuple[Path, Path | None, Path | None]] = {}

    def consumption(self, ids: Collection[str]) -> dict[str, Consumption]:
        """What each container consumes, by its id; one that does not run is left out."""
        self._found = {id_: places for id_, places in self._found.items() if id_ in ids}
        missing = set(ids) - set(self._found)
        if missing:
            self._search(missing)
        read = {}
        for id_, (cpu, memory, io) in list(self._found.items()):
            # It ended, and its group with it.
            try:
                read[id_] = self._read(cpu, memory, io)
            except OSError:
                del self._found[id_]
        return read

    def _read(self, cpu: Path, memory: Path | None, io: Path | None) -> Consumption:
        if self._unified:
            used = _field(cpu / "cpu.stat", "usage_usec")
        else:
            used = int((cpu / "cpuacct.usage").read_text()) // 1000
        moved = None if io is None else _bytes(io.read_text())
        if memory is None:
            return Consumption(used, None, moved)
        names = ("memory.current", "inactive_file")
        if not self._unified:
            names = ("memory.usage_in_bytes", "total_inactive_file")
        whole, cache = names
        taken = int((memory / whole).read_text()) - _field(memory / "memory.stat", cache)
        return Consumption(used, max(0, taken), moved)

    @property
    def _unified(self) -> bool:
        return (self._root / "cgroup.controllers").exists()

    def _search(self, ids: Collection[str]) -> None:
        if self._unified:
            # Version 2 has one tree; memory is in it unless the controller is off there.
            for id_, folder in _folders(self._root, ids):
                accounted = (folder / "memory.current").exists()
                self._found[id_] = (folder, folder if accounted else None, _there(folder / "io.stat"))
            return
        memory, disks = (dict(_folders(self._root / tree, ids)) for tree in ("memory", "blkio"))
        for id_, folder in _folders(self._root / "cpuacct", ids):
            io = _there(disks[id_] / "blkio.throttle.io_service_bytes") if id_ in disks else None
            self._found[id_] = (folder, memory.get(id_), io)


def _there(file: Path) -> Path | None:
    return file if file.exists() else None


def _bytes(text: str) -> int:
    """What was read and written, of all disks.

    In version 2 lines such as `8:0 rbytes=1 wbytes=2`; in version 1 `8:0 Read 1` and `8:0 Write 2`, which
    other lines repeat in other words.
    """
    total = 0
    for words in map(str.split, text.splitlines()):
        if len(words) == 3 and words[1] in ("Read", "Write") and words[2].isdigit():
            total += int(words[2])
        for name, _, value in (word.partition("=") for word in words):
            total += int(value) if name in ("rbytes", "wbytes") and value.isdigit() else 0
    return total


def _folders(tree: Path, ids: Collection[str]) -> Iterator[tuple[str, Path]]:
    for folder, names, _ in os.walk(tree):
        for name in list(names):
            named = containers_of(f":{name}")
            if named and named[0] in ids:
                yield named[0], Path(folder, name)
                names.remove(name)


def _field(file: Path, name: str) -> int:
    """A value of a file that has a name and a value in each line; 0 where the name is not there."""
    for line in file.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            with suppress(ValueError):
                return int(value)
    return 0
