"""A process that has given up its privileges keeps no group of its parent's, and ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_UID = 29_999
# As broker and worker: the parent is in a group that matters.
_PARENT = f"""
import os, signal
from gateway.privileges import drop
told, tell = os.pipe()
child = os.fork()
if child == 0:
    drop({_UID}, {_UID})
    os.write(tell, b".")
    while True: signal.pause()
os.read(told, 1)
print(child, flush=True)
signal.pause()
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    """A process of root's, in group 4242, whose child's pid is the first line that it prints."""
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True, extra_groups=[4242]
    ) as started:
        yield started
        started.kill()


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _ended(pid: int) -> bool:
    """Gone, or waiting for whoever reaps what was left behind."""
    try:
        return _status(pid)["State"].startswith(("Z", "X"))
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_no_group_is_kept_and_a_killed_parent_takes_its_child_along(parent: subprocess.Popen[str]) -> None:
    """The kernel ends it, whatever it does: a worker may be busy, or stopped."""
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        assert "4242" in _status(parent.pid)["Groups"].split()
        shown = _status(child)
        assert shown["Groups"] == ""
        assert {*shown["Uid"].split(), *shown["Gid"].split()} == {str(_UID)}
        os.kill(child, signal.SIGSTOP)
        parent.kill()
        deadline = time.monotonic() + 20
        while not _ended(child):
            assert time.monotonic() < deadline, "the child outlives its parent"
            time.sleep(0.01)
    finally:
        if not _ended(child):
            os.kill(child, signal.SIGKILL)
