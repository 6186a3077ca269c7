"""What a look at a workspace tells of its GPUs, through NVIDIA's own client library over the stand-in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.nvidia import state
from tests.unit.test_nvml import Asker

LOOK = """
import asyncio, dataclasses, json, sys
from datetime import UTC, datetime
from types import SimpleNamespace
from gateway.leases import Lease, State
from gateway.nvml import NvmlProbe
from gateway.watching import Watching

async def none():
    return []

known = {device.id: device for device in NvmlProbe().devices()}
broker = SimpleNamespace(running=lambda: set(), inventory=known)
watching = Watching(SimpleNamespace(broker=broker, backend=SimpleNamespace(list=none)), lambda: {7})
now = datetime.now(UTC)

for line in sys.stdin:
    lease = Lease(1, 7, "alice", tuple(line.split()), State.ACTIVE, now, now)
    (look,) = asyncio.run(watching.look([lease])).values()
    print(json.dumps(dataclasses.asdict(look)), flush=True)
"""
GIB = 1 << 30
WHOLE, OTHER, PARENT = state.gpus(3)
EMPTY = state.Slice("MIG-1", start=0, gi=7)
USED = state.Slice("MIG-2", start=1, gi=8, used=GIB)
IDS = [f"{PARENT.uuid}/1g.10gb@{start}" for start in (0, 1)]


class Watcher(Asker):
    """A process that looks at the GPUs that it is given, as those of one lease."""

    program = LOOK


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A machine with a GPU that computes, one that is free, and one that is divided."""
    work = replace(WHOLE, used=9 * GIB, utilization=70, processes=((4242, 9 * GIB),))
    state.write(tmp_path / "state", [work, OTHER, replace(PARENT, mig=1, slices=(EMPTY, USED))])
    return tmp_path / "state"


def test_each_gpu_and_slice_tells_what_it_does(stand_ins: Path, file: Path) -> None:
    """A slice by the platform's name of it; it never tells how busy it is."""
    with Watcher(stand_ins, file) as look:
        seen = look.say(f"{WHOLE.uuid} {OTHER.uuid} {IDS[0]} {IDS[1]}")
    assert [tuple(each.values()) for each in seen.pop("gpus")] == [
        (WHOLE.uuid, 70, 9 * GIB, 1),
        (OTHER.uuid, 0, 0, 0),
        (IDS[0], None, 0, 0),
        (IDS[1], None, GIB, 0),
    ]
    # Nobody's container runs, by the engine's word: that is known, and no gap.
    assert seen == {"person": True, "running": False, "cpu": 0.0, "io": 0.0}


@pytest.mark.parametrize("how", ["lost", "driver"])
def test_what_does_not_answer_tells_nothing(stand_ins: Path, file: Path, how: str) -> None:
    with Watcher(stand_ins, file) as look:
        look.say(WHOLE.uuid)
        fails = 9 if how == "driver" else 0
        state.write(file, [replace(WHOLE, lost=15 if how == "lost" else 0), OTHER], fails=fails)
        assert look.say(WHOLE.uuid)["gpus"] == [
            {"id": WHOLE.uuid, "utilization": None, "used": None, "processes": None}
        ]
