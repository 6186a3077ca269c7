"""Bytes, their order and their end, as OpenSSH's users know them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.house import Person


def test_a_program_may_open_its_own_streams_by_name(alice: Person) -> None:
    """/dev/stdout is a pipe that another uid made; a program of hers may open it all the same."""
    ended = alice.ssh("echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin", stdin=b"in\n")
    assert (ended.stdout, ended.stderr) == (b"out\nin\n", b"err\n")


def test_a_command_is_bytes(alice: Person) -> None:
    """Not UTF-8, with quotes and newlines, and 100 KB long: it arrives as it was sent."""
    assert alice.ssh(b"printf caf\xe9").stdout == b"caf\xe9"
    assert (
        alice.ssh("printf '%s' \"it's $HOME * 'q'\"\necho; echo two").stdout
        == b"it's /home/alice * 'q'\ntwo\n"
    )
    assert alice.ssh(f"true #{'x' * 100_000}").returncode == 0


def test_a_reader_that_has_seen_enough_ends_the_writer(alice: Person) -> None:
    """`ssh host yes | head -1` ends, and no `yes` is left."""
    with alice.start("yes 7501") as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"7501\n"
        client.stdout.close()
        assert client.wait(20) != 0
        client.stdout = None
    assert alice.ssh("pgrep -c -f 'yes 750[1]'").stdout == b"0\n"


def test_the_status_comes_after_the_last_byte(alice: Person) -> None:
    """However slowly the client reads."""
    with alice.start("seq 1 300000; exit 3") as client:
        assert client.stdout is not None
        lines = client.stdout.read().splitlines()
        assert (len(lines), lines[-1]) == (300_000, b"300000")
        assert client.wait(20) == 3


def test_the_end_of_input_is_not_the_end_of_output(alice: Person) -> None:
    """An editor's server reads its script to the end and then prints for days."""
    ended = alice.ssh("sh", stdin=b"cat; echo read; sleep 0.5; echo later\n")
    assert ended.stdout == b"read\nlater\n"


def test_one_connection_carries_many_sessions(alice: Person, tmp_path: Path) -> None:
    """A ControlMaster with forty sessions at once, each with its own status."""
    control = tmp_path / "c"
    subprocess.run(["ssh", "-F", alice.config, "-M", "-S", control, "-fN", "gw"], check=True, timeout=30)
    try:
        through = ["-S", str(control)]
        sessions = [alice.start(f"cat; exit {number}", options=through) for number in range(40)]
        for number, session in enumerate(sessions):
            assert session.communicate(b"%d" % number, timeout=30)[0] == b"%d" % number
            assert session.returncode == number
    finally:
        subprocess.run(["ssh", "-S", control, "-O", "exit", "gw"], capture_output=True, check=True)


@pytest.mark.parametrize(
    ("options", "cipher"),
    [
        ([], "aes128-gcm@openssh.com"),
        (["-c", "chacha20-poly1305@openssh.com"], "chacha20-poly1305@openssh.com"),
        (["-c", "aes256-ctr"], "aes256-ctr"),
        (["-C"], "aes128-gcm@openssh.com"),
    ],
)
def test_the_fast_cipher_is_taken_and_no_client_is_refused(
    alice: Person, options: list[str], cipher: str
) -> None:
    """Who has AES-GCM gets it, although OpenSSH's list has it last; who insists on another gets that."""
    ended = alice.ssh("true", options=["-v", "-o", "LogLevel=DEBUG", *options])
    assert ended.returncode == 0
    assert f"cipher: {cipher}".encode() in ended.stderr


def test_keys_are_changed_under_load(alice: Person) -> None:
    """A client that renews its keys every megabyte loses no byte in either direction."""
    data = bytes(range(256)) * 32768
    assert alice.ssh("cat", stdin=data, options=["-o", "RekeyLimit=1M"]).stdout == data
