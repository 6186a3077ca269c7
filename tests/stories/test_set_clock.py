"""Somebody sets the machine's clock by a day: nobody loses the GPU that she holds, and the log says so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.conftest import GpuEngine
from tests.stories.conftest import a_house, ended
from tests.support.house import House, wait_for
from tests.support.settable import Clock, a_clock

DAY = timedelta(days=1)
LEASE = timedelta(hours=8)
NEAR = timedelta(minutes=5)
"""What the test itself takes on a slow machine, and more."""


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock that is right."""
    with a_clock() as clock:
        yield clock


@pytest.fixture
def house(clock: Clock, gpu_engine: GpuEngine, base_image: str) -> Iterator[House]:
    """A running gateway with four GPUs, by that clock, as is its gpuadmin."""
    house = a_house(base_image, {**gpu_engine.environment, **clock.environment})
    try:
        house.start()
        wait_for(lambda: len(house.listed("gpu", "list")) == 4, "the inventory")
        yield house
    finally:
        ended(house)


def _steps(house: House) -> list[timedelta]:
    """The steps that the log tells of."""
    told = [event["seconds"] for event in house.events() if event["event"] == "clock_set"]
    return [timedelta(seconds=seconds) for seconds in told]


def _lease(house: House) -> dict[str, Any]:
    (lease,) = house.listed("leases")
    return lease


def _stands(house: House, granted: dict[str, Any], ahead: timedelta) -> None:
    """It is the lease that was granted, with as much left as then; it ends that much later by the clock."""
    now = _lease(house)
    for key in ("id", "user", "devices", "state"):
        assert now[key] == granted[key]
    ends, ended = (datetime.fromisoformat(lease["expires_at"]) for lease in (now, granted))
    assert abs(ends - ended - ahead) < NEAR
    assert LEASE - NEAR < timedelta(seconds=now["remaining"]) <= LEASE


def test_a_clock_set_a_day_forward_and_back_loses_no_lease(clock: Clock, house: House) -> None:
    """Her session and her GPU outlive each step, while the gateway runs and while it does not."""
    alice = house.add("alice")
    house.admin("allocate", "alice", "--gpus", "1", "--for", "8h")
    shown = alice.ssh("nvidia-smi -L").stdout
    assert shown.count(b"GPU-") == 1
    granted = _lease(house)
    steps: list[timedelta] = []
    with alice.start("echo in; cat") as session:
        assert session.stdin is not None
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        for ahead in (DAY, -DAY, timedelta(0)):
            steps.append(clock.set(ahead))
            wait_for(lambda: len(_steps(house)) >= len(steps), f"a note of a clock that is {ahead} ahead")
            _stands(house, granted, ahead)
            session.stdin.write(b"on\n")
            session.stdin.flush()
            assert session.stdout.readline() == b"on\n"
        session.communicate(timeout=20)
        assert session.returncode == 0
    house.stop()
    clock.set(DAY)
    # gpuadmin is the first to see it.
    _stands(house, granted, DAY)
    house.start()
    assert alice.ssh("nvidia-smi -L").stdout == shown
    steps.append(clock.set(-DAY))
    wait_for(lambda: len(_steps(house)) >= len(steps), "a note of the last step")
    _stands(house, granted, -DAY)
    assert alice.ssh("nvidia-smi -L").stdout == shown
    assert [round(step / DAY) for step in _steps(house)] == [round(step / DAY) for step in steps]
