"""Options before a key: honoured or refused, and never passed over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Code, PlatformError
from gateway.keyoptions import PLAIN, KeyOptions, split
from gateway.keys import PublicKey, parse_keys
from gateway.sources import Sources
from tests.support.stores import NOW, key_line

HERE = "192.0.2.7"


def refused(text: str, why: str) -> None:
    with pytest.raises(PlatformError, match=why) as caught:
        KeyOptions.parse(text)
    assert caught.value.code is Code.INVALID
    assert "\n" not in caught.value.message


def test_all_that_are_honoured() -> None:
    found = KeyOptions.parse(
        'From="192.0.2.*,!192.0.2.9",expiry-time="20270331Z",verify-required,no-touch-required'
    )
    assert found == KeyOptions(
        Sources.parse("192.0.2.*,!192.0.2.9"), datetime(2027, 3, 31, tzinfo=UTC), touch=False, verify=True
    )
    assert KeyOptions.parse(str(found)) == found
    assert KeyOptions.parse("") == PLAIN
    assert str(PLAIN) == ""


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("20270331Z", (0, 0, 0)),
        ("202703311730Z", (17, 30, 0)),
        ("20270331173059Z", (17, 30, 59)),
        ("202703311730", (15, 30, 0)),
    ],
)
def test_an_instant_is_utc_with_a_z_and_local_without(text: str, hour: tuple[int, int, int]) -> None:
    zone = timezone(timedelta(hours=2))
    found = KeyOptions.parse(f'expiry-time="{text}"', zone)
    assert found.expires_at == datetime(2027, 3, 31, *hour, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["tomorrow", "2027", "20271331Z", "20270230Z", "202703312460Z", "00000101Z", ""]
)
def test_what_is_no_instant(text: str) -> None:
    refused(f'expiry-time="{text}"', "no expiry time")


@pytest.mark.parametrize(
    "option",
    [
        'command="rm -rf /"',
        'environment="A=B"',
        "restrict",
        "pty",
        "no-pty",
        "no-port-forwarding",
        "no-agent-forwarding",
        "no-X11-forwarding",
        "no-user-rc",
        'permitopen="host:22"',
        'permitlisten="8080"',
        'principals="alice"',
        "cert-authority",
        'tunnel="0"',
        "made-up",
    ],
)
def test_what_is_not_honoured_is_refused_by_name(option: str) -> None:
    name = option.partition("=")[0].lower()
    refused(option, f"{name}' is not supported")
    refused(f'from="{HERE}",{option}', f"{name}' is not supported")
    with pytest.raises(PlatformError, match="not supported"):
        PublicKey.parse(f"{option} {key_line('x')}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f'from="{HERE}",from="{HERE}"', "twice"),
        ("from", "needs a value"),
        ('verify-required="yes"', "has no value"),
        ('from="', "malformed"),
        (f'from="{HERE}",', "malformed"),
        (",verify-required", "malformed"),
        (f"from={HERE}", "malformed"),
        ('from="host.example.org"', "host names are not looked up"),
    ],
)
def test_what_is_malformed(text: str, why: str) -> None:
    refused(text, why)


def test_a_line_is_split_outside_of_quotes() -> None:
    assert split('from="a b",x ssh-rsa AAAA me') == ('from="a b",x', "ssh-rsa AAAA me")
    assert split('command="say \\" it" ssh-rsa') == ('command="say \\" it"', "ssh-rsa")
    assert split("alone") == ("alone", "")
    key = PublicKey.parse(f'from="10.0.0.0/8,{HERE}"  {key_line("x", "a comment")}')
    assert (str(key.options), key.comment) == (f'from="10.0.0.0/8,{HERE}"', "a comment")
    assert parse_keys(f'# mine\nfrom="{HERE}" {key_line("x")}\n{key_line("y")}')[1].options == PLAIN


def test_only_security_keys_have_options_of_security_keys() -> None:
    for option in ("no-touch-required", "verify-required"):
        with pytest.raises(PlatformError, match="Only a security key"):
            PublicKey.parse(f"{option} {key_line('x')}")


def test_when_and_from_where() -> None:
    options = KeyOptions(Sources.parse("192.0.2.0/24"), NOW)
    before = NOW - timedelta(microseconds=1)
    assert options.refusal(HERE, before) is None
    assert "expired" in (options.refusal(HERE, NOW) or "")
    assert "address" in (options.refusal("198.51.100.1", before) or "")
    assert PLAIN.refusal("", NOW) is None


@given(st.text(alphabet='from="10./8,*!expiry-time2027Z\\ ', max_size=60))
def test_nothing_typed_does_worse_than_be_refused(text: str) -> None:
    try:
        found = KeyOptions.parse(text)
    except PlatformError:
        return
    assert KeyOptions.parse(str(found)) == found
