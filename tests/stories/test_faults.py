"""What breaks, who notices, and what she reads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.house import House, Person, wait_for
from tests.support.terminal import Terminal

_HOLD = "echo in; cat"


def _opened(person: Person) -> subprocess.Popen[bytes]:
    session = person.start(_HOLD)
    assert session.stdout is not None
    assert session.stdout.readline() == b"in\n"
    return session


def test_a_killed_worker_takes_its_own_connections_alone_and_comes_back(
    new_house: Callable[[], House],
) -> None:
    """Of two sessions on two workers one ends, the other goes on, and new logins find two workers again."""
    house = new_house()
    alice = house.add("alice")
    alice.ssh("true")
    with _opened(alice) as one, _opened(alice) as other:
        victim = house.workers_pids()[0]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: one.poll() is not None or other.poll() is not None, "the end of one session")
        living = other if one.poll() is not None else one
        assert living.poll() is None
        assert living.stdin is not None
        assert living.stdout is not None
        living.stdin.write(b"still\n")
        living.stdin.flush()
        assert living.stdout.readline() == b"still\n"
        wait_for(lambda: len(pids := house.workers_pids()) == 2 and victim not in pids, "a new worker")
        for _ in range(4):
            assert alice.ssh("exit 3").returncode == 3
        for session in (one, other):
            session.kill()
            session.communicate()


@pytest.mark.parametrize("how", ["kill", "rm -f"])
def test_a_container_killed_or_removed_under_a_session_says_so(
    new_house: Callable[[], House], how: str
) -> None:
    """She reads why, with 255, and the next login has a container again."""
    house = new_house()
    alice = house.add("alice")
    alice.ssh("echo kept > mine")
    with _opened(alice) as session:
        house.docker(*how.split(), house.containers()[0])
        _, stderr = session.communicate(timeout=30)
        assert session.returncode == 255
        assert b"gpu-gateway: Your container ended" in stderr
    assert alice.ssh("cat mine").stdout == b"kept\n"


def test_a_container_out_of_memory_says_so(new_house: Callable[[], House]) -> None:
    """The kernel ends her program: she reads why, with 255, and the container goes on."""
    house = new_house()
    alice = house.add("alice")
    alice.ssh("true")
    house.docker("update", "--memory", "64m", "--memory-swap", "64m", house.containers()[0])
    eat = "python3 -c 'x=[]\nwhile True: x.append(bytearray(1<<20))'"
    ended = alice.ssh(eat)
    assert ended.returncode == 255
    assert b"gpu-gateway: Your container ran out of memory" in ended.stderr
    with_shell = alice.ssh(f"{eat}; exit $?")
    assert with_shell.returncode == 137
    assert b"gpu-gateway: Your container ran out of memory" in with_shell.stderr
    assert alice.ssh("kill -KILL $$; echo here").stderr == b""


def test_a_runner_killed_by_its_user_leaves_her_work_alone(new_house: Callable[[], House]) -> None:
    """tmux and a training run live; the next login works; the open session ends with a sentence."""
    house = new_house()
    alice = house.add("alice")
    alice.ssh("tmux new -d -s work 'sleep 7401'; setsid sleep 7402 >/dev/null 2>&1 </dev/null &")
    with Terminal(["ssh", "-F", alice.config, "-tt", "gw"]) as terminal:
        terminal.wait_for(r"\$ ")
        terminal.type("pkill -9 -f runner.pyz\n")
        terminal.wait_for("gpu-gateway: ")
        assert terminal.status() == 255
    assert alice.ssh("tmux has-session -t work && pgrep -fc 'sleep 740[2]'").stdout == b"1\n"
    assert len(house.containers()) == 1


def test_two_gateways_on_one_state_directory(new_house: Callable[[], House]) -> None:
    """The second refuses in one sentence; the first does not notice."""
    house = new_house()
    alice = house.add("alice")
    second = subprocess.run(
        [sys.executable, "-m", "gateway.main", "serve", "--listen=127.0.0.1:0"],
        env=house.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert second.stderr.startswith("gpu-gateway: Another gateway serves")
    assert second.stderr.count("\n") == 1
    assert alice.ssh("true").returncode == 0


def test_a_damaged_database_is_refused_with_the_way_out(new_house: Callable[[], House]) -> None:
    """The gateway does not start, and says how to restore; nothing is written."""
    house = new_house()
    house.stop()
    database = house.state / "gateway.db"
    good = database.read_bytes()
    bad = good[:4096] + b"\xff" * 4096 + good[8192:]
    database.write_bytes(bad)
    for leftover in ("gateway.db-wal", "gateway.db-shm"):
        (house.state / leftover).unlink(missing_ok=True)
    refused = subprocess.run(
        [sys.executable, "-m", "gateway.main", "serve", "--listen=127.0.0.1:0"],
        env=house.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "copy your backup" in refused.stderr
    assert database.read_bytes() == bad
    database.write_bytes(good)


def test_a_state_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A file in its place: one sentence."""
    (tmp_path / "state").write_text("")
    refused = subprocess.run(
        [sys.executable, "-m", "gateway.main", "serve", "--listen=127.0.0.1:0", f"--state={tmp_path}/state"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("gpu-gateway: ")
    assert refused.stderr.count("\n") == 1


def test_the_gateway_must_be_root() -> None:
    """Started otherwise it refuses in one sentence."""
    refused = subprocess.run(
        [sys.executable, "-c", "import os\nfrom gateway.main import main\nos.setuid(12345)\nmain(['serve'])"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 1
    assert "root" in refused.stderr
    assert refused.stderr.count("\n") == 1
