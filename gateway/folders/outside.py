"""Programs that mount: run where the engine sees what they did.

Owns the way there. A service of systemd has mounts of its own, and what it mounts itself no container would
show; what is mounted for the machine, whose first process has those mounts, reaches service and engine both
(mount_namespaces(7)). Must not know what is mounted.
"""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

_NAMESPACE = "/proc/{}/ns/mnt"
_MOUNTS = Path("/proc/self/mountinfo")
_ENTER = ("nsenter", "--target", "1", "--mount", "--")
_HINT = "dmesg(1)"
"""In mount(8)'s second line, which says less than its first."""
_SYSTEM = "/usr/sbin:/sbin:/usr/bin:/bin"


def run(*command: str | Path, keep: tuple[int, ...] = (), fine: tuple[int, ...] = (0,)) -> None:
    """Run a program here, which is to end with one of `fine`. Raises OSError with its last line.

    `keep` are descriptors that it inherits.
    """
    output(*command, keep=keep, fine=fine)


def output(*command: str | Path, keep: tuple[int, ...] = (), fine: tuple[int, ...] = (0,)) -> str:
    """The same: what it writes."""
    # Its words are read by people and in tests, whatever language the operator's are.
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:{_SYSTEM}"}
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        pass_fds=keep,
        env=environment,
    )
    if done.returncode not in fine:
        said = [line for line in (done.stderr or done.stdout).strip().splitlines() if _HINT not in line]
        raise OSError(errno.EIO, said[-1].strip() if said else f"{command[0]} failed")
    return done.stdout


def run_outside(*command: str | Path) -> None:
    """Run a program among the mounts of the whole machine. Raises OSError with its last line."""
    run(*(() if _same() else _ENTER), *command)


def write_outside(path: Path, text: str) -> None:
    """Write to a file of the kernel's, which may be read-only among our mounts. Raises OSError."""
    try:
        path.write_text(text)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        run_outside("sh", "-c", 'printf %s "$1" > "$2"', "sh", text, path)


def _same() -> bool:
    """Whether our mounts are the machine's."""
    try:
        return os.readlink(_NAMESPACE.format("self")) == os.readlink(_NAMESPACE.format(1))
    except OSError:
        # We may not look, as in some containers. A service's mounts follow the machine's.
        return not follows(_MOUNTS.read_text())


def follows(mounts: str) -> bool:
    """Whether, in a /proc/PID/mountinfo, the root follows another one, which sees nothing of its mounts."""
    for line in mounts.splitlines():
        words = line.partition(" - ")[0].split(" ")
        if words[4] == "/" and any(word.startswith("master:") for word in words[6:]):
            return True
    return False
