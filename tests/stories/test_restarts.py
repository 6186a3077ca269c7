"""GPUs that are granted while somebody works: she is told, says when, and her container restarts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import GpuEngine
from tests.stories.conftest import a_lab
from tests.support.house import House, Person, wait_for
from tests.support.terminal import Terminal

_TRAINING = """\
import signal, sys, time
def save(*_):
    open('checkpoint', 'w').write('epoch 7')
    sys.exit()
signal.signal(signal.SIGUSR1, save)
open('training', 'w').close()
time.sleep(9999)
"""


@pytest.fixture(scope="module")
def lab(gpu_engine: GpuEngine, base_image: str) -> Iterator[House]:
    with a_lab(base_image, gpu_engine) as house:
        yield house


@pytest.fixture
def rosa(lab: House, request: pytest.FixtureRequest) -> Iterator[Person]:
    """Somebody whose container runs without a GPU."""
    person = lab.add(request.node.name.removeprefix("test_")[:32])
    assert person.ssh("true").returncode == 0
    yield person
    lab.admin("user", "remove", person.name)


def _leases(lab: House, person: Person) -> list[dict[str, Any]]:
    return [lease for lease in lab.listed("leases") if lease["user"] == person.name]


def test_unoccupied(lab: House, rosa: Person) -> None:
    """Nobody logs in, and the container shows it."""
    (before,) = lab.containers()
    lab.admin("allocate", rosa.name, "--gpus", "1")
    wait_for(lambda: _leases(lab, rosa)[0]["state"] == "active", "the container that shows it")
    (after,) = lab.containers()
    assert after != before
    assert rosa.ssh("nvidia-smi -L").stdout.count(b"GPU-") == 1


def test_occupied(lab: House, rosa: Person) -> None:
    """Told on her terminal, put off by her, kept by the gateway's next start, and then wanted at once."""
    rosa.ssh("cat >train.py", stdin=_TRAINING.encode())
    with Terminal(["ssh", "-F", rosa.config, "-tt", "gw"]) as terminal:
        terminal.wait_for(r"\$ ")
        terminal.type("setsid python3 train.py &\n")
        wait_for(lambda: rosa.ssh("ls").stdout.count(b"training"), "the training")
        lab.admin("allocate", rosa.name, "--gpus", "1")
        terminal.wait_for(r"Your container restarts at .* UTC to show GPU [0-3]; programs can save")
        terminal.type("gpu later --for 30m\n")
        terminal.wait_for(r"Your container restarts at .* UTC, not at .* UTC\.")
        (told,) = _restarts(rosa)
        with Terminal(["ssh", "-F", rosa.config, "-tt", "gw"]) as another:
            another.wait_for(r"until 20.*\r\n  Your container restarts at .* to show GPU [0-3]")
        assert rosa.ssh("ls /dev").stdout.count(b"nvidia0") == 0
    lab.stop()
    lab.start()
    assert _restarts(rosa) == [told]
    with Terminal(["ssh", "-F", rosa.config, "-tt", "gw"]) as terminal:
        terminal.wait_for(r"\$ ")
        assert rosa.ssh("gpu apply").returncode == 0
        terminal.wait_for(r"A new container is made to show GPU [0-3]; log in again")
        assert terminal.process.wait(60) == 255
    with Terminal(["ssh", "-F", rosa.config, "-tt", "gw"]) as terminal:
        terminal.wait_for(r"Your container was stopped at .* UTC: A new container is made to show GPU")
    assert rosa.ssh("nvidia-smi -L; cat checkpoint").stdout.endswith(b"epoch 7")
    assert _restarts(rosa) == []


def _restarts(person: Person) -> list[dict[str, Any]]:
    """What she can read of restarts to come."""
    records = json.loads(person.ssh("gpu status --json").stdout)
    return [record for record in records if record["kind"] == "restart"]
