"""The probe reads the machine through NVIDIA's own client library, here over the stand-in of libnvidia-ml.

Each case is a process of its own: a process loads the library once and keeps it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.nvidia import state

ASK = """
import dataclasses, json, sys
from gateway.errors import PlatformError
from gateway.nvml import NvmlProbe

def answer():
    try:
        devices = [dataclasses.asdict(device) for device in NvmlProbe("here").devices()]
        return {"devices": devices, "driver": NvmlProbe().driver_version()}
    except PlatformError as error:
        return {"code": error.code.value, "message": error.message}

for line in sys.stdin:
    print(json.dumps(answer()), flush=True)
"""

MACHINE = state.gpus(3)


class Asker:
    """A process that probes once for each question, so that one process sees a machine change."""

    def __init__(self, folder: Path | None, file: Path) -> None:
        environment = {**os.environ, "NVML_STAND_IN_STATE": str(file)}
        environment.pop("LD_LIBRARY_PATH", None)
        if folder is not None:
            environment["LD_LIBRARY_PATH"] = str(folder)
        self._process = subprocess.Popen(
            [sys.executable, "-c", ASK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)

    def __call__(self) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write("\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(stdout.readline())
        return answer


def test_lists_every_gpu_with_its_model_and_memory(stand_ins: Path, tmp_path: Path) -> None:
    machine = [*MACHINE, state.Gpu(uuid="GPU-4", minor=3, model="NVIDIA A100-SXM4-40GB", memory=40 << 30)]
    state.write(tmp_path / "state", machine)
    with Asker(stand_ins, tmp_path / "state") as ask:
        answer = ask()
    assert answer["driver"] == state.DRIVER
    assert [device["id"] for device in answer["devices"]] == [gpu.uuid for gpu in machine]
    assert answer["devices"][3] == {
        "id": "GPU-4",
        "index": 3,
        "model": "NVIDIA A100-SXM4-40GB",
        "memory": 42949672960,
        "node": "here",
        "problem": None,
        "drained": None,
    }


def test_a_machine_without_nvidias_library_has_no_gpu(tmp_path: Path) -> None:
    with Asker(None, tmp_path / "state") as ask:
        assert ask() == {"devices": [], "driver": None}


def test_a_driver_that_is_not_loaded_is_unavailable_with_its_reason(stand_ins: Path, tmp_path: Path) -> None:
    state.write(tmp_path / "state", MACHINE, fails=18)
    with Asker(stand_ins, tmp_path / "state") as ask:
        answer = ask()
    assert answer["code"] == "unavailable"
    assert (
        "(RM has detected an NVML/RM version mismatch.)" in answer["message"]
        or "mismatch" in answer["message"]
    )


def test_a_lost_gpu_is_left_out_and_the_others_keep_their_index(stand_ins: Path, tmp_path: Path) -> None:
    lost = state.Gpu(uuid=MACHINE[1].uuid, minor=1, lost=15)
    state.write(tmp_path / "state", [MACHINE[0], lost, MACHINE[2]])
    with Asker(stand_ins, tmp_path / "state") as ask:
        answer = ask()
    assert [(device["index"], device["id"]) for device in answer["devices"]] == [
        (0, MACHINE[0].uuid),
        (2, MACHINE[2].uuid),
    ]


def test_a_driver_that_came_back_is_seen_by_the_same_process(stand_ins: Path, tmp_path: Path) -> None:
    state.write(tmp_path / "state", MACHINE, driver="550.1", fails=9)
    with Asker(stand_ins, tmp_path / "state") as ask:
        assert ask()["code"] == "unavailable"
        state.write(tmp_path / "state", MACHINE[:1], driver="570.2")
        answer = ask()
    assert (answer["driver"], len(answer["devices"])) == ("570.2", 1)
