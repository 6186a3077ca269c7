"""The broker's pipes: whole sets, open to the container's user, and none left behind."""

from __future__ import annotations

import fcntl
import os
import resource
import stat

import pytest

from gateway import pipes, wire
from gateway.ports import PipeSet
from tests.support.descriptors import held


def test_a_set_is_three_pipes_whose_worker_sides_do_not_block() -> None:
    fds = pipes.make(2)
    try:
        assert len(set(fds)) == 12
        one = PipeSet.of(fds[6:])
        assert (one.stdin, one.stderr) == ((fds[6], fds[7]), (fds[10], fds[11]))
        for workers, programs in [(one.stdin[1], one.stdin[0]), one.stdout, one.stderr]:
            assert not os.get_blocking(workers)
            assert os.get_blocking(programs)
        for fd in fds:
            assert not os.get_inheritable(fd)
            assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o666
            assert fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) == 64 * 1024
        os.write(one.stdout[1], b"x")
        assert os.read(one.stdout[0], 9) == b"x"
    finally:
        wire.close_all(fds)


def test_with_no_descriptors_left_none_is_left_open() -> None:
    before = held()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            pipes.make(1000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert held() == before
