"""What GPUs and containers do: seen now, kept for later, told to the operator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.cgroups import ControlGroups
from gateway.history import Window
from tests.conftest import GpuEngine
from tests.stories.conftest import a_lab
from tests.support.house import House, wait_for
from tests.support.nvidia import state
from tests.support.stores import NOW

MACHINE = state.gpus(4)


@pytest.fixture(scope="module")
def lab(gpu_engine: GpuEngine, base_image: str) -> Iterator[House]:
    """A gateway whose GPU 1 is alice's and works; her container runs."""
    with a_lab(base_image, gpu_engine) as house, ExitStack() as stack:
        file = Path(house.environment["LD_LIBRARY_PATH"]) / "state"
        alice = house.add("alice")
        house.admin("allocate", "alice", "--device", MACHINE[1].uuid)
        alice.ssh("sleep 10000 </dev/null >/dev/null 2>&1 &")
        stack.callback(lambda: state.write(file, MACHINE))
        pid = wait_for(lambda: sleeper(house), "her program")
        work = replace(MACHINE[1], used=8 << 30, utilization=70, processes=((pid, 8 << 30),))
        foreign = replace(MACHINE[2], used=3 << 30, processes=((os.getpid(), 3 << 30),))
        state.write(file, [MACHINE[0], work, foreign, MACHINE[3]])
        yield house


def sleeper(house: House) -> int | None:
    """The pid of her program on the host, once it is what it was started as."""
    (container,) = house.containers()
    lines = house.docker("top", container, "-eo", "pid,args").splitlines()
    return next(
        (
            int(pid)
            for pid, _, words in (line.strip().partition(" ") for line in lines)
            if words.strip() == "sleep 10000"
        ),
        None,
    )


def windows(lab: House) -> list[Window]:
    with lab.store() as store:
        return store.history(NOW - timedelta(days=9999), NOW + timedelta(days=9999))


def test_a_gateway_keeps_what_it_saw_when_it_ends(lab: House) -> None:
    """Her container is found in the kernel's control groups, and the GPU's use belongs to her lease."""

    def seen_in_a_short_life() -> Window | None:
        """It may have been told to end before its first look was over."""
        lab.stop()
        lab.start()
        lab.stop()
        last = next(reversed(windows(lab)), None)
        return last if last is not None and last.gpus and last.containers else None

    seen = wait_for(seen_in_a_short_life, "a window")
    lab.start()
    (user,) = lab.listed("user", "list")
    (lease,) = lab.listed("leases")
    assert {use.device: use.lease for use in seen.gpus} == {
        gpu.uuid: lease["id"] if gpu is MACHINE[1] else None for gpu in MACHINE
    }
    (busy,) = [use for use in seen.gpus if use.device == MACHINE[1].uuid]
    assert (busy.utilization.peak, busy.memory.peak, busy.busy) == (70, 8 << 30, busy.samples)
    (container,) = seen.containers
    assert container.user_id == user["id"]
    assert container.memory.mean
    (consumed,) = ControlGroups().consumption(lab.containers()).values()
    assert consumed.cpu > 0


def test_an_operator_sees_who_uses_what_now(lab: House) -> None:
    """By process and person; what runs in no workspace is nobody's."""
    idle, busy, foreign, _ = lab.listed("gpu", "list")
    assert (idle["utilization"], idle["used"], idle["processes"]) == (0, 0, [])
    assert (busy["utilization"], busy["used"], busy["user"]) == (70, 8 << 30, "alice")
    (program,) = busy["processes"]
    assert (program["name"], program["user"], program["memory"]) == ("sleep", "alice", 8 << 30)
    (program,) = foreign["processes"]
    assert (program["pid"], program["user"]) == (os.getpid(), None)
    lines = lab.admin("gpu", "list").stdout.splitlines()
    assert "70%" in lines[2].split()
    assert "alice 8G" in lines[2]
    assert "unmanaged 3G" in lines[3]
    said = lab.admin("gpu", "show", busy["id"]).stdout
    assert "utilization   70%\n" in said
    assert f"process       {busy['processes'][0]['pid']} (sleep of alice, 8G)\n" in said
