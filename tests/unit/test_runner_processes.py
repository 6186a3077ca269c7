"""Who is told by SIGUSR1 that the container will be stopped: masks that a kernel showed of real programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from gateway.runner.inside.processes import Signals, alive, beginning, mask, saves_work


@pytest.mark.parametrize(
    ("what", "caught", "ignored", "program", "told"),
    [
        ("Python with a handler", 0x202, 0x1001000, "/usr/bin/python3.11", True),
        ("bash, trap on USR1", 0x10202, 0x1001004, "/usr/bin/bash", True),
        ("bash, traps on USR1 and EXIT", 0x42816EFB, 0x1001004, "/usr/bin/bash", True),
        ("Python without one", 0x2, 0x1001000, "/usr/bin/python3.11", False),
        ("bash at its prompt", 0x4B813EFB, 0x384004, "/usr/bin/bash", False),
        ("dash at its prompt", 0x10002, 0x1285004, "/usr/bin/dash", False),
        ("tmux's server", 0x8034A03, 0x381004, "/usr/bin/tmux", False),
        ("dockerd, in Go", 0xFFFFFFFD7FC1FEFF, 0x0, "/usr/sbin/dockerd", False),
        ("node", 0x100004602, 0x1001000, "/home/alice/.vscode-server/bin/1/node", False),
    ],
)
def test_who_is_told(what: str, caught: int, ignored: int, program: str, told: bool) -> None:
    assert saves_work(Signals(caught, ignored), program) is told, what


def test_a_mask_has_a_bit_for_each_signal() -> None:
    assert mask(signal.SIGHUP, signal.SIGUSR1) == 0x201


def test_a_process_is_known_by_its_pid_and_its_beginning_until_it_ends() -> None:
    """A dead one that nobody has reaped is no process any more."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(999)"])
    try:
        began = beginning(process.pid)
        assert alive([(process.pid, began)]) == {process.pid: began}
        assert alive([(process.pid, began + "0"), (os.getpid(), began)]) == {}
    finally:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        left = alive([(process.pid, began)])
        process.wait()
    assert left == {}
