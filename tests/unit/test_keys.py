"""Public keys: what ssh-keygen makes is read as it reads it; anything else is refused in one sentence."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Code, PlatformError
from gateway.keys import PublicKey, parse_keys
from tests.support.stores import key_line


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def mpint(value: int) -> bytes:
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def line(kind: str, *fields: bytes, claimed: str | None = None) -> str:
    blob = string(kind.encode()) + b"".join(fields)
    return f"{claimed or kind} {base64.b64encode(blob).decode()} me@there"


def rsa(bits: int, exponent: int = 65537) -> str:
    return line("ssh-rsa", mpint(exponent), mpint((1 << (bits - 1)) | 1))


def refused(text: str, why: str) -> None:
    with pytest.raises(PlatformError, match=why) as caught:
        PublicKey.parse(text)
    assert caught.value.code is Code.INVALID
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "options",
    [
        ("ed25519",),
        ("ecdsa", "-b", "256"),
        ("ecdsa", "-b", "384"),
        ("ecdsa", "-b", "521"),
        ("rsa", "-b", "3072"),
    ],
    ids=" ".join,
)
def test_keys_of_ssh_keygen(tmp_path: Path, options: tuple[str, ...]) -> None:
    path = tmp_path / "key"
    make = ["ssh-keygen", "-q", "-t", *options, "-N", "", "-C", "alice at home", "-f", str(path)]
    subprocess.run(make, check=True)
    shown = subprocess.run(["ssh-keygen", "-lf", path], check=True, capture_output=True, text=True).stdout
    key = PublicKey.parse(path.with_suffix(".pub").read_text())
    assert key.fingerprint == shown.split()[1]
    assert key.comment == "alice at home"
    refused(path.read_text(), "private key")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("sk-ssh-ed25519@openssh.com", [string(b"k" * 32), string(b"ssh:")]),
        (
            "sk-ecdsa-sha2-nistp256@openssh.com",
            [string(b"nistp256"), string(b"\4" + b"p" * 64), string(b"ssh:")],
        ),
    ],
)
def test_keys_of_security_tokens(kind: str, fields: list[bytes]) -> None:
    assert PublicKey.parse(line(kind, *fields)).type == kind
    refused(line(kind, *fields[:-1]), "cut off")
    refused(line(kind, *fields[:-1], string(b"")), "application")


@pytest.mark.parametrize("bits", [3072, 4096, 8192])
def test_rsa_of_a_good_size(bits: int) -> None:
    assert PublicKey.parse(rsa(bits)).type == "ssh-rsa"


@pytest.mark.parametrize("bits", [1024, 2048, 3071, 8193, 16384])
def test_rsa_of_a_bad_size(bits: int) -> None:
    refused(rsa(bits), f"{bits} bits|one line" if bits > 8193 else f"{bits} bits")


@pytest.mark.parametrize("exponent", [1, 2, 65536, (1 << 64) + 1])
def test_rsa_with_a_bad_exponent(exponent: int) -> None:
    refused(rsa(3072, exponent), "malformed")


def test_a_number_has_one_spelling_only() -> None:
    padded = string(b"\0\0" + (65537).to_bytes(3, "big"))
    refused(line("ssh-rsa", padded, mpint((1 << 3071) | 1)), "malformed number")
    refused(line("ssh-rsa", string(b"\x80"), mpint((1 << 3071) | 1)), "malformed number")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a public key line"),
        ("hello", "not a public key line"),
        ("hello world", "not accepted"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "not accepted"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "certificate"),
        (f'command="rm -rf /" {key_line("x")}', "not supported"),
        ("ssh-ed25519 !!!!", "base64"),
        ("ssh-ed25519 AAAA\N{SNOWMAN}", "base64"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "cut off"),
        (line("ssh-ed25519", string(b"k" * 31)), "32 bytes"),
        (line("ssh-ed25519", string(b"k" * 32), b"x"), "surplus"),
        (line("ssh-ed25519", string(b"k" * 32), claimed="ssh-rsa"), "disagree"),
        (line("ecdsa-sha2-nistp256", string(b"nistp384"), string(b"\4" + b"p" * 64)), "nistp256"),
        (line("ecdsa-sha2-nistp256", string(b"nistp256"), string(b"\2" + b"p" * 32)), "uncompressed"),
        ("ssh-ed25519 " + "A" * 20000, "not a public key line"),
    ],
)
def test_what_is_no_key_is_refused(text: str, why: str) -> None:
    refused(text, why)


@given(st.binary(max_size=80), st.sampled_from(["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"]))
def test_no_bytes_do_worse_than_be_refused(tail: bytes, kind: str) -> None:
    for blob in (tail, string(kind.encode()) + tail):
        try:
            key = PublicKey.parse(f"{kind} {base64.b64encode(blob).decode()}")
        except PlatformError:
            continue
        assert key.blob == blob


def test_a_file_of_keys() -> None:
    text = f"# laptop\n\n{key_line('a', 'one')}\r\n  {key_line('b')}\n"
    assert [key.comment for key in parse_keys(text)] == ["one", ""]
    with pytest.raises(PlatformError, match=r"Key 2: .*base64"):
        parse_keys(f"{key_line('a')}\nssh-ed25519 !\n")
    with pytest.raises(PlatformError, match="no public key"):
        parse_keys("# nothing\n\n")


def test_a_long_comment_is_cut() -> None:
    assert len(PublicKey.parse(key_line("a", "x" * 5000)).comment) == 256
