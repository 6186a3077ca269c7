"""Who a process on a GPU is: its control groups name its container, and that its user."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from gateway import procfs
from gateway.devices import Occupation, Process
from gateway.occupants import Crowd, Program, containers_of

OURS, OTHER = "4f" * 32, "9a" * 32

V1 = f"""12:devices:/docker/{OURS}
11:memory:/docker/{OURS}
1:name=systemd:/docker/{OURS}
0::/system.slice/containerd.service
"""


@pytest.mark.parametrize(
    ("cgroup", "found"),
    [
        (V1, (OURS,)),
        (f"0::/system.slice/docker-{OURS}.scope\n", (OURS,)),
        (f"0::/docker/{OURS}\n", (OURS,)),
        (f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{OURS}.scope/init\n", (OURS,)),
        (f"1:name=systemd:/docker/{OTHER}/docker/{OURS}\n", (OTHER, OURS)),
        (f"0::/machine.slice/libpod-{OTHER}.scope\n", (OTHER,)),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{OTHER}.scope\n", (OTHER,)),
        (f"3:cpu,cpuacct:/kubepods/burstable/pod1/{OTHER}\n", (OTHER,)),
        ("0::/user.slice/user-0.slice/session-3.scope\n", ()),
        (f"0::/docker/{OURS[:-1]}\n", ()),
        (f"0::/docker/{OURS}ab\n", ()),
        ("", ()),
    ],
)
def test_containers_are_found_in_control_groups_of_both_versions(cgroup: str, found: tuple[str, ...]) -> None:
    assert containers_of(cgroup) == found


def test_a_process_is_its_containers_users_or_nobodys() -> None:
    programs = {
        7: Program("python3", 30001, f"0::/docker/{OURS}\n", 1),
        8: Program("python3", 1000, f"0::/docker/{OTHER}\n", 1),
        9: Program("miner", 1000, "0::/user.slice\n", 1),
        10: None,
    }
    crowd = Crowd(programs, {OURS: "alice"})
    users = [crowd.user(Process(pid, None)) for pid in programs]
    assert users == ["alice", None, None, None]
    assert crowd.describe(Process(7, None)) == "python3 of alice"
    assert crowd.describe(Process(9, None)) == "miner of uid 1000"
    assert crowd.unmanaged(Occupation("GPU-1", 0, (Process(7, 1),))) is None
    everybody = Occupation("GPU-1", 0, tuple(Process(pid, 1) for pid in programs))
    assert crowd.unmanaged(everybody) == (
        "process 8 (python3 of uid 1000), process 9 (miner of uid 1000), process 10 (nothing is known of it)"
    )


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


def test_a_live_process_is_known_by_its_name_owner_and_groups(sleeper: int) -> None:
    found = procfs.programs([sleeper], procfs.boot_time())[sleeper]
    assert found is not None
    assert (found.name, found.uid) in {
        ("sleep", os.getuid()),
        ("python", os.getuid()),
        ("python3", os.getuid()),
    }
    with open(f"/proc/{sleeper}/cgroup") as file:
        assert found.cgroup == file.read()


def test_a_pid_that_somebody_got_later_is_not_the_process_that_was_seen(sleeper: int) -> None:
    started = procfs.programs([sleeper], procfs.boot_time())[sleeper]
    assert started is not None
    before = started.started / os.sysconf("SC_CLK_TCK") - 10
    assert procfs.programs([sleeper], before) == {sleeper: None}


def test_a_process_that_is_gone_is_nobody() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert procfs.programs([process.pid], procfs.boot_time()) == {process.pid: None}
