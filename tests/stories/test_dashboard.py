"""The dashboard that operators import, asked of a real Prometheus that scrapes a real gateway."""

from __future__ import annotations

import json
import math
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.stories.conftest import a_house, ended
from tests.support.house import House, wait_for
from tests.support.nvidia import state
from tests.support.prometheus import Prometheus, prometheus

DASHBOARD = ROOT / "deploy" / "grafana" / "gpu-gateway.json"


@pytest.fixture
def house(base_image: str, stand_ins: Path, tmp_path: Path) -> Iterator[House]:
    """A gateway with two GPUs that do nothing, which tells metrics on a port of its own."""
    idle = [replace(gpu, utilization=1) for gpu in state.gpus(2)]
    state.write(tmp_path / "gpus", idle)
    gpus = {"LD_LIBRARY_PATH": str(stand_ins), "NVML_STAND_IN_STATE": str(tmp_path / "gpus")}
    house = a_house(base_image, {**os.environ, **gpus})
    config = house.folder / "config.toml"
    config.write_text(config.read_text().replace('listen = "off"', 'listen = "127.0.0.1:0"'))
    try:
        house.start()
        wait_for(lambda: len(house.listed("gpu", "list")) == 2, "the inventory")
        yield house
    finally:
        ended(house)


def _targets(part: Any) -> Iterator[dict[str, Any]]:
    """Every query of a dashboard, wherever its panel is."""
    if isinstance(part, dict) and "expr" in part:
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _targets(inner)


def _jobs(house: House) -> str:
    """What docs/metrics.md tells an operator to write, for this gateway."""
    shown = re.search(
        r"```yaml\n(scrape_configs:\n.*?)```", (ROOT / "docs" / "metrics.md").read_text(), re.DOTALL
    )
    assert shown is not None
    where = next(event["listen"] for event in house.events() if event["event"] == "metrics")
    assert shown[1].count("127.0.0.1:9117") == 1
    return shown[1].replace("127.0.0.1:9117", where)


def _shown(server: Prometheus, target: dict[str, Any]) -> bool:
    """Whether a panel has something to draw, and what its legend names; the user of a free GPU is nobody."""
    found = server.query(target["expr"])
    names = re.findall(r"{{(\w+)}}", target["legendFormat"])
    drawn = [each["metric"] for each in found if not math.isnan(float(each["value"][1]))]
    return bool(drawn) and all(any(name in metric for metric in drawn) for name in names)


@pytest.mark.slow
def test_every_panel_shows_something(house: House, tmp_path: Path) -> None:
    """Somebody holds a GPU, somebody else comes in, and a worker dies: what an operator wants to see."""
    targets = list(_targets(json.loads(DASHBOARD.read_text())))
    assert len(targets) > 15
    with prometheus(tmp_path, _jobs(house)) as server:
        wait_for(lambda: server.query("gpu_gateway_container_start_seconds_count"), "a first scrape")
        house.add("alice")
        house.admin("allocate", "alice", "--gpus", "1")
        # Who is counted for the first time is no increase yet: rates are of what changes between scrapes.
        bob = house.add("bob")
        assert bob.ssh("true").returncode == 0
        os.kill(house.workers_pids()[0], signal.SIGKILL)
        for target in targets:
            wait_for(lambda target=target: _shown(server, target), f"data for {target['expr']}")
        (trouble,) = [target["expr"] for target in targets if "worker_" in target["expr"]]

        def told() -> bool:
            """The first of its kind: what a counter begins with would be no increase."""
            found = server.query(f"{trouble} > 0")
            return "worker_ended" in [each["metric"]["event"] for each in found]

        wait_for(told, "the end of a worker in the panel of what went wrong")
