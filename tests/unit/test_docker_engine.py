"""What engines of four generations say of themselves, and how each is asked for GPUs.

The answers lie in `engine_answers`; each says where it comes from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.docker.engine import EngineFacts, parse
from gateway.docker.gpus import device_request
from gateway.errors import Code, PlatformError

ANSWERS = Path(__file__).parent / "engine_answers"
ONE = "GPU-00000000-0000-0000-0000-000000000001"
TWO = "GPU-00000000-0000-0000-0000-000000000002"
UNLISTED = "GPU-00000000-0000-0000-0000-00000000000f"


def answers(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ANSWERS / f"{name}.json").read_text())
    return found


def engine(name: str) -> EngineFacts:
    return parse(answers(name)["version"], answers(name)["info"])


@pytest.mark.parametrize(
    ("name", "api", "cgroup", "devices"),
    [("20.10", (1, 41), 1, 0), ("27", (1, 47), 2, 0), ("28.2", (1, 50), 2, 5), ("29.2", (1, 53), 2, 6)],
)
def test_reads_an_engine(name: str, api: tuple[int, int], cgroup: int, devices: int) -> None:
    facts = engine(name)
    assert facts.version.startswith(name)
    assert (facts.api, facts.cgroup, len(facts.cdi_devices)) == (api, cgroup, devices)
    assert "runc" in facts.runtimes
    assert facts.seccomp


@pytest.mark.parametrize("name", ["20.10", "27", "28.2", "29.2"])
def test_asks_for_nothing_when_nothing_is_held(name: str) -> None:
    assert device_request(engine(name), ()) is None


@pytest.mark.parametrize("name", ["20.10", "27"])
def test_asks_the_hook_of_an_engine_that_lists_no_devices(name: str) -> None:
    assert device_request(engine(name), (ONE, TWO)) == {
        "Driver": "nvidia",
        "DeviceIDs": [ONE, TWO],
        "Capabilities": [["gpu", "compute", "utility"]],
    }


@pytest.mark.parametrize("name", ["28.2", "29.2"])
def test_asks_by_cdi_where_every_device_is_listed(name: str) -> None:
    assert device_request(engine(name), (ONE, TWO)) == {
        "Driver": "cdi",
        "DeviceIDs": [f"nvidia.com/gpu={ONE}", f"nvidia.com/gpu={TWO}"],
    }


@pytest.mark.parametrize("name", ["28.2", "29.2"])
def test_one_unlisted_device_sends_all_to_the_hook(name: str) -> None:
    request = device_request(engine(name), (ONE, UNLISTED))
    assert request is not None
    assert (request["Driver"], request["DeviceIDs"]) == ("nvidia", [ONE, UNLISTED])


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ({"Version": "19.03.1", "ApiVersion": "1.40"}, "install Docker 20.10 or newer"),
        ({"Version": "x\n\x1b[2J", "ApiVersion": "\x1b[31m"}, r"\\x1b\[31m"),
        ({}, "point DOCKER_HOST at a Docker engine"),
    ],
)
def test_refuses_what_is_too_old_or_no_engine(version: dict[str, str], says: str) -> None:
    with pytest.raises(PlatformError, match=says) as caught:
        parse(version, {})
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.message.isprintable()
