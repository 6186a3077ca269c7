"""What a person leaves is there when she comes back, whatever happened to her container or the gateway."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable
from pathlib import Path

from tests.support.house import House, wait_for

_LEAVE = "echo kept | tee ~/mine /workspace/ours >/dev/null; echo gone > /tmp/scratch"
_FIND = "cat ~/mine /workspace/ours; cat /tmp/scratch 2>/dev/null"


def test_files_survive_a_new_container_and_a_new_gateway(new_house: Callable[[], House]) -> None:
    """`workspace recreate` and a restart; /tmp alone is emptied, with the container."""
    house = new_house()
    alice = house.add("alice")
    alice.ssh(_LEAVE)
    first = house.containers()
    house.stop()
    assert house.containers() == first, "containers run on without the gateway"
    house.start()
    assert alice.ssh(_FIND).stdout.split() == [b"kept", b"kept", b"gone"]
    assert house.containers() == first, "the same container was found again"
    assert house.admin("workspace", "recreate", "alice").returncode == 0
    assert alice.ssh(_FIND).stdout.split() == [b"kept", b"kept"]
    assert house.containers() != first


def test_a_program_may_save_when_its_container_is_made_anew(new_house: Callable[[], House]) -> None:
    """`workspace recreate` stops what runs as a machine's shutdown does: SIGTERM first."""
    house = new_house()
    alice = house.add("alice")
    training = "trap 'echo saved > ~/checkpoint; exit' TERM; touch ~/training; while :; do sleep 0.1; done"
    alice.ssh(f"setsid sh -c {shlex.quote(training)} >/dev/null 2>&1 </dev/null &")
    wait_for(lambda: alice.ssh("ls training").stdout, "the training")
    house.admin("workspace", "recreate", "alice")
    assert alice.ssh("cat checkpoint").stdout == b"saved\n"


def test_recreate_works_with_the_gateway_stopped(new_house: Callable[[], House]) -> None:
    """gpuadmin does it itself."""
    house = new_house()
    alice = house.add("alice")
    alice.ssh(_LEAVE)
    house.stop()
    house.admin("workspace", "recreate", "alice")
    assert house.containers() == []
    house.start()
    assert alice.ssh(_FIND).stdout.split() == [b"kept", b"kept"]


def test_work_runs_on_while_the_gateway_is_killed(new_house: Callable[[], House]) -> None:
    """kill -9 of the broker: its workers end, what runs in containers stays, the next login finds it."""
    house = new_house()
    alice = house.add("alice")
    alice.ssh("setsid sleep 7201 >/dev/null 2>&1 </dev/null &")
    workers = house.workers_pids()
    with alice.start("echo in; cat") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        house.stop(signal.SIGKILL)
        session.communicate(timeout=20)
        assert session.returncode == 255
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the workers' end")
    house.start()
    assert alice.ssh("pgrep -c -f 'sleep 7201'").stdout == b"1\n"
