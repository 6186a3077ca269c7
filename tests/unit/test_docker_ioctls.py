"""ioctl commands in the words of a seccomp profile: everything but a few is allowed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.docker.ioctls import REFUSED, WIDTH, all_but

COMMANDS = st.integers(0, (1 << WIDTH) - 1)


def allowed(command: int, refused: set[int] | frozenset[int]) -> int:
    """How many pairs allow it."""
    return sum(command & mask == value for mask, value in all_but(refused))


@given(st.sets(COMMANDS, min_size=1, max_size=8), COMMANDS, st.integers(0, WIDTH - 1))
def test_what_is_refused_has_no_rule_and_everything_else_one(
    refused: set[int], command: int, bit: int
) -> None:
    for each in refused:
        assert allowed(each, refused) == 0
        near = each ^ 1 << bit
        assert allowed(near, refused) == (near not in refused)
    assert allowed(command, refused) == (command not in refused)


def test_terminals_and_gpus_are_not_refused() -> None:
    """TCGETS, TIOCGWINSZ, FIONREAD, FS_IOC_GETFLAGS, FICLONE, and one of NVIDIA's."""
    for command in (0x5401, 0x5413, 0x541B, 0x80086601, 0x40049409, 0xC020462A):
        assert allowed(command, REFUSED) == 1
