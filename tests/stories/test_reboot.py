"""The machine loses power: nothing ends in order, and it comes back with its GPUs in another order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.docker.firewall import remove_rules
from gateway.docker.naming import bridge_prefix
from tests.conftest import NVIDIA, GpuEngine
from tests.stories.conftest import a_house, ended
from tests.support import booted
from tests.support.house import House, wait_for
from tests.support.nvidia import state

SUBNET = "10.213.0.0/16"


class Machine:
    """A gateway and its engine, which lose power together."""

    def __init__(self, engine: GpuEngine, house: House) -> None:
        self.engine = engine
        self.house = house

    def lose_power(self) -> None:
        """Kill every process at once; /run, interfaces, mounts and firewall rules are gone too."""
        gateway = self.house.process
        assert gateway is not None
        # Stopped first, so that none sees another's end and tidies up.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in {gateway.pid, *self.house.workers_pids(), *self._engines_own()}:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        gateway.wait(30)
        self.house.process = None
        wait_for(lambda: not self._engines_own(), "the end of every process of the engine")
        subprocess.run([NVIDIA / "engine.sh", "stop", self.engine.folder], check=True, timeout=60)
        (self.engine.folder / "pid").unlink(missing_ok=True)
        remove_rules(self.house.instance)
        for bridge in self.bridges():
            subprocess.run(["ip", "link", "delete", bridge], check=True)

    def bridges(self) -> list[str]:
        """The interfaces of the workspaces' networks that are there now."""
        prefix = bridge_prefix(self.house.instance)
        return [path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(prefix)]

    def boot(self) -> None:
        """Start the gateway where the kernel has another boot id, and counts from there."""
        self.house.launcher = (sys.executable, booted.__file__)
        self.house.start()

    def swap_gpus(self) -> None:
        """The bus is found in another order: other indices and nodes, the same GPUs."""
        there = state.gpus(4)
        found = [replace(gpu, minor=minor) for minor, gpu in enumerate(reversed(there))]
        state.write(self.engine.stand_ins / "state", found)

    def start_engine(self) -> None:
        """Start the engine, whose images and containers are on disk."""
        command = [NVIDIA / "engine.sh", "start", self.engine.folder, self.engine.stand_ins, SUBNET]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def _engines_own(self) -> set[int]:
        """The engine, its containerd, its shims, and every process in its containers."""
        place = self.engine.docker_host.removeprefix("unix://").removesuffix("/docker.sock").encode()
        parents: dict[int, int] = {}
        own: set[int] = set()
        for entry in Path("/proc").iterdir():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (ValueError, OSError):
                continue
            if Path(words[0].decode()).name.startswith(("dockerd", "containerd")) and place in b" ".join(
                words
            ):
                own.add(int(entry.name))
        while more := {pid for pid, parent in parents.items() if parent in own} - own:
            own |= more
        return own


@pytest.fixture
def machine(gpu_engine: GpuEngine, base_image: str) -> Iterator[Machine]:
    """A machine whose engine is whole again afterwards, with the GPUs in the order that others expect."""
    house = a_house(base_image, gpu_engine.environment)
    machine = Machine(gpu_engine, house)
    try:
        house.start()
        yield machine
    finally:
        state.write(gpu_engine.stand_ins / "state", state.gpus(4))
        machine.start_engine()
        ended(house)


@pytest.mark.timeout(180)
def test_after_a_reboot_the_first_login_works_and_leases_stand(machine: Machine) -> None:
    """The gateway is back before the engine, one container is dead and one is gone; both people get in."""
    house = machine.house
    alice, bob = house.add("alice"), house.add("bob")
    wait_for(lambda: len(house.listed("gpu", "list")) == 4, "the inventory")
    house.admin("allocate", "alice", "--gpus", "1", "--for", "8h")
    granted = house.listed("leases")[0]["devices"][0]
    assert granted in alice.ssh("echo kept > mine; nvidia-smi -L").stdout.decode()
    before = house.listed("leases")
    assert bob.ssh("echo his > mine").returncode == 0
    lost = house.containers()
    assert len(lost) == 2
    indices = {gpu["id"]: gpu["index"] for gpu in house.listed("gpu", "list")}
    with alice.start("echo in; sleep 1000") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        machine.lose_power()
        assert session.wait(30) == 255
    machine.swap_gpus()
    assert machine.bridges() == []
    machine.boot()
    away = alice.ssh("true")
    assert away.returncode == 75
    assert b"engine" in away.stderr
    machine.start_engine()
    assert house.containers() == []
    house.docker("rm", "-f", next(each for each in lost if _belongs(house, each, "bob")))
    shown = alice.ssh("cat mine; nvidia-smi -L; ls /dev | grep -c '^nvidia[0-9]'").stdout.decode()
    assert shown.startswith("kept\n")
    assert shown.count(granted) == shown.count("GPU-") == 1
    assert shown.endswith("\n1\n")
    assert bob.ssh("cat mine; nvidia-smi -L | grep -c GPU-").stdout == b"his\n0\n"
    assert _grants(house.listed("leases")) == _grants(before)
    found = {gpu["id"]: gpu["index"] for gpu in house.listed("gpu", "list")}
    assert found == {gpu: 3 - index for gpu, index in indices.items()}
    assert [gpu["user"] for gpu in house.listed("gpu", "list") if gpu["id"] == granted] == ["alice"]
    assert len(machine.bridges()) == 2
    assert [event for event in house.events() if event["event"] == "clock_set"] == []


def _grants(leases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What must stand of leases: all but what moves with time, and the numbers that people see."""
    return [
        {key: value for key, value in lease.items() if key not in ("indexes", "labels", "remaining")}
        for lease in leases
    ]


def _belongs(house: House, container: str, name: str) -> bool:
    """Whether a container is this user's."""
    wanted = next(user["id"] for user in house.listed("user", "list") if user["name"] == name)
    label = '{{index .Config.Labels "io.gpu-gateway.workspace"}}'
    return house.docker("inspect", "-f", label, container) == str(wanted)
