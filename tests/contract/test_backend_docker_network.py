"""Where a workspace's packets go: to the internet, and nowhere near."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.docker.firewall import remove_rules
from gateway.docker.naming import resource_name
from gateway.docker.networks import ensure_network
from gateway.docker.rules import forward_chain
from gateway.docker.sweep import remove_all
from tests.contract.backend_contract import ignore
from tests.support.docker_world import DockerWorld, docker
from tests.support.elsewhere import METADATA, Elsewhere, elsewhere

CANARY = Path(__file__).parents[1] / "support" / "canary.py"
PORT = 20000 + os.getpid() % 20000
DEADLINE = 30.0


def command(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def other() -> Iterator[Elsewhere]:
    """Another machine, which is the metadata service, too."""
    with elsewhere() as made:
        made.show_metadata()
        yield made


@contextmanager
def canary(heard: set[str], addresses: list[str], *before: str, program: str = str(CANARY)) -> Iterator[None]:
    """Listen on the addresses, in the place that the command `before` enters; `heard` gets what it hears."""
    listener = subprocess.Popen(
        [*before, program, "listen", *(f"{address}:{PORT}" for address in addresses)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert listener.stdout is not None
    stdout = listener.stdout
    assert stdout.readline() == "ready\n"
    reader = threading.Thread(target=lambda: heard.update(line.strip() for line in stdout))
    reader.start()
    try:
        yield
    finally:
        listener.kill()
        listener.wait()
        reader.join()
        stdout.close()


def machines_own_address() -> str:
    route = json.loads(command("ip", "-j", "route", "get", "198.51.100.1"))[0]
    return str(route["prefsrc"])


async def test_reaches_the_internet_and_nothing_near(docker_world: DockerWorld, other: Elsewhere) -> None:
    """Canaries everywhere; each hears the host, and only the one on the internet hears the workspace."""
    first, second = resource_name(docker_world.instance, 1), resource_name(docker_world.instance, 2)
    for number in (1, 2):
        await docker_world.backend.start(docker_world.spec(number), ignore)
    query = "{{range .NetworkSettings.Networks}}{{.Gateway}} {{.IPAddress}}{{end}}"
    bridge, _ = docker("inspect", "-f", query, first).stdout.split()
    other_bridge, neighbour = docker("inspect", "-f", query, second).stdout.split()
    hosts = [bridge, other_bridge, other.near, machines_own_address()]
    inside = ("docker", "exec", second, "python3", "-c")
    everywhere = [*hosts, neighbour, METADATA, other.far]
    targets = [f"{address}:{PORT}" for address in everywhere]
    heard: set[str] = set()
    with (
        canary(heard, hosts, sys.executable),
        canary(heard, [METADATA, other.far], "ip", "netns", "exec", other.name, sys.executable),
        canary(heard, [neighbour], *inside, program=CANARY.read_text()),
    ):
        program = ["python3", "-c", CANARY.read_text(), "knock"]
        await asyncio.to_thread(docker, "exec", first, *program, "workspace", *targets)
        await asyncio.to_thread(command, sys.executable, str(CANARY), "knock", "host", *targets)
        wanted = {f"{kind} {address} host" for kind in ("tcp", "udp") for address in everywhere}
        wanted |= {f"{kind} {other.far} workspace" for kind in ("tcp", "udp")}
        deadline = time.monotonic() + DEADLINE
        while not wanted <= heard and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
    assert heard == wanted


async def test_names_are_looked_up(docker_world: DockerWorld) -> None:
    """The engine's resolver answers inside; it is the one that asks the host's nameservers."""
    await docker_world.backend.start(docker_world.spec(), ignore)
    done = await docker_world.run(1, f"getent hosts {resource_name(docker_world.instance, 1)}")
    assert done.returncode == 0, done.stderr


async def test_rules_that_vanished_are_set_before_the_next_start(docker_world: DockerWorld) -> None:
    await docker_world.backend.start(docker_world.spec(1), ignore)
    wanted = command("iptables", "-S")
    assert forward_chain(docker_world.instance) in wanted
    remove_rules(docker_world.instance)
    assert forward_chain(docker_world.instance) not in command("iptables", "-S")
    await docker_world.backend.start(docker_world.spec(2), ignore)
    ours = [line for line in command("iptables", "-S").splitlines() if docker_world.instance in line]
    before = [line for line in wanted.splitlines() if docker_world.instance in line]
    # Docker's own rules name each bridge; ours name them all at once.
    assert [line for line in ours if "GPU-GATEWAY" in line] == [
        line for line in before if "GPU-GATEWAY" in line
    ]


async def test_a_network_with_another_subnet_is_replaced(docker_world: DockerWorld) -> None:
    await docker_world.backend.start(docker_world.spec(1), ignore)
    await docker_world.backend.remove(1)
    api = docker_world.api()
    changed = docker_world.spec(1, slot=50)
    ensure_network(api, changed, docker_world.instance)
    config = api.inspect_network(resource_name(docker_world.instance, 1))["IPAM"]["Config"]
    assert config[0]["Subnet"] == changed.subnet


@pytest.mark.parametrize("users", [40, pytest.param(100, marks=pytest.mark.slow)])
def test_many_users_have_networks(docker_world: DockerWorld, users: int) -> None:
    """Docker's own pools end after thirty."""
    api = docker_world.api()
    for number in range(1, users + 1):
        ensure_network(api, docker_world.spec(number), docker_world.instance)
    made = docker("network", "ls", "-q", "-f", f"label=io.gpu-gateway.instance={docker_world.instance}")
    assert len(made.stdout.split()) == users
    remove_all(docker_world.instance)
    left = docker("network", "ls", "-q", "-f", f"label=io.gpu-gateway.instance={docker_world.instance}")
    assert left.stdout == ""


async def test_a_sweep_leaves_nothing(docker_world: DockerWorld) -> None:
    for number in (1, 2):
        await docker_world.backend.start(docker_world.spec(number), ignore)
    done = subprocess.run(
        [sys.executable, "-m", "gateway.docker.sweep", "--instance", docker_world.instance],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(await docker_world.backend.list()) == []
    for tool in ("iptables", "ip6tables"):
        assert docker_world.instance not in command(tool, "-S")
    assert f"gw{docker_world.instance}-" not in command("ip", "-br", "link")
