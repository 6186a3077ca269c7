"""Bytes that came are read as a bytes object would be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.ssh.inbound import Inbound

PIECES = st.lists(st.binary(max_size=20), max_size=6)


def whole(inbound: Inbound) -> bytes:
    """All that is left."""
    piece = inbound[0 : len(inbound)]
    assert isinstance(piece, bytes)
    return piece


@given(st.lists(st.tuples(PIECES, st.integers(0, 30)), max_size=6))
def test_taking_and_adding_in_any_order(turns: list[tuple[list[bytes], int]]) -> None:
    plain: bytes = b""
    inbound: Inbound = Inbound()
    for added, taken in turns:
        for piece in added:
            plain += piece
            inbound += piece
        assert inbound[1:taken] == plain[1:taken]
        plain = plain[taken:]
        rest = inbound[taken:]
        assert isinstance(rest, Inbound)
        inbound = rest
        assert (len(inbound), bool(inbound)) == (len(plain), bool(plain))
        assert whole(inbound) == plain


def test_a_line_is_found_where_reading_stands() -> None:
    rest = Inbound(b"one\ntwo\nthree")[4:]
    assert isinstance(rest, Inbound)
    assert rest.find(b"\n", 0, 10) == 3
    assert rest.find(b"\n", 0, 3) == -1
    assert rest.find(b"\n", 4, 10) == -1
