"""The engine stops, hangs, and comes back; people read a sentence, and nothing of theirs is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import NVIDIA, GpuEngine
from tests.stories.conftest import a_house, ended
from tests.support.house import House, wait_for


@pytest.fixture
def house(gpu_engine: GpuEngine, base_image: str) -> Iterator[House]:
    """A gateway on the engine that a test may do anything to, which is whole again afterwards."""
    house = a_house(base_image, gpu_engine.environment)
    try:
        house.start()
        yield house
    finally:
        _start_engine(gpu_engine)
        ended(house)


def _engine_pid(engine: GpuEngine) -> int:
    return int((engine.folder / "pid").read_text())


def _stop_engine(engine: GpuEngine) -> None:
    pid = _engine_pid(engine)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not Path(f"/proc/{pid}/exe").exists(), "the engine's end")


def _start_engine(engine: GpuEngine) -> None:
    script = NVIDIA / "engine.sh"
    subprocess.run([script, "start", engine.folder, engine.stand_ins], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _asleep(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_files_and_leases_survive_an_engine_restart(gpu_engine: GpuEngine, house: House) -> None:
    """The containers end with their engine; the next login has the same files and the same GPU."""
    alice = house.add("alice")
    wait_for(lambda: house.listed("gpu", "list"), "the inventory")
    house.admin("allocate", "alice", "--gpus", "1")
    shown = alice.ssh("echo kept > mine; nvidia-smi -L").stdout
    assert shown.count(b"GPU-") == 1
    with alice.start("echo in; sleep 1000") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        _stop_engine(gpu_engine)
        _, stderr = session.communicate(timeout=30)
        assert session.returncode == 255
        assert b"gpu-gateway: Your container" in stderr
    away = alice.ssh("true")
    assert away.returncode == 75
    assert away.stderr.count(b"\n") == 1
    assert b"engine" in away.stderr
    _start_engine(gpu_engine)
    assert alice.ssh("cat mine; nvidia-smi -L").stdout == b"kept\n" + shown


@pytest.mark.timeout(180)
def test_a_hanging_engine_holds_up_nobody_who_is_in(gpu_engine: GpuEngine, house: House) -> None:
    """Who is in goes on, with new sessions too; who needs the engine gets a sentence in time."""
    alice, bob = house.add("alice"), house.add("bob")
    alice.ssh("true")
    with alice.start("echo in; cat") as session:
        assert session.stdin is not None
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        with _asleep(_engine_pid(gpu_engine)):
            waiting = bob.start("true")
            for _ in range(20):
                begun = time.monotonic()
                session.stdin.write(b"x\n")
                session.stdin.flush()
                assert session.stdout.readline() == b"x\n"
                assert time.monotonic() - begun < 1.0
            assert alice.ssh("echo second").stdout == b"second\n"
            _, stderr = waiting.communicate(timeout=60)
            assert waiting.returncode == 75
            assert b"engine" in stderr
        session.communicate(timeout=20)
        assert session.returncode == 0
    assert wait_for(lambda: bob.ssh("echo in").stdout, "bob's login") == b"in\n"


def test_gpuadmin_says_that_the_engine_is_away(gpu_engine: GpuEngine, house: House) -> None:
    """One sentence and 75; records alone need no engine."""
    alice = house.add("alice")
    alice.ssh("true")
    _stop_engine(gpu_engine)
    away = house.admin("workspace", "recreate", "alice", status=75)
    assert "engine" in away.stderr
    house.admin("user", "disable", "alice")
    house.admin("user", "enable", "alice")
