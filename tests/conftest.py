"""What every test may ask for: the base image, and a machine's worth of stand-in GPUs.

Owns no policy of the product.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from gateway.privileges import raise_limit
from tests.support import images
from tests.support.nvidia import state
from tests.support.traces import traces

ROOT = Path(__file__).resolve().parent.parent
NVIDIA = ROOT / "tests" / "support" / "nvidia"


def pytest_configure() -> None:
    """Many descriptors, as the product's processes have; Debian 13's sudo leaves its caller 1,024.

    An example may last as long as the machine needs for it.
    """
    raise_limit()
    patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("patient", patient)
    settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def leaves_nothing() -> Iterator[None]:
    """The machine is after the run as it was before it, but for images."""
    if not os.environ.get("CI"):
        yield
        return
    before = traces()
    yield
    deadline = time.monotonic() + 20
    while (left := traces() - before) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sorted(left) == []


@pytest.fixture(scope="session")
def base_image() -> str:
    """The reference of a base image made by the recipe as it is now; kept for the next run."""
    return images.base()


@pytest.fixture(scope="session")
def oracle_image() -> str:
    """The reference of the base image with OpenSSH's sshd in it; kept for the next run."""
    return images.oracle()


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stand-ins of NVIDIA's library, tool and hook, and a state of four idle GPUs.

    Put it into LD_LIBRARY_PATH of a program that asks NVML. Tests that change what the GPUs do give that
    program a state file of their own in NVML_STAND_IN_STATE.
    """
    folder = tmp_path_factory.mktemp("nvidia")
    subprocess.run([NVIDIA / "build.sh", folder], check=True, timeout=60)
    state.write(folder / "state", state.gpus(4))
    return folder


@dataclass(frozen=True)
class GpuEngine:
    """A private Docker engine that gives out the GPUs of `stand_ins`, and holds the base image."""

    docker_host: str
    stand_ins: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, for a program that uses that engine and those GPUs."""
        return {**os.environ, "DOCKER_HOST": self.docker_host, "LD_LIBRARY_PATH": str(self.stand_ins)}


@pytest.fixture(scope="session")
def gpu_engine(
    stand_ins: Path, base_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GpuEngine]:
    """A real engine with the stand-in hook on its PATH; gone with all it holds after the run."""
    folder = tmp_path_factory.mktemp("engine")
    script = NVIDIA / "engine.sh"
    try:
        started = subprocess.run(
            [script, "start", folder, stand_ins, "10.213.0.0/16"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        host = started.stdout.strip()
        with subprocess.Popen(["docker", "save", base_image], stdout=subprocess.PIPE) as image:
            subprocess.run(["docker", "--host", host, "load", "-q"], stdin=image.stdout, check=True)
        yield GpuEngine(host, stand_ins, folder)
    finally:
        subprocess.run([script, "stop", folder], check=True, timeout=120)
        shutil.rmtree(folder)
