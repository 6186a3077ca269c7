"""What a listing of gpuadmin pays for before it answers: nothing that only other commands need."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LISTINGS = ("user list", "workspace list", "session list", "leases", "gpu list", "quota show", "image list")

# The event loop, the engine's client and NVML's, what other commands know, and a search through every
# package that is installed.
HEAVY = {"asyncio", "docker", "pynvml", "admin.doctor", "admin.install", "importlib.metadata"}

_PROGRAM = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from admin.main import main
main()
"""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state directory whose lock is held, as while a gateway runs."""
    folder = tmp_path_factory.mktemp("state")
    lock = os.open(folder / "broker.lock", os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield folder
    os.close(lock)


@pytest.mark.parametrize("words", LISTINGS)
def test_a_listing_imports_nothing_that_it_does_not_need(state: Path, words: str) -> None:
    imported = _imported(state, words)
    assert "admin.call" in imported
    assert imported & HEAVY == set()


def test_without_a_gateway_the_engine_alone_is_asked(tmp_path: Path) -> None:
    """Not by way of everything that serves people."""
    imported = _imported(tmp_path, "workspace list")
    assert "gateway.docker.backend" in imported
    assert "gateway.wiring" not in imported


def _imported(state: Path, words: str) -> set[str]:
    """The modules that `gpuadmin WORDS` has imported when it ends."""
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *words.split()],
        env={**os.environ, "GPU_GATEWAY_STATE": str(state)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.split())
