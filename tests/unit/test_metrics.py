"""What Prometheus and a health check are told, over real HTTP."""

from __future__ import annotations

import ast
import dataclasses
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.config import Listen, parse
from gateway.devices import Reading
from gateway.errors import PlatformError
from gateway.exporter import answer, exported
from gateway.journal import heard, note
from gateway.metrics import ENGINE_LATELY, LOOP_LATELY, Metrics, Snapshot, trouble
from tests.conftest import ROOT
from tests.support.nvidia import state

BUSY = Reading("GPU-a", 0, 3, "NVIDIA H200", 97, 5 << 30, 3 << 30, 61, 312.5)
SILENT = Reading("GPU-b", 1, 4, "NVIDIA A100")
FULL = Snapshot(
    at=100.0,
    workers=2,
    unproven=1,
    connections=3,
    sessions={"shell": 2, "exec": 0},
    leases={"granted": 0, "active": 1, "warned": 0, "grace": 0},
    health={"healthy": 2, "lost": 2},
    flagged=1,
    engine_at=100.0,
    readings=(BUSY, SILENT),
    holders={"GPU-a": "alice"},
)


@pytest.fixture
def metrics() -> Metrics:
    """Those of a gateway in which something has happened."""
    made = Metrics("box")
    made.snapshot = FULL
    made.hear("container_started", {"seconds": 0.7})
    return made


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All that a scrape gives, by name and labels."""
    _, _, body = answer("/metrics", metrics)
    families = text_string_to_metric_families(body.decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def one(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, tuple(sorted(labels.items()))]


def test_what_is_is_told(metrics: Metrics) -> None:
    assert one(metrics, "gpu_gateway_connections") == 3
    assert one(metrics, "gpu_gateway_connections_unproven") == 1
    assert one(metrics, "gpu_gateway_sessions", kind="shell") == 2
    assert one(metrics, "gpu_gateway_leases", state="active") == 1
    assert one(metrics, "gpu_gateway_leases_flagged") == 1
    assert one(metrics, "gpu_gateway_gpus") == 2
    assert one(metrics, "gpu_gateway_gpus_held") == 1
    assert one(metrics, "gpu_gateway_gpu_states", state="lost") == 2
    assert one(metrics, "process_open_fds") > 0


def test_gpus_have_dcgms_names_units_and_labels_and_their_holder(metrics: Metrics) -> None:
    place = {"gpu": "0", "UUID": "GPU-a", "device": "nvidia3", "modelName": "NVIDIA H200", "Hostname": "box"}
    told = {
        name: one(metrics, f"DCGM_FI_DEV_{name}", **place, user="alice")
        for name in ("GPU_UTIL", "FB_USED", "FB_FREE", "GPU_TEMP", "POWER_USAGE")
    }
    assert told == {"GPU_UTIL": 97, "FB_USED": 5120, "FB_FREE": 3072, "GPU_TEMP": 61, "POWER_USAGE": 312.5}
    assert not [name for name, labels in samples(metrics) if ("UUID", "GPU-b") in labels]


def test_what_happened_is_counted_from_the_log(metrics: Metrics) -> None:
    with heard(metrics.hear):
        for event in ("login", "login", "login_refused", "login_abandoned", "container_failed"):
            note(event)
        note("container_started", user=1, gpus=0, seconds=3.0)
    logins = {
        result: one(metrics, "gpu_gateway_logins_total", result=result)
        for result in ("ok", "refused", "abandoned")
    }
    assert logins == {"ok": 2, "refused": 1, "abandoned": 1}
    assert one(metrics, "gpu_gateway_container_starts_total", result="ok") == 2
    assert one(metrics, "gpu_gateway_container_starts_total", result="failed") == 1
    assert one(metrics, "gpu_gateway_container_start_seconds_count") == 2
    assert one(metrics, "gpu_gateway_container_start_seconds_sum") == 3.7
    assert one(metrics, "gpu_gateway_events_total", event="login") == 2


def test_what_must_not_happen_is_told_before_it_does(metrics: Metrics) -> None:
    """Of a counter that begins with 1 nobody sees an increase, and the first failure may be the only one."""
    events = ("entry_failed", "internal_error", "work_failed", "worker_broke_protocol", "worker_ended")
    assert [one(metrics, "gpu_gateway_events_total", event=event) for event in events] == [0] * 5


@pytest.mark.parametrize(
    ("changed", "now", "why"),
    [
        ({}, 101.0, None),
        ({}, 100.0 + LOOP_LATELY + 1, "loop"),
        ({"workers": 0}, 101.0, "worker"),
        ({"store_error": "The disk is full."}, 101.0, "disk is full"),
        ({"engine_at": None}, 101.0, "engine"),
        ({"engine_at": 100.0 - ENGINE_LATELY}, 101.0, "engine"),
    ],
)
def test_health_names_what_is_wrong(changed: dict[str, object], now: float, why: str | None) -> None:
    said = trouble(dataclasses.replace(FULL, **changed), now)  # type: ignore[arg-type]
    assert said is None if why is None else why in (said or "")
    assert trouble(None, now) is not None


@pytest.fixture
def port(metrics: Metrics) -> Iterator[int]:
    """Where `metrics` are told."""
    told: list[str] = []
    with (
        heard(lambda event, fields: told.append(str(fields["listen"]))),
        exported(Listen("127.0.0.1", 0), metrics),
    ):
        yield int(told[0].rpartition(":")[2])


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_http_tells_metrics_and_health(metrics: Metrics, port: int) -> None:
    status, body = get(port, "/metrics")
    assert status == 200
    assert "gpu_gateway_workers 2.0" in body
    status, body = get(port, "/healthz")
    assert (status, "loop" in body) == (503, True)
    moment = time.monotonic()
    metrics.snapshot = dataclasses.replace(FULL, at=moment, engine_at=moment)
    assert get(port, "/healthz") == (200, "ok\n")
    assert get(port, "/../etc/passwd")[0] == 404


def test_a_client_that_says_nothing_holds_up_nobody(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)):
        assert get(port, "/metrics")[0] == 200


def test_a_taken_port_is_logged_and_keeps_nobody_out(metrics: Metrics) -> None:
    told: list[str] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        heard(lambda event, fields: told.append(event)),
        exported(Listen("127.0.0.1", server.getsockname()[1]), metrics),
    ):
        assert told == ["metrics_unavailable"]


def test_it_can_be_off_or_elsewhere() -> None:
    assert parse({"metrics": {"listen": "off"}}) == {"metrics": None}
    assert parse({"metrics": {"listen": "[::1]:9"}}) == {"metrics": Listen("::1", 9)}
    with pytest.raises(PlatformError, match=r"metrics\.listen"):
        parse({"metrics": {"listen": "9117"}})


def test_readings_come_through_nvidias_library(tmp_path: Path, stand_ins: Path) -> None:
    """A GPU that fell off the bus is left out; the others tell."""
    machine = [
        dataclasses.replace(gpu, utilization=40 + gpu.minor, used=1 << 30, lost=15 if gpu.minor == 1 else 0)
        for gpu in state.gpus(3)
    ]
    state.write(tmp_path / "gpus", machine)
    ask = "import dataclasses, json; from gateway.nvml import NvmlProbe as P; "
    ask += "print(json.dumps([dataclasses.asdict(each) for each in P().readings()]))"
    environment = {"LD_LIBRARY_PATH": str(stand_ins), "NVML_STAND_IN_STATE": str(tmp_path / "gpus")}
    done = subprocess.run(
        [sys.executable, "-c", ask], env={**os.environ, **environment}, capture_output=True, text=True
    )
    first, last = json.loads(done.stdout)
    assert (first["id"], first["minor"], first["utilization"]) == (machine[0].uuid, 0, 40)
    assert (first["used"], first["free"]) == (1 << 30, 79 << 30)
    assert last["minor"] == 2


DOC = (ROOT / "docs" / "metrics.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = DOC.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_metrics_is_what_is_exported(metrics: Metrics) -> None:
    told: dict[str, set[str]] = {}
    for name, labels in samples(metrics):
        base = re.sub(r"_(bucket|count|sum|created)$", "", name)
        if not (base.startswith("process_") or name.endswith("_created")):
            told.setdefault(base, set()).update({label for label, _ in labels} - {"le"})
    told = {name if f"{name}_total" not in told else f"{name}_total": labels for name, labels in told.items()}
    written: dict[str, set[str]] = {}
    labels: set[str] = set()
    for name, named, _ in rows("Metrics"):
        labels = labels if named == "as above" else set(re.findall(r"`(\w+)`", named))
        written[name.strip("`")] = labels
    assert written == told


def test_every_process_metric_that_is_named_is_exported(metrics: Metrics) -> None:
    named = set(re.findall(r"`(process_\w+)`", DOC))
    assert named == {name for name, _ in samples(metrics) if name.startswith("process_")}


def test_the_table_of_events_is_what_is_logged() -> None:
    logged: dict[str, set[str]] = {}
    for path in ROOT.glob("gateway/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "note":
                event = node.args[0]
                assert isinstance(event, ast.Constant), (path, node.lineno)
                logged.setdefault(event.value, set()).update(str(word.arg) for word in node.keywords)
    written = {event.strip("`"): set(re.findall(r"`(\w+)`", fields)) for event, fields, _ in rows("The log")}
    assert written == logged


def test_the_dashboard_asks_only_for_what_is_exported(metrics: Metrics) -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "gpu-gateway.json").read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    names = set(re.findall(r"\b(?:gpu_gateway|DCGM|process)_\w+", asked))
    assert len(names) > 10
    assert names <= {name for name, _ in samples(metrics)}
