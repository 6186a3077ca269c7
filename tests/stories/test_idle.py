"""What nobody uses goes to the next one: real programs in containers, on GPUs that the stand-in moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.docker.naming import WORKSPACE
from gateway.idleness import Stretch
from gateway.quotas import Owner
from tests.conftest import GpuEngine
from tests.stories.conftest import a_lab
from tests.support.house import House, Person, wait_for
from tests.support.nvidia import state
from tests.support.terminal import Terminal

MACHINE = state.gpus(6)
GIB = 1 << 30
LOADER = """\
import time, zlib
data = bytes(range(256)) * 4096
while True:
    begun = time.process_time()
    while time.process_time() - begun < 0.05:
        zlib.compress(data)
    time.sleep(0.1)
"""
SLEEPER = "import time\nwhile True: time.sleep(1)\n"
PROGRAMS = {
    "loader": f"setsid python3 -c '{LOADER}' >/dev/null 2>&1 </dev/null &",
    "tmux": "tmux new-session -d",
    "faker": f"setsid python3 -c '{SLEEPER}' >/dev/null 2>&1 </dev/null &",
    "ghost": "true",
    "notebook": f"setsid python3 -c '{SLEEPER}' >/dev/null 2>&1 </dev/null &",
    "trainer": f"setsid python3 -c '{SLEEPER}' >/dev/null 2>&1 </dev/null &",
}
_LABEL = f'{{{{index .Config.Labels "{WORKSPACE}"}}}}'
INNOCENT = {"loader", "trainer"}


@pytest.fixture
def lab(gpu_engine: GpuEngine, base_image: str) -> Iterator[House]:
    """A gateway with as many GPUs as there are programs."""
    with a_lab(base_image, gpu_engine) as house, ExitStack() as stack:
        file = Path(house.environment["LD_LIBRARY_PATH"]) / "state"
        stack.callback(lambda: state.write(file, state.gpus(4)))
        state.write(file, MACHINE)
        wait_for(lambda: len(house.listed("gpu", "list")) == len(MACHINE), "the inventory")
        yield house


def patient(lab: House, seconds: int) -> None:
    """Nobody's GPUs may be idle for longer; less than a minute cannot be typed."""
    with lab.store() as store:
        store.set_quotas(Owner(), {"idle": seconds}, "test", datetime.now(UTC))


def leases(lab: House) -> dict[str, Any]:
    return {lease["user"]: lease for lease in lab.listed("leases")}


def pid_of(lab: House, name: str) -> int | None:
    """The pid on the host of her python, once it is what it was started as."""
    with lab.store() as store:
        user_id = next(user.id for user in store.users() if user.name == name)
    for container in lab.containers():
        if lab.docker("inspect", "--format", _LABEL, container).strip() == str(user_id):
            lines = lab.docker("top", container, "-eo", "pid,args").splitlines()
            return next((int(line.split()[0]) for line in lines if " python3 -c " in line), None)
    return None


def trace(lab: House) -> list[Stretch]:
    """What the gateway has seen of the first user's workspace while it held GPUs."""
    with lab.store() as store:
        return list(store.traces().get((1, True), []))


def test_a_gateway_sees_who_is_there_and_what_works(lab: House) -> None:
    """By the worker's word, the kernel's and the driver's, a look a second."""
    patient(lab, 60)
    alice = lab.add("alice")
    lab.admin("allocate", "alice", "--device", MACHINE[0].uuid)
    alice.ssh("true")
    wait_for(lambda: any(each.person for each in trace(lab)), "that she was there")
    wait_for(lambda: any(not each.person and each.seen and not each.busy for each in trace(lab)), "quiet")
    alice.ssh(PROGRAMS["loader"])
    quiet = len(trace(lab))
    wait_for(lambda: any(each.busy and not each.person for each in trace(lab)[quiet:]), "her program")
    alice.ssh("pkill python3")
    quiet = len(trace(lab))
    wait_for(lambda: any(each.seen and not each.busy for each in trace(lab)[quiet:]), "its end")
    file = Path(lab.environment["LD_LIBRARY_PATH"]) / "state"
    state.write(file, [replace(MACHINE[0], used=8 * GIB, utilization=70), *MACHINE[1:]])
    quiet = len(trace(lab))
    wait_for(lambda: any(each.busy and not each.person for each in trace(lab)[quiet:]), "her GPU")
    with Terminal(["ssh", "-F", alice.config, "-tt", "gw"]) as terminal:
        terminal.wait_for(r"\$ ")
        quiet = len(trace(lab))
        wait_for(lambda: any(not each.person for each in trace(lab)[quiet + 1 :]), "a terminal that is alone")
        terminal.type("x")
        quiet = len(trace(lab))
        wait_for(lambda: any(each.person for each in trace(lab)[quiet:]), "what she typed")


def run(lab: House) -> dict[str, int]:
    """Start everybody's program, and have the GPUs do what each makes them do: the programs' pids."""
    found = {}
    for index, (name, command) in enumerate(PROGRAMS.items()):
        person = lab.add(name)
        lab.admin("allocate", name, "--device", MACHINE[index].uuid)
        assert person.ssh(command).returncode == 0
        if "python3" in command:
            found[name] = wait_for(lambda name=name: pid_of(lab, name), f"the program of {name}")
    return found


def moved(pids: Mapping[str, int], *, burst: bool) -> list[state.Gpu]:
    """What the GPUs do; `burst`: the faker makes hers work for a moment."""
    loader, tmux, faker, ghost, notebook, trainer = MACHINE
    return [
        replace(loader, used=2 * GIB, processes=((pids["loader"], 2 * GIB),)),
        tmux,
        replace(
            faker,
            used=GIB,
            processes=((pids["faker"], GIB),),
            utilization=100 if burst else 0,
        ),
        replace(ghost, utilization=100),
        replace(notebook, used=40 * GIB, processes=((pids["notebook"], 40 * GIB),)),
        replace(trainer, used=70 * GIB, processes=((pids["trainer"], 70 * GIB),), utilization=97),
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_of_six_programs_no_innocent_is_stopped_and_every_idle_one_is(lab: House) -> None:
    """A minute of idleness, a quarter of one to come back; the GPU of the faker works once in each window."""
    patient(lab, 3600)
    file = Path(lab.environment["LD_LIBRARY_PATH"]) / "state"
    pids = run(lab)
    over = threading.Event()

    def move() -> None:
        while not over.is_set():
            state.write(file, moved(pids, burst=True))
            over.wait(0.8)
            state.write(file, moved(pids, burst=False))
            over.wait(64)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        patient(lab, 60)
        wait_for(lambda: set(leases(lab)) <= INNOCENT, "the end of all that is idle", 400)
    finally:
        over.set()
        mover.join()
    assert set(leases(lab)) == INNOCENT
    assert {name: pid_of(lab, name) for name in INNOCENT} == {name: pids[name] for name in INNOCENT}
    assert {lease["state"] for lease in leases(lab).values()} == {"active"}
    told = [event["user"] for event in lab.events() if event["event"] == "idle_told"]
    with lab.store() as store:
        names = {user.id: user.name for user in store.users()}
        ended = {lease.user: lease.reason for lease in store.leases(datetime.min.replace(tzinfo=UTC))}
    assert {names[user] for user in told} == set(PROGRAMS) - INNOCENT
    for name in set(PROGRAMS) - INNOCENT:
        assert ended[name].startswith("Its GPUs had nothing to do for "), name


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_notice_a_warning_an_extension_the_end_and_the_next_greeting(lab: House) -> None:
    patient(lab, 60)
    alice: Person = lab.add("alice")
    lab.admin("allocate", "alice", "--device", MACHINE[0].uuid)
    with Terminal(["ssh", "-F", alice.config, "-tt", "gw"]) as terminal:
        terminal.wait_for(r"\$ ", 60)
        terminal.wait_for(r"\agpu-gateway: Your GPUs have had nothing to do for 1m\. If that goes on", 120)
        (lease,) = lab.listed("leases")
        assert lease["idle"].startswith("idle: its container is stopped at ")
        assert "Your GPUs have nothing to do: your container is stopped" in _gpu(alice, "status")
        assert "your container stays until" in _gpu(alice, "extend")
        begun = time.monotonic()
        terminal.wait_for(r"\agpu-gateway: Your GPUs have still nothing to do: your container", 120)
        terminal.wait_for(r"Your GPUs had nothing to do for 1m and are kept for you until", 120)
        # Ten seconds and ten more without it; nothing is early, however slow the machine.
        assert time.monotonic() - begun > 25
    # Her sessions end first.
    held = "Your container was stopped, for it was idle; log in before"
    wait_for(lambda: held in _gpu(alice, "status"), "the hold")
    assert set(leases(lab)) == {"alice"}
    wait_for(lambda: not leases(lab), "the release", 120)
    assert "had nothing to do for 1m, and nobody came" in _gpu(alice, "history")
    with Terminal(["ssh", "-F", alice.config, "-tt", "gw"]) as terminal:
        terminal.wait_for(
            r"Your container was stopped at [^\n]*: Your GPUs had nothing to do for 1m and are", 60
        )


def _gpu(person: Person, word: str) -> str:
    """What a question that enters no container is answered with, in one line."""
    done = person.ssh("gpu", word)
    assert done.returncode == 0, done
    return " ".join(done.stdout.decode().split())
