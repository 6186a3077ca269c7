"""What the runner decides without doing: environment, program, terminal modes, and what is packed."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
import termios
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.runner.bundle import write_bundle
from gateway.runner.inside import modes, program
from gateway.runner.inside.account import Account
from gateway.runner.inside.environment import DEFAULT_PATH, environment, is_locale
from gateway.runner.inside.executions import exited
from gateway.sessions import Exit, Kind, SessionRequest

ALICE = Account("alice", 1000, "/home/alice", "/usr/bin/zsh")


def test_environment_by_sshds_rules() -> None:
    base = {
        "PATH": "/opt/bin",
        "LD_LIBRARY_PATH": "/cuda",
        "NVIDIA_VISIBLE_DEVICES": "void",
        "PWD": "/",
        "SHLVL": "1",
    }
    env = environment(
        base, ALICE, {"FOO": "1", "SSH_CONNECTION": "a b"}, ("xterm", "/dev/pts/3"), "/run/user/1000"
    )
    assert env == {
        "PATH": "/opt/bin", "LD_LIBRARY_PATH": "/cuda", "NVIDIA_VISIBLE_DEVICES": "void", "FOO": "1",
        "HOME": "/home/alice", "USER": "alice", "LOGNAME": "alice", "SHELL": "/usr/bin/zsh",
        "MAIL": "/var/mail/alice", "TERM": "xterm", "SSH_TTY": "/dev/pts/3", "SSH_CONNECTION": "a b",
        "XDG_RUNTIME_DIR": "/run/user/1000",
    }  # fmt: skip


def test_a_container_without_path_gets_the_usual_one() -> None:
    assert environment({}, ALICE, {}, None, None)["PATH"] == DEFAULT_PATH


@given(
    st.text("ABCDEHLMNOPRSTU_IVX", max_size=12),
    st.sampled_from(["", "LD_", "NVIDIA_", "HOME", "PATH", "USER"]),
)
def test_a_request_changes_nothing_that_is_ours(name: str, prefix: str) -> None:
    base = {"PATH": "/bin", "NVIDIA_VISIBLE_DEVICES": "void"}
    plain = environment(base, ALICE, {}, ("xterm", "/dev/pts/0"), None)
    asked = environment(base, ALICE, {prefix + name: "hostile"}, ("xterm", "/dev/pts/0"), None)
    assert {key: asked[key] for key in plain} == plain
    assert not any(key.startswith(("LD_", "NVIDIA_")) for key in asked.keys() - plain.keys())


def test_an_unknown_locale_falls_back_in_silence() -> None:
    requested = {
        "LANG": "xx_XX.UTF-8",
        "LC_TIME": "xx_XX",
        "LC_CTYPE": "C.UTF-8",
        "LC_ALL": "",
        "LANGUAGE": "xx",
    }
    env = environment({}, ALICE, requested, None, None)
    assert {name: env.get(name) for name in requested} == {
        "LANG": "C.UTF-8", "LC_TIME": None, "LC_CTYPE": "C.UTF-8", "LC_ALL": "", "LANGUAGE": "xx",
    }  # fmt: skip
    assert not is_locale("C.UTF-8\0")


def test_programs_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    assert program.program(SessionRequest(Kind.SHELL), ALICE) == ("/usr/bin/zsh", ["-zsh"])
    command = SessionRequest(Kind.EXEC, b"echo \xff; x")
    assert program.program(command, ALICE) == ("/usr/bin/zsh", ["zsh", "-c", b"echo \xff; x"])
    monkeypatch.setattr(program, "SFTP_SERVERS", ("/nonexistent", sys.executable, "/bin/sh"))
    subsystem = SessionRequest(Kind.SUBSYSTEM, b"sftp")
    assert program.program(subsystem, ALICE) == (sys.executable, [sys.executable])
    for name in (b"netconf", b"", b"sftp "):
        with pytest.raises(FileNotFoundError):
            program.program(SessionRequest(Kind.SUBSYSTEM, name), ALICE)


@given(st.dictionaries(st.integers(0, 255), st.integers(0, 2**32 - 1)))
def test_any_modes_are_taken_by_a_terminal(asked: dict[int, int]) -> None:
    master, slave = os.openpty()
    try:
        given_ = termios.tcgetattr(slave)
        changed = modes.apply(asked, given_)
        termios.tcsetattr(slave, termios.TCSANOW, changed)
        assert termios.tcgetattr(slave)[3] == changed[3]
    finally:
        os.close(master)
        os.close(slave)


def test_no_mode_changes_nothing() -> None:
    master, slave = os.openpty()
    try:
        attributes = termios.tcgetattr(slave)
        assert modes.apply({}, attributes) == attributes == termios.tcgetattr(slave)
        assert modes.apply({53: 0}, attributes)[3] == attributes[3] & ~termios.ECHO
        assert modes.apply({1: 255}, attributes)[6][termios.VINTR] == b"\0"
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(
    ("wait_status", "told"),
    [
        (0, Exit(status=0)),
        (255 << 8, Exit(status=255)),
        (9, Exit(signal="KILL")),
        (11 | 0x80, Exit(signal="SEGV", core_dumped=True)),
        (7, Exit(signal="BUS")),
        (40, Exit(signal="RT40")),
    ],
)
def test_wait_statuses(wait_status: int, told: Exit) -> None:
    assert exited(1, wait_status, lambda: False).exit == told


def test_the_bundle_is_the_same_each_time_and_read_only(tmp_path: Path) -> None:
    first, second = tmp_path / "a.pyz", tmp_path / "b.pyz"
    write_bundle(first)
    write_bundle(second)
    write_bundle(second)
    assert first.read_bytes() == second.read_bytes()
    assert stat.S_IMODE(first.stat().st_mode) == 0o444
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_what_is_packed_is_python_3_9_and_whole(tmp_path: Path) -> None:
    """Every source parses as 3.9, imports nothing that is not packed, and is not `match` in disguise."""
    bundle = tmp_path / "runner.pyz"
    write_bundle(bundle)
    with zipfile.ZipFile(bundle) as archive:
        sources = {name: archive.read(name) for name in archive.namelist() if name.endswith(".py")}
    packed = {name[:-3].replace("/", ".").removesuffix(".__init__") for name in sources}
    for name, source in sources.items():
        for node in ast.walk(ast.parse(source, name, feature_version=(3, 9))):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                assert module in packed or (module or "").split(".")[0] in sys.stdlib_module_names, (
                    name,
                    module,
                )


def test_it_starts_from_source_where_the_bytecode_is_another_pythons(tmp_path: Path) -> None:
    bundle, other = tmp_path / "runner.pyz", tmp_path / "other.pyz"
    write_bundle(bundle)
    with zipfile.ZipFile(bundle) as archive, zipfile.ZipFile(other, "w") as changed:
        for name in archive.namelist():
            data = archive.read(name)
            changed.writestr(name, b"\0\0\r\n" + data[4:] if name.endswith(".pyc") else data)
    for file in (bundle, other):
        ended = subprocess.run(
            [sys.executable, "-I", "-S", "-B", file, "--stream"],
            input=b"",
            capture_output=True,
            timeout=20,
        )
        assert (ended.returncode, ended.stderr) == (0, b"")


def test_the_kernels_victim_is_told_and_only_the_killed_are_asked_about() -> None:
    """A program that was killed, or whose shell says so; never one that ended otherwise."""
    assert exited(1, 9, lambda: True).out_of_memory
    assert exited(1, (128 + 9) << 8, lambda: True).out_of_memory
    assert not exited(1, 15, lambda: True).out_of_memory
    assert not exited(1, 0, lambda: True).out_of_memory
