"""What people read at the other end of a session, and the status that programs get."""

from __future__ import annotations

import pytest

from gateway.errors import Code, PlatformError
from gateway.ssh import words


@pytest.mark.parametrize(("terminal", "end"), [(False, b"\n"), (True, b"\r\n")])
def test_a_line_is_one_line_and_steers_no_terminal(terminal: bool, end: bytes) -> None:
    said = words.line("no \x1b[2J\r\n\x9b\u202e zażółć \udc80", terminal)
    assert said == "gpu-gateway: no  [2J     zażółć  ".encode() + end


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.NO_CAPACITY, 75),
        (Code.UNAVAILABLE, 75),
        (Code.DENIED, 77),
        (Code.INTERNAL, 1),
        (Code.INVALID, 1),
    ],
)
def test_statuses(code: Code, status: int) -> None:
    assert words.status(PlatformError(code, "")) == status


def test_foreign_bytes_are_shown_and_can_be_read_back() -> None:
    shown = words.shown(bytes(range(256)))
    assert shown.isascii()
    assert shown.isprintable()
    assert words.shown(b"a\\b\xff\n") == r"a\x5cb\xff\x0a"
    assert len(words.shown(b"\0" * 10_000)) == 800


@pytest.mark.parametrize(
    ("name", "said"),
    [("TERM", "TERM"), ("USR2", "USR2"), ("BUS", "SIG@openssh.com"), ("RT40", "SIG@openssh.com")],
)
def test_a_signal_that_the_rfc_does_not_list_gets_sshds_word(name: str, said: str) -> None:
    assert words.signal_name(name) == said


def test_a_bar_is_drawn_over_the_last_one_and_then_ended() -> None:
    assert words.line("[##--]\x1b[2J", True, True) == b"\rgpu-gateway: [##--] [2J\x1b[K"
    assert words.line("", True, True) == b"\r\n"
