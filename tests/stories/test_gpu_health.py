"""GPUs that are in use, sick or gone: who gets none of them, who is told, and what an operator sees."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import GpuEngine
from tests.stories.conftest import a_lab
from tests.support.house import House, wait_for
from tests.support.nvidia import state
from tests.support.terminal import Terminal

MACHINE = state.gpus(4)
Change = Callable[..., None]


@pytest.fixture(scope="module")
def lab(gpu_engine: GpuEngine, base_image: str) -> Iterator[House]:
    """One for every test of this module; each leaves its GPUs well and its people without leases."""
    with a_lab(base_image, gpu_engine) as house:
        yield house


@pytest.fixture
def change(lab: House) -> Iterator[Change]:
    """Makes one GPU another; after the test all are well, and the gateway has seen it."""
    file = Path(lab.environment["LD_LIBRARY_PATH"]) / "state"
    now = dict(enumerate(MACHINE))

    def make(index: int, **fields: Any) -> None:
        now[index] = replace(MACHINE[index], **fields)
        state.write(file, list(now.values()))

    with ExitStack() as stack:
        stack.callback(lambda: wait_for(lambda: {gpu["state"] for gpu in gpus(lab)} == {"healthy"}, "health"))
        stack.callback(lambda: state.write(file, MACHINE))
        yield make


def gpus(lab: House) -> list[dict[str, Any]]:
    return lab.listed("gpu", "list")


def xids(lab: House) -> list[dict[str, Any]]:
    return [event for event in lab.events() if event["event"] == "gpu_xid"]


def all_heard(lab: House) -> bool:
    """Whether errors of all GPUs are listened for: the driver keeps none for later."""
    heard = [event["gpus"] for event in lab.events() if event["event"] == "gpus_heard"]
    return heard[-1:] == [sorted(gpu.uuid for gpu in MACHINE)]


def leases_of(lab: House, name: str) -> list[dict[str, Any]]:
    return [lease for lease in lab.listed("leases") if lease["user"] == name]


def test_an_xid_of_the_hardware_takes_a_gpu_out_of_use_at_once_and_one_of_a_program_does_not(
    lab: House, change: Change
) -> None:
    """Both are kept for the operator to see; her word ends the quarantine; other GPUs are heard meanwhile."""
    wait_for(lambda: all_heard(lab), "who hears all GPUs")
    alarmed = len(xids(lab))
    change(0, xids=(31,))
    wait_for(lambda: len(xids(lab)) == alarmed + 1, "the program's Xid")
    change(0, xids=(31, 79))
    wait_for(lambda: len(xids(lab)) == alarmed + 2, "the hardware's Xid")
    assert [(event["xid"], event["quarantined"]) for event in xids(lab)[alarmed:]] == [
        (31, False),
        (79, True),
    ]
    (shown,) = lab.listed("gpu", "show", MACHINE[0].uuid)
    assert (shown["state"], shown["problem"]) == ("quarantined", "Xid 79: it fell off the bus")
    assert [xid["found"] for xid in shown["xids"]] == [
        "Xid 79: it fell off the bus",
        "Xid 31: a program's fault",
    ]
    change(1, xids=(43,))
    wait_for(lambda: len(xids(lab)) == alarmed + 3, "another GPU's Xid")
    assert lab.admin("gpu", "undrain", MACHINE[0].uuid).stdout == f"{MACHINE[0].uuid} can be granted again.\n"
    assert gpus(lab)[0]["state"] == "healthy"


def test_the_holder_reads_of_an_error_of_her_program(lab: House, change: Change) -> None:
    """On her terminal, with its number; the GPU stays hers."""
    erin = lab.add("erin")
    lab.admin("allocate", "erin", "--device", MACHINE[1].uuid)
    with Terminal(["ssh", "-F", erin.config, "-tt", "gw"]) as terminal:
        terminal.wait_for(r"\$ ")
        wait_for(lambda: all_heard(lab), "who hears all GPUs")
        change(1, xids=(13,))
        terminal.wait_for(r"GPU 1 of your lease \d+ reported Xid 13: a program's fault\.")
    assert [lease["devices"] for lease in leases_of(lab, "erin")] == [[MACHINE[1].uuid]]
    lab.admin("release", "erin")
    lab.admin("user", "remove", "erin")


@pytest.fixture
def stranger() -> Iterator[int]:
    """The pid of a program on the host that nobody granted a GPU to."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


def test_a_gpu_is_granted_to_nobody_while_anything_is_left_on_it(
    lab: House, change: Change, stranger: int
) -> None:
    """A stranger's program, hers on a GPU that she does not hold, and what is left after her lease."""
    dana = lab.add("dana")
    lab.admin("quota", "set", "dana", "gpus=4")
    lab.admin("allocate", "dana", "--device", MACHINE[2].uuid)
    with dana.start("echo in; exec sleep 1000") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        (container,) = lab.containers()
        pids = lab.docker("top", container, "-o", "pid,args").splitlines()
        hers = next(int(line.split()[0]) for line in pids if "sleep 1000" in line)
        change(1, processes=((stranger, 3 << 30),), used=3 << 30)
        change(2, processes=((hers, 5 << 30),), used=5 << 30)
        change(3, processes=((hers, 1 << 30),), used=1 << 30)
        said = f"process {stranger} (sleep of uid 0)"
        mine = f"in use by process {hers} (sleep of dana)"
        wait_for(lambda: gpus(lab)[1]["unmanaged"] and gpus(lab)[3]["problem"], "the looks at both")
        assert [(gpu["state"], gpu["problem"], gpu["unmanaged"]) for gpu in gpus(lab)[1:]] == [
            ("quarantined", f"in use by {said}", said),
            ("healthy", None, None),
            ("quarantined", mine, None),
        ]
        refused = lab.admin("allocate", "dana", "--device", MACHINE[1].uuid, status=75)
        assert said in refused.stderr
        undrained = lab.admin("gpu", "undrain", MACHINE[1].uuid).stdout
        assert undrained.startswith(f"{MACHINE[1].uuid} is quarantined until that is seen to be over")
        lab.admin("release", "dana")
        session.communicate(timeout=20)
    (kept,) = leases_of(lab, "dana")
    assert kept["devices"] == [MACHINE[2].uuid]
    assert kept["problem"] == f"{MACHINE[2].uuid}: in use by process {hers}"
    assert lab.containers() == []
    for index in (1, 2, 3):
        change(index)
    wait_for(lambda: not leases_of(lab, "dana"), "the released lease")
    lab.admin("allocate", "dana", "--device", MACHINE[2].uuid)
    wait_for(lambda: gpus(lab)[1]["problem"] is None, "the clean GPU")
    lab.admin("allocate", "dana", "--device", MACHINE[1].uuid)
    lab.admin("user", "remove", "dana")


@pytest.mark.slow
def test_a_driver_of_another_version_than_its_library_loses_all_gpus_and_says_so_once(
    lab: House, change: Change
) -> None:
    """As after an upgrade under a running driver. `doctor` says what to do."""
    lab.add("finn")
    before = len(lab.events())
    state.write(Path(lab.environment["LD_LIBRARY_PATH"]) / "state", MACHINE, fails=18)
    wait_for(lambda: {gpu["state"] for gpu in gpus(lab)} == {"lost"}, "the loss of all")
    said = "NVIDIA's library and the driver that is loaded are of different versions"
    assert {gpu["problem"].partition(" (")[0] for gpu in gpus(lab)} == {said}
    assert said in lab.admin("allocate", "finn", "--gpus", "1", status=75).stderr
    checks = {row["check"]: row for row in json.loads(lab.admin("doctor", "--json", status=None).stdout)}
    assert (checks["nvml"]["status"], "reboot" in checks["nvml"]["fix"]) == ("fail", True)
    failed = [event["work"] for event in lab.events()[before:] if event["event"] == "work_failed"]
    assert failed.count("look_at_gpus") == 1
    change(0)
    wait_for(lambda: {gpu["state"] for gpu in gpus(lab)} == {"healthy"}, "their return")
    lab.admin("user", "remove", "finn")


def test_a_gpu_that_is_lost_under_a_lease_is_replaced_and_its_holder_is_told(
    lab: House, change: Change
) -> None:
    """On her open terminal; the other GPU is there at her next login, when nothing of hers runs."""
    erin = lab.add("erin")
    lab.admin("allocate", "erin", "--device", MACHINE[0].uuid)
    with erin.start("echo in; exec sleep 1000", options=("-tt",)) as terminal:
        assert terminal.stdout is not None
        assert terminal.stdout.readline() == b"in\r\n"
        change(0, lost=15)
        said = next(line for line in terminal.stdout if b"takes its place" in line).decode()
        assert "GPU 0 of your lease" in said
        assert "is lost: it fell off the bus (GPU is lost). GPU 1 takes its place" in said
        (lease,) = leases_of(lab, "erin")
        assert (lease["devices"], lease["problem"]) == ([MACHINE[1].uuid], None)
        # Well again, it is nobody's while her container still shows it.
        change(0)
        kept = "its last holder's container still shows it"
        wait_for(lambda: gpus(lab)[0]["problem"] == kept, "a GPU that is kept")
        lab.admin("quota", "set", "erin", "gpus=2")
        assert kept in lab.admin("allocate", "erin", "--device", MACHINE[0].uuid, status=75).stderr
        terminal.kill()
    new = f"UUID: {MACHINE[1].uuid}".encode()
    wait_for(lambda: new in erin.ssh("nvidia-smi -L").stdout, "the GPU that took its place")
    lab.admin("user", "remove", "erin")


def test_who_was_not_there_when_her_gpu_failed_reads_of_it_at_her_next_login(
    lab: House, change: Change
) -> None:
    """Her container has the other GPU by then. What failed, what she holds, and from when on, once."""
    rosa = lab.add("rosa")
    lab.admin("allocate", "rosa", "--device", MACHINE[0].uuid)
    assert rosa.ssh("nvidia-smi -L").stdout.count(b"GPU-") == 1
    (container,) = lab.containers()
    change(0, lost=15)
    wait_for(lambda: leases_of(lab, "rosa")[0]["devices"] == [MACHINE[1].uuid], "the GPU in its place")
    wait_for(lambda: lab.containers() not in ([], [container]), "the container that shows it")
    for news in (True, False):
        with Terminal(["ssh", "-F", rosa.config, "-tt", "gw"]) as terminal:
            seen = terminal.wait_for(r"GPU 1 \(.*\) until 20[^$]*\$ ")[0].decode()
            said = "failed at .* UTC: it fell off the bus .*GPU is lost.*\\. GPU 1 takes its place"
            assert bool(re.search(said, seen)) is news
            terminal.type("nvidia-smi -L; exit\n")
            terminal.wait_for(MACHINE[1].uuid)
            assert terminal.process.wait(20) == 0
    lab.admin("user", "remove", "rosa")
