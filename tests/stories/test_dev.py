"""`./dev` as a new person uses it: up with stand-in GPUs, log in with her own ssh, down, nothing is left."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEYS = Path("~/.ssh").expanduser()


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Checkout:
    """This checkout with a state directory and an address pool of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.port = free_port()
        self.net = f"10.{240 + secrets.randbelow(8)}."
        (folder / "config.toml").write_text(f'[network]\npool = "{self.net}0.0/20"\n')
        self.environment = {
            **os.environ,
            "GPU_GATEWAY_STATE": str(self.state),
            "GPU_GATEWAY_CONFIG": str(folder / "config.toml"),
        }

    def dev(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`./dev WORDS`."""
        return subprocess.run(
            [ROOT / "dev", *words], env=self.environment, capture_output=True, text=True, timeout=1200
        )

    def up(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`./dev up WORDS` on a port of its own."""
        return self.dev("up", "--listen", f"127.0.0.1:{self.port}", *words)


@contextmanager
def a_checkout(folder: Path) -> Iterator[Checkout]:
    """Taken down afterwards, as is the key that ./dev made for a person who had none."""
    before = set(KEYS.glob("*")) if KEYS.exists() else None
    checkout = Checkout(folder)
    try:
        yield checkout
    finally:
        down = checkout.dev("down")
        for made in set(KEYS.glob("*")) - (before or set()):
            made.unlink()
        if before is None and KEYS.exists():
            KEYS.rmdir()
        assert down.returncode == 0, down.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """A checkout of a test's own."""
    with a_checkout(tmp_path) as checkout:
        yield checkout


def traces(checkout: Checkout) -> list[str]:
    """Processes, mounts and firewall rules that name this state directory or its private engine."""
    processes = [
        path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists()
    ]
    mounts = Path("/proc/mounts").read_text().splitlines()
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout.splitlines()
    marks = (str(checkout.state), checkout.net)
    return [line for line in [*processes, *mounts, *rules] if any(mark in line for mark in marks)]


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_up_gives_a_gateway_with_gpus_and_down_leaves_only_files(checkout: Checkout, tmp_path: Path) -> None:
    up = checkout.up("--image", "base", "--fake-gpus", "2")
    assert up.returncode == 0, up.stderr
    found = re.search(r"^    (ssh -p \d+ (\S+)@localhost)$", up.stdout, re.MULTILINE)
    assert found
    login, name = found.groups()
    options = [
        "-oBatchMode=yes",
        "-oStrictHostKeyChecking=accept-new",
        f"-oUserKnownHostsFile={tmp_path}/known",
    ]
    ssh = [*login.split(), *options]

    def inside(script: str) -> str:
        done = subprocess.run([*ssh, script], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert inside("id -un; echo kept > kept; ls /dev | grep -c nvidia || true").split() == [name, "0"]
    granted = checkout.dev("run", "gpuadmin", "allocate", name, "--gpus", "1")
    assert granted.returncode == 0, granted.stderr
    assert inside("nvidia-smi -L").count("UUID: GPU-") == 1
    again = checkout.up("--image", "base", "--fake-gpus", "2")
    assert (again.returncode, "building" in again.stdout) == (0, False)
    assert checkout.up("--fake-gpus", "1").stderr == (
        "dev: The gateway already runs with other GPUs; run ./dev down first.\n"
    )
    assert checkout.dev("down").returncode == 0
    assert traces(checkout) == []
    assert [file.read_text() for file in checkout.state.glob("workspaces/*/home/kept")] == ["kept\n"]


def test_up_refuses_a_port_that_another_ssh_server_holds(checkout: Checkout) -> None:
    with socket.create_server(("127.0.0.1", checkout.port)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"SSH-2.0-other\r\n")

        other = threading.Thread(target=greet)
        other.start()
        up = checkout.up()
        other.join(timeout=30)
    assert up.returncode == 1
    assert up.stderr == (
        f"dev: Another SSH server already answers on 127.0.0.1:{checkout.port}; "
        "choose another address with --listen.\n"
    )


@pytest.mark.parametrize("count", ["0", "17", "1.5", "x", "-1"])
def test_up_refuses_a_count_of_gpus_that_cannot_be(checkout: Checkout, count: str) -> None:
    up = checkout.up("--fake-gpus", count)
    assert up.returncode == 2
    assert up.stderr == f"dev: --fake-gpus takes a number from 1 to 16, not '{count}'.\n"


def test_run_gives_a_command_the_environment(checkout: Checkout) -> None:
    done = checkout.dev("run", "sh", "-c", "echo $GPU_GATEWAY_STATE; command -v gpuadmin")
    assert done.stdout.splitlines() == [str(checkout.state), str(ROOT / ".venv" / "bin" / "gpuadmin")]
    # Where nobody names one, it is the checkout's, and the command is told. Nothing is made there.
    unnamed = {name: value for name, value in checkout.environment.items() if name != "GPU_GATEWAY_STATE"}
    words = [ROOT / "dev", "run", "sh", "-c", "echo $GPU_GATEWAY_STATE"]
    told = subprocess.run(words, env=unnamed, capture_output=True, text=True, timeout=60)
    assert told.stdout.splitlines() == [str(ROOT / ".state")]
