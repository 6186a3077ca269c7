"""Host keys: made once, private, never overwritten; a broken one is one sentence."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from asyncssh.public_key import decode_ssh_public_key

from gateway.errors import Code, PlatformError
from gateway.hostkeys import HostKeys, _make

NAMES = ["host_ecdsa", "host_ed25519", "host_rsa"]


def test_they_are_made_once_and_private(tmp_path: Path) -> None:
    made = HostKeys(tmp_path / "keys")
    files = sorted((tmp_path / "keys").iterdir())
    assert [file.name for file in files] == NAMES
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    before = [(file.read_bytes(), file.stat().st_ino) for file in files]
    again = HostKeys(tmp_path / "keys")
    assert again.public() == made.public()
    assert [(file.read_bytes(), file.stat().st_ino) for file in files] == before


def test_the_order_is_the_clients_preference(tmp_path: Path) -> None:
    algorithms = [decode_ssh_public_key(blob).algorithm for blob in HostKeys(tmp_path).public()]
    assert algorithms == [b"ssh-ed25519", b"ecdsa-sha2-nistp256", b"ssh-rsa"]


def test_fingerprints_are_opensshs(tmp_path: Path) -> None:
    shown = HostKeys(tmp_path).fingerprints()
    said = [
        subprocess.run(
            ["ssh-keygen", "-lf", tmp_path / name], capture_output=True, text=True, check=True
        ).stdout.split()[1]
        for name in ("host_ed25519", "host_ecdsa", "host_rsa")
    ]
    assert list(shown) == said


def test_a_missing_one_is_made_and_the_others_stay(tmp_path: Path) -> None:
    first = HostKeys(tmp_path).public()
    (tmp_path / "host_ecdsa").unlink()
    second = HostKeys(tmp_path).public()
    assert (first[0], first[2]) == (second[0], second[2])
    assert first[1] != second[1]


def test_the_next_ones_come_after_those_in_use(tmp_path: Path) -> None:
    """The first of a kind is the one that a key exchange uses."""
    used = HostKeys(tmp_path).public()
    for kind in ("rsa", "ed25519"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / f"next_{kind}"], check=True
        )
    keys = HostKeys(tmp_path)
    assert keys.public()[:3] == used
    assert [decode_ssh_public_key(blob).algorithm for blob in keys.public()[3:]] == [
        b"ssh-ed25519",
        b"ssh-rsa",
    ]
    following = keys.public()[3]
    assert decode_ssh_public_key(following).verify(b"data", keys.sign(following, b"ssh-ed25519", b"data"))
    (tmp_path / "next_ed25519").rename(tmp_path / "host_ed25519")
    assert HostKeys(tmp_path).public() == (following, *used[1:], keys.public()[4])


@pytest.mark.parametrize("name", ["host_ed25519", "next_ed25519"])
def test_one_of_another_kind_is_one_sentence(tmp_path: Path, name: str) -> None:
    """It would be offered at once, under a name that no client has heard of."""
    words = ["ssh-keygen", "-q", "-t", "ecdsa", "-b", "521", "-N", "", "-f", tmp_path / name]
    subprocess.run(words, check=True)
    with pytest.raises(PlatformError, match="put one of the kind ssh-ed25519 there") as caught:
        HostKeys(tmp_path)
    assert caught.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize("name", [*NAMES, "next_rsa"])
@pytest.mark.parametrize("how", ["empty", "garbage", "directory", "dangling", "encrypted"])
def test_one_that_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, how: str) -> None:
    path = tmp_path / name
    if how == "directory":
        path.mkdir()
    elif how == "dangling":
        path.symlink_to("nowhere")
    elif how == "encrypted":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", path], check=True)
    else:
        path.write_bytes(b"" if how == "empty" else os.urandom(200))
    with pytest.raises(PlatformError) as caught:
        HostKeys(tmp_path)
    assert caught.value.code is Code.UNAVAILABLE
    assert str(path) in caught.value.message
    assert "restore it" in caught.value.message
    assert "\n" not in caught.value.message


def test_a_directory_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlatformError) as caught:
        HostKeys(tmp_path / "file" / "keys")
    assert caught.value.code is Code.UNAVAILABLE


def test_several_processes_at_once_agree(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from gateway.hostkeys import HostKeys;"
        "sys.stdin.read(1); print([k.hex() for k in HostKeys(pathlib.Path(sys.argv[1])).public()])"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, tmp_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = {each.communicate("x", timeout=60)[0] for each in started}
    assert len(answers) == 1
    assert [each.returncode for each in started] == [0] * 4
    assert sorted(file.name for file in tmp_path.iterdir()) == NAMES


def test_the_second_maker_of_a_key_takes_the_firsts(tmp_path: Path) -> None:
    HostKeys(tmp_path)
    before = (tmp_path / "host_ed25519").read_bytes()
    _make(tmp_path / "host_ed25519", "ssh-ed25519")
    assert (tmp_path / "host_ed25519").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == NAMES


def test_they_sign_with_what_they_are(tmp_path: Path) -> None:
    keys = HostKeys(tmp_path)
    ed25519, ecdsa, rsa = keys.public()
    for blob, algorithm in [
        (ed25519, b"ssh-ed25519"),
        (ecdsa, b"ecdsa-sha2-nistp256"),
        (rsa, b"rsa-sha2-256"),
        (rsa, b"rsa-sha2-512"),
    ]:
        assert decode_ssh_public_key(blob).verify(b"data", keys.sign(blob, algorithm, b"data"))
    for blob, algorithm in [
        (rsa, b"ssh-rsa"),
        (ed25519, b"ssh-rsa"),
        (ed25519, b""),
        (b"other", b"ssh-ed25519"),
    ]:
        assert keys.sign(blob, algorithm, b"data") == b""
