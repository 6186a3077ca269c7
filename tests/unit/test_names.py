"""Names are parsed once; what parses is safe in a path, a passwd line, a label and a log."""

from __future__ import annotations

import unicodedata
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import Code, PlatformError
from gateway.names import parse_user_name


@pytest.mark.parametrize("name", ["a", "_", "alice", "li.wei", "a-b_c", "x9", "me", "a" * 32])
def test_a_good_name_comes_back_unchanged(name: str) -> None:
    assert parse_user_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "9a",
        "-rf",
        ".a",
        "Alice",
        "a b",
        "a/b",
        "../x",
        "a:b",
        "a\n",
        "\x1b[2J",
        "a" * 33,
        "%u",
        "{{x}}",
        "älice",
    ],
)
def test_a_bad_name_is_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(PlatformError, match=r"choose 1 to 32 of a-z") as caught:
        parse_user_name(name)
    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize(
    "name", ["root", "admin", "operator", "all", "default", "sshd", "nobody", "gpuadmin"]
)
def test_a_reserved_name_is_refused(name: str) -> None:
    with pytest.raises(PlatformError, match="reserved"):
        parse_user_name(name)


@pytest.mark.parametrize("name", ["\N{FULLWIDTH LATIN SMALL LETTER A}lice", "alﬁ", "ro\u2160t"])
def test_a_look_alike_is_refused_and_never_repaired(name: str) -> None:
    with pytest.raises(PlatformError, match="look-alike"):
        parse_user_name(name)


@given(st.text(max_size=40))
@example("alice\n")
@example("\N{RIGHT-TO-LEFT OVERRIDE}alice")
def test_whatever_parses_is_plain(text: str) -> None:
    name = None
    with suppress(PlatformError):
        name = parse_user_name(text)
    if name is None:
        return
    assert name == text == unicodedata.normalize("NFKC", text)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-")
    assert name[0] not in "-.0123456789"
    assert len(name) <= 32
