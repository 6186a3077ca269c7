"""The queue for GPUs, seen from both sides: who waits is told in her terminal, and has the GPU after that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from gateway.devices import DeviceRequest
from tests.conftest import GpuEngine
from tests.stories.conftest import a_lab
from tests.support.house import House, Person, wait_for
from tests.support.terminal import Terminal


@pytest.fixture(scope="module")
def lab(gpu_engine: GpuEngine, base_image: str) -> Iterator[House]:
    with a_lab(base_image, gpu_engine) as house:
        yield house


@pytest.fixture
def people(lab: House) -> Iterator[tuple[Person, Person]]:
    """alice, who may hold all four GPUs, and bob."""
    both = lab.add("alice"), lab.add("bob")
    lab.admin("quota", "set", "alice", "gpus=4")
    yield both
    for person in both:
        lab.admin("user", "remove", person.name)


def _state(lab: House, person: Person) -> str | None:
    return next((lease["state"] for lease in lab.listed("leases") if lease["user"] == person.name), None)


def test_who_waits_has_the_gpu_when_it_is_given_back(lab: House, people: tuple[Person, Person]) -> None:
    """A place, the reason, a line in her terminal when her turn has come, and the GPU at her next login."""
    _, bob = people
    lab.admin("allocate", "alice", "--gpus", "4", "--for", "8h")
    refused = lab.admin("allocate", "bob", "--gpus", "1", status=75)
    assert "alice holds" in refused.stderr
    with Terminal(["ssh", "-F", bob.config, "-tt", "gw"]) as terminal:
        terminal.wait_for(r"\$ ")
        assert "number 1 in the queue" in lab.admin("allocate", "bob", "--gpus", "1", "--queue").stdout
        assert _state(lab, bob) == "queued"
        (place,) = json.loads(lab.admin("why", "bob", "--json").stdout)
        assert any("alice holds GPU 0 and GPU 1 and GPU 2 and GPU 3 until" in why for why in place["reasons"])
        lab.admin("release", "alice")
        terminal.wait_for(r"You hold GPU [0-3] now, until")
        assert _state(lab, bob) == "granted"
        assert bob.ssh("nvidia-smi -L").stdout == b""
        terminal.type("exit\n")
        terminal.process.wait(20)
    shown = wait_for(lambda: bob.ssh("nvidia-smi -L").stdout, "the GPU")
    assert shown.count(b"GPU-") == 1
    assert _state(lab, bob) == "active"


def test_a_terminal_shows_that_a_lease_ends(lab: House, people: tuple[Person, Person]) -> None:
    """A minute before, and nothing of it on a session without a terminal."""
    alice, _ = people
    alice.ssh("true")
    with alice.start("cat") as piped, Terminal(["ssh", "-F", alice.config, "-tt", "gw"]) as terminal:
        terminal.wait_for(r"\$ ")
        with lab.store() as store:
            # gpuadmin counts in minutes.
            store.grant("alice", DeviceRequest(1), timedelta(seconds=62), "alice", datetime.now(UTC))
        terminal.wait_for(r"Your lease \d+ of GPU \d ends in 1m, at .* To keep it longer: gpu extend \d+")
        wait_for(lambda: _state(lab, alice) == "warned", "the state")
        assert piped.communicate(b"", timeout=20) == (b"", b"")
