"""Who a process on a GPU is: from its control groups to its container, and from there to its user.

Owns what the paths in /proc/PID/cgroup mean (cgroups(7)) and the words. Pure. Must not read anything, nor
know an engine: only that engines name groups after containers' ids, of 64 hexadecimal digits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.devices import Occupation, Process
from gateway.health import some

# systemd's driver writes docker-ID.scope, cgroupfs ID alone, other engines libpod-ID.scope and the like.
_ID = re.compile(r"(?:^|[-:])([0-9a-f]{64})(?:\.scope)?$")


@dataclass(frozen=True)
class Program:
    """What runs under a pid: its name, the uid of its owner, its control groups as the kernel lists them.

    `started` is in clock ticks since the boot (proc_pid_stat(5)).
    """

    name: str
    uid: int
    cgroup: str
    started: int


def containers_of(cgroup: str) -> tuple[str, ...]:
    """The ids of the containers around a process, the outermost first, from its /proc/PID/cgroup.

    Version 1 lists a path for each controller and version 2 one; they do not differ in what we look for.
    """
    found: dict[str, None] = {}
    for line in cgroup.splitlines():
        for part in line.rpartition(":")[2].split("/"):
            named = _ID.search(part)
            if named:
                found[named[1]] = None
    return tuple(found)


def person(program: Program | None, names: Mapping[int, str]) -> str | None:
    """Whose a process is, by its uid, for who cannot ask an engine; None for one in no container.

    `names` has the users by their uids, each of which is one user's alone. The same account on the host is
    not in her workspace.
    """
    if program is None or not containers_of(program.cgroup):
        return None
    return names.get(program.uid)


class Crowd:
    """The processes on GPUs at one moment: which program each is, and whose container it runs in."""

    def __init__(self, programs: Mapping[int, Program | None], users: Mapping[str, str]) -> None:
        """`programs` by pid, None for one that is out of sight; `users` has the user's name by container."""
        self._programs = programs
        self._users = users

    def user(self, process: Process) -> str | None:
        """Whose container a process runs in; None for one that runs in none of ours."""
        program = self._programs.get(process.pid)
        inside = () if program is None else containers_of(program.cgroup)
        return next((self._users[each] for each in inside if each in self._users), None)

    def describe(self, process: Process) -> str:
        """A process in a few words: `python3 of alice`, or of a uid where it is in none of our containers."""
        program = self._programs.get(process.pid)
        if program is None:
            return "nothing is known of it"
        return f"{program.name} of {self.user(process) or f'uid {program.uid}'}"

    def unmanaged(self, occupation: Occupation) -> str | None:
        """The processes on a GPU that run in no container of ours, in words; None when there is none."""
        strangers = [each for each in occupation.processes if self.user(each) is None]
        return some([f"process {each.pid} ({self.describe(each)})" for each in strangers]) or None
