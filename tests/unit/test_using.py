"""What GPUs do now, for an operator: whose the processes are, and a driver that hangs keeps nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from admin.gpus import by_person
from admin.using import Watch
from gateway.devices import Reading
from gateway.nvml import NvmlProbe
from gateway.occupants import Program, person
from tests.support.house import wait_for

INSIDE = f"0::/system.slice/docker-{'4f' * 32}.scope\n"
NAMES = {30001: "alice"}


@pytest.mark.parametrize(
    ("uid", "cgroup", "who"),
    [
        (30001, INSIDE, "alice"),
        # A site's own account, on the host.
        (30001, "0::/user.slice/user-30001.slice/session-3.scope\n", None),
        (0, INSIDE, None),
    ],
)
def test_whose_a_process_is_by_its_uid_in_a_container(uid: int, cgroup: str, who: str | None) -> None:
    assert person(Program("python3", uid, cgroup, 1), NAMES) == who
    assert person(None, NAMES) is None


def test_memory_by_person_is_unknown_when_a_part_of_it_is() -> None:
    told = [("alice", 1 << 30), (None, 2 << 30), ("alice", 1 << 29), ("bob", 5), ("bob", None)]
    processes = [{"user": user, "memory": memory} for user, memory in told]
    assert by_person(processes) == ["alice 1.5G", "unmanaged 2G", "bob"]


@pytest.fixture
def hangs(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A driver that hangs until it is told to go on."""
    go_on = threading.Event()
    asked = []

    def readings(self: NvmlProbe) -> list[Reading]:
        asked.append(self)
        go_on.wait(60)
        return [Reading("GPU-1", 0, 0, "", len(asked))]

    monkeypatch.setattr(NvmlProbe, "readings", readings)
    monkeypatch.setattr(NvmlProbe, "occupations", lambda self: [])
    yield go_on
    go_on.set()


def test_a_driver_that_hangs_is_asked_once_and_left_alone(hangs: threading.Event) -> None:
    watch = Watch(0.01)
    assert watch.look([], []) is None
    assert watch.look([], []) is None
    hangs.set()
    answer = wait_for(lambda: watch._answers, "the answer")[0]
    assert answer["GPU-1"].utilization == 1
