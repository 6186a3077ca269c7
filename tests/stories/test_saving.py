"""Before a lease's end stops a container, what runs there may save its work, and everybody knows."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from gateway.devices import DeviceRequest
from tests.conftest import GpuEngine
from tests.stories.conftest import a_lab
from tests.support.house import House, Person, wait_for
from tests.support.terminal import Terminal

_HOOK = "#!/bin/sh\ntouch ~/asked\nuntil [ -e ~/go ]; do sleep 0.1; done\necho saved >~/saved\n"


@pytest.fixture(scope="module")
def lab(gpu_engine: GpuEngine, base_image: str) -> Iterator[House]:
    with a_lab(base_image, gpu_engine) as house:
        yield house


@pytest.fixture
def carol(lab: House, request: pytest.FixtureRequest) -> Iterator[Person]:
    """Somebody whose hook saves her work once she lets it."""
    person = lab.add(request.node.name.removeprefix("test_")[:32])
    write = "mkdir -p ~/.config/gpu; cat >~/.config/gpu/on-stop; chmod +x ~/.config/gpu/on-stop"
    assert person.ssh(write, stdin=_HOOK.encode()).returncode == 0
    yield person
    lab.admin("user", "remove", person.name)


def _state(lab: House, person: Person) -> str | None:
    return next((lease["state"] for lease in lab.listed("leases") if lease["user"] == person.name), None)


def test_released(lab: House, carol: Person) -> None:
    """The operator is told so and need not wait; she is told, comes in meanwhile, and loses nothing."""
    lab.admin("allocate", carol.name, "--gpus", "1")
    with Terminal(["ssh", "-F", carol.config, "-tt", "gw"]) as terminal:
        terminal.wait_for(r"\$ ")
        told = lab.admin("release", carol.name, status=75)
        assert "Her programs save their work" in told.stderr
        terminal.wait_for("Your container is stopped when the programs that save their work")
        assert _state(lab, carol) == "grace"
        assert carol.ssh("touch ~/go").returncode == 0
        assert terminal.process.wait(60) == 255
    wait_for(lambda: _state(lab, carol) is None, "the end of the lease")
    assert carol.ssh("cat ~/saved").stdout == b"saved\n"


def test_released_now(lab: House, carol: Person) -> None:
    """An operator who cannot wait does not, also when somebody waits already."""
    lab.admin("allocate", carol.name, "--gpus", "1")
    assert carol.ssh("nvidia-smi -L").stdout.startswith(b"GPU 0")
    lab.admin("release", carol.name, status=75)
    assert lab.admin("release", carol.name, "--now").stderr == ""
    assert _state(lab, carol) is None
    assert carol.ssh("ls").stdout == b"asked\n"


def test_expired(lab: House, carol: Person) -> None:
    """The lease is over once she works with its GPU, however long that took."""
    with lab.store() as store:
        lease = store.grant(carol.name, DeviceRequest(1), timedelta(hours=1), "test", datetime.now(UTC))
        # Were nothing of hers running, her next login could take the place of the container at once.
        with carol.start("nvidia-smi -L; cat") as session:
            assert session.stdout is not None
            assert session.stdout.readline().startswith(b"GPU 0")
            store.expire(lease.id, "It ended at its time.", "test", datetime.now(UTC))
            wait_for(lambda: b"asked" in carol.ssh("ls").stdout, "the hook")
            assert _state(lab, carol) == "grace"
            carol.ssh("touch ~/go")
            assert session.wait(60) == 255
    wait_for(lambda: _state(lab, carol) is None, "the end of the lease")
    assert carol.ssh("cat ~/saved").stdout == b"saved\n"


def test_stopped(lab: House, carol: Person) -> None:
    """An operator who stops her workspace waits for it, and one who says so does not."""
    with ThreadPoolExecutor() as pool:
        stopped = pool.submit(lab.admin, "workspace", "stop", carol.name)
        wait_for(lambda: b"asked" in carol.ssh("ls").stdout, "the hook")
        assert not stopped.done()
        assert carol.ssh("touch ~/go").returncode == 0
        assert stopped.result().stdout.startswith("Stopped the container of")
    assert carol.ssh("cat ~/saved; rm ~/saved ~/go").stdout == b"saved\n"
    lab.admin("workspace", "recreate", carol.name, "--now")
    assert carol.ssh("ls").stdout == b"asked\n"
