"""The promise of the first page: ssh lands in a container of one's own, with the files one left there."""

from __future__ import annotations

import subprocess

from tests.support.house import House, Person


def test_a_login_is_a_shell_of_a_user_of_her_own(home: House, alice: Person) -> None:
    """Not root, a passwd entry of her own name, her home, in a container."""
    ended = alice.ssh("id -un; id -u; pwd; getent passwd alice; cat /proc/1/comm")
    assert ended.returncode == 0, ended.stderr
    name, uid, where, entry, first = ended.stdout.decode().splitlines()
    assert (name, where, first) == ("alice", "/home/alice", "docker-init")
    assert int(uid) == home.listed("user", "list")[0]["uid"] > 0
    assert entry == f"alice:x:{uid}:{uid}::/home/alice:/bin/bash"


def test_a_second_connection_arrives_in_the_same_container(home: House, alice: Person) -> None:
    """One container, however many connections."""
    first = alice.ssh(
        "touch /tmp/mark; cat /proc/sys/kernel/random/boot_id /etc/hostname; ls -id /proc/1/ns/pid"
    )
    second = alice.ssh("ls /tmp/mark; ls -id /proc/1/ns/pid")
    assert second.stdout.splitlines()[0] == b"/tmp/mark"
    assert second.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    assert len(home.containers()) == 1


def test_exit_statuses_and_streams_are_the_programs_own(alice: Person) -> None:
    """Status, stdout and stderr arrive as ssh users know them."""
    for status in (0, 1, 7, 126, 127, 254):
        assert alice.ssh(f"exit {status}").returncode == status
    ended = alice.ssh("echo out; echo err >&2")
    assert (ended.stdout, ended.stderr) == (b"out\n", b"err\n")
    assert alice.ssh("kill -KILL $$").returncode == 255


def test_ten_megabytes_pass_both_ways_at_once(alice: Person) -> None:
    """Pipes in both directions, with every byte value, and a half-close that ends `cat` only."""
    data = bytes(range(256)) * 40960
    ended = alice.ssh("cat; echo end", stdin=data)
    assert ended.returncode == 0
    assert ended.stdout == data + b"end\n"


def test_files_are_carried_by_the_stock_tools(alice: Person, tmp_path_factory: object) -> None:
    """sftp, scp in both protocols, rsync."""
    folder = alice.folder / "files"
    folder.mkdir()
    (folder / "a b").write_bytes(b"\0\1\2" * 1000)

    def run(*words: object) -> None:
        subprocess.run([str(word) for word in words], check=True, capture_output=True, timeout=60)

    run("scp", "-F", alice.config, "-r", folder, "gw:by-sftp")
    run("scp", "-O", "-F", alice.config, "-r", folder, "gw:by-scp")
    run("rsync", "-a", "-e", f"ssh -F {alice.config}", f"{folder}/", "gw:by-rsync/")
    (folder / "batch").write_text(f'get "by-rsync/a b" {folder}/back\n')
    run("sftp", "-F", alice.config, "-b", folder / "batch", "gw")
    assert (folder / "back").read_bytes() == (folder / "a b").read_bytes()
    sums = alice.ssh("cat by-*/'a b' | sha256sum; ls -d by-*").stdout.split()
    assert sums[2:] == [b"by-rsync", b"by-scp", b"by-sftp"]


def test_an_unknown_locale_falls_back_in_silence(alice: Person) -> None:
    """bash and perl complain about a locale that the image lacks; here they have none to complain about."""
    alice.ssh("true")
    for wanted in ("xx_YY.UTF-8", "zh_CN.UTF-8", "en_US.UTF-8"):
        options = ["-o", f"SetEnv=LANG={wanted} LC_ALL={wanted}"]
        ended = alice.ssh("locale; bash -c true; perl -e 1; date +%A", options=options)
        assert ended.stderr == b""
    assert "星期" in alice.ssh("date +%A", options=["-o", "SetEnv=LC_ALL=zh_CN.UTF-8"]).stdout.decode()


def test_everyday_tools_are_there(alice: Person) -> None:
    """What an editor's server and a person's first hour need."""
    tools = (
        "ps flock tar gzip curl wget git rsync tmux ssh scp python3 less vi getconf base64 sed grep ldconfig"
    )
    ended = alice.ssh(
        f"PATH=$PATH:/usr/sbin:/sbin; for tool in {tools}; do command -v $tool >/dev/null || echo $tool; done"
    )
    assert ended.stdout == b""
    assert alice.ssh("git init -q repo && cd repo && git commit -q --allow-empty -m first").returncode in (
        0,
        128,
    )
    assert alice.ssh("command -v sudo sshd; find / -xdev -perm -4000 2>/dev/null").stdout == b""
