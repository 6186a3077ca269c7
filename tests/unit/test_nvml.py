"""The probe reads the machine through NVIDIA's own client library, here over the stand-in of libnvidia-ml.

Each case is a process of its own: a process loads the library once and keeps it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from tests.support.nvidia import state

ASK = """
import dataclasses, json, sys
from gateway.errors import PlatformError
from gateway.nvml import NvmlProbe

def answer():
    try:
        look = NvmlProbe("here").look("a-boot")
        devices = [dataclasses.asdict(device) for device in look.devices]
        told = dataclasses.asdict(look.told)
        occupations = [dataclasses.asdict(each) for each in NvmlProbe().occupations()]
        readings = [dataclasses.asdict(each) for each in NvmlProbe().readings()]
        driver = NvmlProbe().driver_version()
        return {"devices": devices, "driver": driver, "told": told, "occupations": occupations,
                "readings": readings}
    except PlatformError as error:
        return {"code": error.code.value, "message": error.message}

for line in sys.stdin:
    print(json.dumps(answer()), flush=True)
"""

MACHINE = state.gpus(3)


class Asker:
    """A process that probes once for each question, so that one process sees a machine change."""

    program = ASK

    def __init__(self, folder: Path | None, file: Path, *words: str) -> None:
        environment = {**os.environ, "NVML_STAND_IN_STATE": str(file)}
        environment.pop("LD_LIBRARY_PATH", None)
        if folder is not None:
            environment["LD_LIBRARY_PATH"] = str(folder)
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.program, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)

    def __call__(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.say("")
        return answer

    def say(self, line: str) -> Any:
        """Its answer to one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self.read()

    def read(self) -> Any:
        """What it says next."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def test_lists_every_gpu_with_its_model_and_memory(stand_ins: Path, tmp_path: Path) -> None:
    machine = [*MACHINE, state.Gpu(uuid="GPU-4", minor=3, model="NVIDIA A100-SXM4-40GB", memory=40 << 30)]
    state.write(tmp_path / "state", machine)
    with Asker(stand_ins, tmp_path / "state") as ask:
        answer = ask()
    assert answer["driver"] == state.DRIVER
    assert [device["id"] for device in answer["devices"]] == [gpu.uuid for gpu in machine]
    shown = answer["devices"][3]
    assert (shown.pop("hardware")["minor"], shown.pop("health")) == (3, "healthy")
    assert shown == {
        "id": "GPU-4",
        "index": 3,
        "model": "NVIDIA A100-SXM4-40GB",
        "memory": 42949672960,
        "node": "here",
        "problem": None,
        "drained": None,
        "remark": None,
        "quarantine": None,
        "unmanaged": None,
        "part": None,
    }


def test_a_machine_without_nvidias_library_has_no_gpu(tmp_path: Path) -> None:
    with Asker(None, tmp_path / "state") as ask:
        told = {"signs": {}, "silent": {}, "era": "a-boot", "use": {}, "unmanaged": {}}
        assert ask() == {"devices": [], "driver": None, "told": told, "occupations": [], "readings": []}


def test_a_driver_that_is_not_loaded_is_unavailable_with_its_reason(stand_ins: Path, tmp_path: Path) -> None:
    state.write(tmp_path / "state", MACHINE, fails=18)
    with Asker(stand_ins, tmp_path / "state") as ask:
        answer = ask()
    assert answer["code"] == "unavailable"
    assert "are of different versions" in answer["message"]
    assert "reboot this machine" in answer["message"]
    assert answer["message"].count(". ") == 0


def test_a_lost_gpu_is_left_out_and_the_others_keep_their_index(stand_ins: Path, tmp_path: Path) -> None:
    lost = state.Gpu(uuid=MACHINE[1].uuid, minor=1, lost=15)
    state.write(tmp_path / "state", [MACHINE[0], lost, MACHINE[2]])
    with Asker(stand_ins, tmp_path / "state") as ask:
        answer = ask()
    assert [(device["index"], device["id"]) for device in answer["devices"]] == [
        (0, MACHINE[0].uuid),
        (2, MACHINE[2].uuid),
    ]
    assert answer["told"]["silent"] == {"1": 15}


def test_a_gpu_that_stays_silent_is_logged_once(stand_ins: Path, tmp_path: Path) -> None:
    program = "from gateway.nvml import NvmlProbe as P; p = P(); [p.look() for _ in range(3)]"
    state.write(tmp_path / "state", [MACHINE[0], replace(MACHINE[1], lost=15)])
    places = {"LD_LIBRARY_PATH": str(stand_ins), "NVML_STAND_IN_STATE": str(tmp_path / "state")}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **places}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "GPU 1 does not answer: GPU is lost\n")


def test_a_driver_that_came_back_is_seen_by_the_same_process(stand_ins: Path, tmp_path: Path) -> None:
    state.write(tmp_path / "state", MACHINE, driver="550.1", fails=9)
    with Asker(stand_ins, tmp_path / "state") as ask:
        assert ask()["code"] == "unavailable"
        state.write(tmp_path / "state", MACHINE[:1], driver="570.2")
        answer = ask()
    assert (answer["driver"], len(answer["devices"])) == ("570.2", 1)


def ask_once(stand_ins: Path, file: Path, machine: list[state.Gpu]) -> dict[str, Any]:
    state.write(file, machine)
    with Asker(stand_ins, file) as ask:
        return ask()


def test_where_a_gpu_sits_and_what_it_can_do(stand_ins: Path, tmp_path: Path) -> None:
    machine = [replace(MACHINE[0], numa=1, mig=1), replace(MACHINE[1], numa=None, mig=None)]
    first, second = ask_once(stand_ins, tmp_path / "state", machine)["devices"]
    assert first["hardware"] == {
        "bus_id": "00000000:10:00.0",
        "minor": 0,
        "capability": "9.0",
        "numa": 1,
        "mig": True,
        "driver": state.DRIVER,
        "links": [],
    }
    assert (second["hardware"]["numa"], second["hardware"]["mig"]) == (None, None)


def test_how_gpus_are_connected_in_the_words_of_nvidia_smi(stand_ins: Path, tmp_path: Path) -> None:
    a, b, c, d = state.gpus(4)
    wired = replace(a, numa=0, nvlinks=((b.uuid, 4), ("switch", 2)))
    back = replace(b, numa=0, nvlinks=((a.uuid, 4),))
    machine = [
        wired,
        back,
        replace(c, numa=0, switch=7, nvlinks=(("switch", 3),)),
        replace(d, numa=0, switch=7),
    ]
    devices = ask_once(stand_ins, tmp_path / "state", machine)["devices"]
    links = {device["index"]: [word for _, word in device["hardware"]["links"]] for device in devices}
    assert links == {
        0: ["NV4", "NV2", "NODE"],
        1: ["NV4", "NODE", "NODE"],
        2: ["NV2", "NODE", "PIX"],
        3: ["NODE"] * 2 + ["PIX"],
    }
    far = ask_once(stand_ins, tmp_path / "state", [replace(a, numa=0), replace(b, numa=1)])["devices"]
    assert far[0]["hardware"]["links"] == [[b.uuid, "SYS"]]


def test_the_signs_of_health_and_none_for_what_is_not_supported(stand_ins: Path, tmp_path: Path) -> None:
    sick = replace(MACHINE[0], ecc=3, rows=(1, 0), pages=1, recovery=2)
    silent = replace(MACHINE[1], ecc=None, rows=None, pages=None, recovery=None)
    signs = ask_once(stand_ins, tmp_path / "state", [sick, silent])["told"]["signs"]
    assert signs[sick.uuid] == {
        "uncorrected": 3,
        "row_pending": True,
        "row_failed": False,
        "page_pending": True,
        "recovery": 2,
        "error": None,
    }
    assert set(signs[silent.uuid].values()) == {None}


def test_one_that_must_be_reset_is_known_and_says_so(stand_ins: Path, tmp_path: Path) -> None:
    answer = ask_once(stand_ins, tmp_path / "state", [replace(MACHINE[0], error=16)])
    assert [device["id"] for device in answer["devices"]] == [MACHINE[0].uuid]
    assert answer["told"]["signs"][MACHINE[0].uuid]["error"] == 16
    assert answer["told"]["era"] == f"a-boot {state.DRIVER}"


def test_who_computes_counts_and_who_draws_does_not(stand_ins: Path, tmp_path: Path) -> None:
    gpu = replace(
        MACHINE[0], used=9 << 30, processes=((11, 5 << 30), (12, 1 << 30)), graphics=((13, 3 << 30),)
    )
    (found,) = ask_once(stand_ins, tmp_path / "state", [gpu])["occupations"]
    assert found["used"] == 6 << 30
    assert found["processes"] == [{"pid": 11, "used": 5 << 30}, {"pid": 12, "used": 1 << 30}]


HEAR = """
import json, sys
from gateway.errors import PlatformError
from gateway.nvml import XidWatch

with XidWatch(json.loads(sys.argv[1])) as watch:
    print(json.dumps(watch.heard), flush=True)
    for line in sys.stdin:
        try:
            found = watch.wait(int(line))
            print(json.dumps(found and [found.device, found.number]), flush=True)
        except PlatformError as error:
            print(json.dumps(error.message), flush=True)
"""


def divided(*slices: state.Slice, **fields: Any) -> list[state.Gpu]:
    """Two GPUs, the second with MIG on."""
    return [MACHINE[0], replace(MACHINE[1], mig=1, utilization=50, slices=slices, **fields)]


def test_slices_are_devices_named_after_their_place_whatever_their_uuid(
    stand_ins: Path, tmp_path: Path
) -> None:
    """Both forms of a UUID; several compute instances of one GPU instance; what ails the GPU ails them."""
    file, parent = tmp_path / "state", MACHINE[1].uuid
    old = f"MIG-{parent}/9/0"
    made = (
        state.Slice("MIG-a", gi=7, start=4),
        state.Slice(old, "1g.10gb+me", gi=9, start=6, memory=9 << 30),
        state.Slice("MIG-c", "1c.3g.40gb", gi=1, start=0, ci=0, memory=40 << 30),
        state.Slice("MIG-d", "1c.3g.40gb", gi=1, start=0, ci=1, memory=40 << 30),
    )
    state.write(file, divided(*made, ecc=3))
    with Asker(stand_ins, file) as ask:
        answer = ask()
        state.write(file, divided(replace(made[0], uuid="MIG-new", gi=12)))
        (_, whole, again) = ask()["devices"]
    parts = answer["devices"][2:]
    names = [f"{parent}/{rest}" for rest in ("1g.10gb@4", "1g.10gb+me@6", "1c.3g.40gb@0.0", "1c.3g.40gb@0.1")]
    assert [part["id"] for part in parts] == names
    assert [part["part"]["uuid"] for part in parts] == ["MIG-a", old, "MIG-c", "MIG-d"]
    assert [part["memory"] >> 30 for part in parts] == [10, 9, 40, 40]
    assert {(part["index"], part["model"], part["hardware"]["minor"]) for part in parts} == {
        (1, MACHINE[1].model, 1)
    }
    assert answer["told"]["signs"][names[0]] == answer["told"]["signs"][parent]
    assert (whole["id"], whole["part"], whole["hardware"]["mig"]) == (parent, None, True)
    assert (again["id"], again["part"]["uuid"]) == (names[0], "MIG-new")


def test_each_slice_tells_its_memory_and_its_processes_and_no_utilization(
    stand_ins: Path, tmp_path: Path
) -> None:
    """By the driver's name of it. Of the GPU around them nobody can say who uses it as a whole."""
    file = tmp_path / "state"
    made = (state.Slice("MIG-a", gi=7, used=3 << 30), state.Slice("MIG-b", gi=8, start=1))
    state.write(file, divided(*made, used=3 << 30, processes=((4711, 2 << 30, 7, 0),)))
    with Asker(stand_ins, file) as ask:
        answer = ask()
    (_, whole, first, second) = answer["readings"]
    assert (whole["utilization"], whole["parent"]) == (None, None)
    assert (first["id"], first["used"], first["parent"]) == ("MIG-a", 3 << 30, MACHINE[1].uuid)
    assert (second["utilization"], second["used"], second["free"]) == (None, 0, 10 << 30)
    assert [(each["id"], each["used"], each["processes"]) for each in answer["occupations"]] == [
        (MACHINE[0].uuid, 0, []),
        ("MIG-a", 3 << 30, [{"pid": 4711, "used": 2 << 30}]),
        ("MIG-b", 0, []),
    ]


def test_who_may_not_know_where_a_slice_lies_is_told_to_be_root(stand_ins: Path, tmp_path: Path) -> None:
    """Not that there is none: then its lease would move away."""
    state.write(tmp_path / "state", divided(state.Slice("MIG-a", start=-1)))
    with Asker(stand_ins, tmp_path / "state") as ask:
        answer = ask()
    assert answer["code"] == "unavailable"
    assert answer["message"].startswith("Only root may ask NVIDIA's driver where MIG slices lie")


class Listener(Asker):
    """A process that listens to the GPUs at `places`: each question is how many milliseconds to wait."""

    program = HEAR

    def __init__(self, folder: Path, file: Path, places: dict[str, str]) -> None:
        super().__init__(folder, file, json.dumps(places))
        self.heard = self.read()

    def wait(self, milliseconds: int) -> Any:
        return self.say(str(milliseconds))


def test_xids_are_heard_of_the_gpus_that_are_listened_to(stand_ins: Path, tmp_path: Path) -> None:
    file = tmp_path / "state"
    state.write(file, [replace(gpu, xids=(13,)) for gpu in MACHINE])
    with Listener(stand_ins, file, {MACHINE[1].uuid: "00000000:11:00.0"}) as listener:
        assert listener.heard is True
        # What came before is over, and others' errors are others'.
        assert listener.wait(1) is None
        state.write(file, [replace(gpu, xids=(13, 79) if gpu.minor != 1 else (13,)) for gpu in MACHINE])
        assert listener.wait(1) is None
        state.write(file, [replace(gpu, xids=(13, 48)) for gpu in MACHINE])
        assert listener.wait(60000) == [MACHINE[1].uuid, 48]
        assert listener.wait(1) is None
        state.write(file, MACHINE, fails=9)
        assert "does not answer" in listener.wait(1)


def test_nothing_is_heard_where_there_is_no_such_gpu(stand_ins: Path, tmp_path: Path) -> None:
    state.write(tmp_path / "state", MACHINE)
    with Listener(stand_ins, tmp_path / "state", {"GPU-gone": "00000000:99:00.0"}) as listener:
        assert listener.heard is False
