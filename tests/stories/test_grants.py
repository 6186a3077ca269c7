"""A granted GPU is in the container, for its time, and nobody else's."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.devices import DeviceRequest
from tests.conftest import GpuEngine
from tests.stories.conftest import a_lab
from tests.support.house import House, Person, wait_for
from tests.support.nvidia import state

_SHOWN = "nvidia-smi -L 2>/dev/null; ls /dev | grep -c '^nvidia[0-9]'; echo $NVIDIA_VISIBLE_DEVICES"


@pytest.fixture(scope="module")
def lab(gpu_engine: GpuEngine, base_image: str) -> Iterator[House]:
    """One for every test of this module; none disturbs it."""
    with a_lab(base_image, gpu_engine) as house:
        yield house


@pytest.fixture
def carol(lab: House) -> Iterator[Person]:
    """A user with no lease before and after."""
    names = {user["name"] for user in lab.listed("user", "list")}
    person = lab.add(next(name for name in (f"carol{number}" for number in range(99)) if name not in names))
    yield person
    lab.admin("user", "remove", person.name)


def _live(lab: House, person: Person) -> list[dict[str, object]]:
    return [lease for lease in lab.listed("leases") if lease["user"] == person.name]


def test_no_grant_no_gpu(carol: Person) -> None:
    """A login never grants a device."""
    assert carol.ssh(_SHOWN).stdout == b"0\nvoid\n"


def test_a_grant_applies_at_the_next_login_of_an_unoccupied_workspace(lab: House, carol: Person) -> None:
    """The container gets exactly the device of the lease, by its UUID, and the greeting says until when."""
    carol.ssh("true")
    lab.admin("allocate", carol.name, "--gpus", "1", "--for", "8h")
    lease = _live(lab, carol)[0]
    lines = carol.ssh(_SHOWN).stdout.decode().splitlines()
    assert len(lines) == 3, lines
    assert str(lease["devices"][0]) in lines[0]  # type: ignore[index]
    assert lines[1] == "1"
    ends = datetime.fromisoformat(str(lease["expires_at"]))
    assert timedelta(hours=7, minutes=58) < ends - datetime.now(UTC) <= timedelta(hours=8)


def test_a_grant_waits_while_the_workspace_is_occupied(lab: House, carol: Person) -> None:
    """An open session keeps its container; the next login after it has the GPU."""
    with carol.start("echo in; cat") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        lab.admin("allocate", carol.name, "--gpus", "1")
        assert carol.ssh(_SHOWN).stdout == b"0\nvoid\n"
        session.communicate(timeout=10)
        assert session.returncode == 0
    assert b"GPU" in wait_for(lambda: carol.ssh("nvidia-smi -L").stdout, "the GPU")


def test_a_grant_that_is_wanted_now_ends_what_runs(lab: House, carol: Person) -> None:
    """The session is told why it ends, and the next login has the GPU."""
    with carol.start("echo in; cat") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        lab.admin("allocate", carol.name, "--gpus", "1", "--now")
        _, stderr = session.communicate(timeout=20)
        assert (session.returncode, b"made anew" in stderr) == (255, True)
    assert b"GPU" in carol.ssh("nvidia-smi -L").stdout


def test_a_running_job_keeps_the_workspace_occupied(lab: House, carol: Person) -> None:
    """A process of hers with nobody logged in counts as well."""
    carol.ssh("setsid sleep 7301 >/dev/null 2>&1 </dev/null &")
    lab.admin("allocate", carol.name, "--gpus", "1")
    assert carol.ssh(_SHOWN).stdout == b"0\nvoid\n"
    lab.admin("workspace", "recreate", carol.name)
    assert b"GPU" in carol.ssh("nvidia-smi -L").stdout


def test_release_stops_the_container_then_frees_the_device(lab: House, carol: Person) -> None:
    """The session that had the GPU ends and says why, a training can save, and the device is free again."""
    lab.admin("allocate", carol.name, "--gpus", "1")
    training = "trap 'echo saved > ~/checkpoint; exit' TERM; touch ~/training; while :; do sleep 0.1; done"
    carol.ssh(f"setsid sh -c {shlex.quote(training)} >/dev/null 2>&1 </dev/null &")
    wait_for(lambda: carol.ssh("ls training").stdout, "the training")
    with carol.start("echo in; sleep 1000") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        lab.admin("release", carol.name)
        assert _live(lab, carol) == []
        _, stderr = session.communicate(timeout=20)
        assert session.returncode == 255
        assert b"gpu-gateway: " in stderr
    assert carol.ssh(_SHOWN).stdout == b"0\nvoid\n"
    assert carol.ssh("cat checkpoint").stdout == b"saved\n"


def test_at_its_end_a_lease_stops_the_container_and_only_then_frees(lab: House, carol: Person) -> None:
    """Seen from outside at every moment: while the container runs, the lease still holds the device."""
    mine = next(user["id"] for user in lab.listed("user", "list") if user["name"] == carol.name)

    def runs() -> bool:
        own = (
            f"label=io.gpu-gateway.{name}={value}"
            for name, value in (("instance", lab.instance), ("workspace", mine))
        )
        return lab.docker("ps", "-q", "--filter", next(own), "--filter", next(own)) != ""

    with lab.store() as store:
        # gpuadmin's shortest lease is a minute; a slow machine needs some seconds to start her container.
        store.grant(carol.name, DeviceRequest(1), timedelta(seconds=15), "test", datetime.now(UTC))
    with carol.start("echo in; sleep 1000") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        wait_for(lambda: not _live(lab, carol), "the end of the lease")
        assert not runs(), "the device was freed under a running container"
        _, stderr = session.communicate(timeout=20)
        assert session.returncode == 255
        assert b"ended at its time" in stderr


def test_refusals_are_one_sentence_and_change_nothing(lab: House, carol: Person) -> None:
    """Quota, user, count, duration."""
    before = lab.listed("leases")
    for words, status in (
        (("allocate", carol.name, "--gpus", "2"), 1),
        (("allocate", "nobody-here", "--gpus", "1"), 1),
        (("allocate", carol.name, "--gpus", "0"), 2),
        (("allocate", carol.name, "--gpus", "1.5"), 2),
        (("allocate", carol.name, "--gpus", "1", "--for", "soon"), 2),
        (("allocate", carol.name, "--gpus", "1", "--mig", "1g.10gb"), 1),
        (("release", "nobody-here"), 1),
    ):
        refused = lab.admin(*words, status=status)
        assert refused.stdout == ""
        assert "Traceback" not in refused.stderr
        assert refused.stderr.strip()
    assert lab.listed("leases") == before


def test_a_gpu_that_the_hook_refuses_fails_the_login_and_flags_the_lease(lab: House, carol: Person) -> None:
    """One sentence to her, a problem for the operator; when the GPU is back the flag goes."""
    lab.admin("allocate", carol.name, "--gpus", "1")
    lease = _live(lab, carol)[0]
    file, whole = Path(lab.environment["LD_LIBRARY_PATH"]) / "state", state.gpus(4)
    others = [gpu for gpu in whole if gpu.uuid not in lease["devices"]]  # type: ignore[operator]
    # Else one of them takes the place of hers as soon as the gateway misses it.
    for gpu in others:
        lab.admin("gpu", "drain", gpu.uuid)
    try:
        state.write(file, others)
        refused = carol.ssh("true")
        assert refused.returncode == 75
        assert refused.stderr.count(b"\n") <= 3
        assert b"gpu-gateway: " in refused.stderr
        assert _live(lab, carol)[0]["problem"]
    finally:
        state.write(file, whole)
        for gpu in others:
            lab.admin("gpu", "undrain", gpu.uuid)
    assert b"GPU" in carol.ssh("nvidia-smi -L").stdout
    wait_for(lambda: not _live(lab, carol)[0]["problem"], "the flag")
