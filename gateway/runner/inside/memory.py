"""Has the kernel ended a program of this container for want of memory?

Owns the kernel's count of such ends, as the container's own cgroup shows it: `oom_kill` of memory.events
(cgroup v2, Documentation/admin-guide/cgroup-v2.rst) or of memory.oom_control (v1, cgroup-v1/memory.rst).
Must not know which program it was: the kernel does not say.
"""

from __future__ import annotations

_FILES = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


class Memory:
    """Remembers the count, so that each end is told once. Where no file is readable, nothing ever was."""

    def __init__(self, files: tuple[str, ...] = _FILES) -> None:
        self._files = files
        self._seen = self._count()

    def ran_out(self) -> bool:
        """Whether a program was ended so since this was last asked."""
        seen, self._seen = self._seen, self._count()
        return self._seen > seen

    def _count(self) -> int:
        for path in self._files:
            try:
                with open(path) as file:
                    return count(file.read())
            except OSError:
                continue
        return 0


def count(text: str) -> int:
    """The number after `oom_kill` in either file; 0 in an older kernel, whose file lacks it."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.isdigit():
            return int(value)
    return 0
