"""Where somebody may come from, decided as sshd decides it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Code, PlatformError
from gateway.sources import Sources, side


@pytest.mark.parametrize(
    ("patterns", "address", "allowed"),
    [
        ("10.0.0.0/8", "10.255.1.2", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.70", False),
        ("192.0.2.*", "192.0.2.70", True),
        ("192.0.?.1", "192.0.2.1", True),
        ("192.0.?.1", "192.0.22.1", False),
        ("10.0.0.0/8,!10.1.0.0/16", "10.2.0.1", True),
        ("10.0.0.0/8,!10.1.0.0/16", "10.1.0.1", False),
        ("!10.1.0.0/16,10.0.0.0/8", "10.1.0.1", False),
        ("!10.1.0.0/16", "10.2.0.1", False),
        ("2001:DB8::/32", "2001:db8:1::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("2001:db8:*", "2001:db8:1::1", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("192.0.2.0/24", "::ffff:192.0.2.9", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("*", "192.0.2.1", True),
        ("10.0.0.0/8", "", False),
        ("*", "somewhere", False),
    ],
)
def test_what_sshd_would_say(patterns: str, address: str, allowed: bool) -> None:
    assert Sources.parse(patterns).allow(address) is allowed
    assert str(Sources.parse(patterns)) == patterns.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host.example.org",
        "*.example.org",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.1,,",
        "!",
        "[::1]",
        "bad.cafe",
    ],
)
def test_what_could_never_match_is_refused(text: str) -> None:
    with pytest.raises(PlatformError, match="no address") as caught:
        Sources.parse(text)
    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize("text", ["10.*", "!10.0.0.0/8", "*"])
def test_certificates_have_addresses_and_networks_alone(text: str) -> None:
    with pytest.raises(PlatformError):
        Sources.parse(text, wildcards=False)
    assert Sources.parse("10.0.0.0/8,192.0.2.1", wildcards=False).allow("192.0.2.1")


def test_a_list_has_an_end() -> None:
    with pytest.raises(PlatformError, match="at most"):
        Sources.parse(",".join(["10.0.0.1"] * 200))


@given(st.text(alphabet="0123456789abcdef.:*?!/,%[ ", max_size=30), st.ip_addresses())
def test_nothing_typed_does_worse_than_be_refused(text: str, address: object) -> None:
    try:
        sources = Sources.parse(text)
    except PlatformError:
        return
    assert sources.allow(str(address)) in (True, False)
    assert Sources.parse(str(sources)) == sources


@pytest.mark.parametrize(
    ("address", "whom"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:0:0:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("", ""),
        ("@", "@"),
    ],
)
def test_whom_an_address_counts_as(address: str, whom: str) -> None:
    assert side(address) == whom
