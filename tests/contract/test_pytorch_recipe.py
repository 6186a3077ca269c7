"""The recipe of the PyTorch image as a program, over the real engine, with a lock file of two small wheels.

The recipe's own scripts run; only what they install is smaller than torch. The real one is in
tests/stories/test_pytorch.py.
"""

from __future__ import annotations

import ensurepip
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.house import wait_for
from tests.support.wheels import write_wheel

RECIPE = Path(__file__).resolve().parents[2] / "images" / "pytorch"
FACTS = """
["9.1-cpu"]
flavour = "cpu"
torch = "9.1"
python = "3.11.2"
min_driver = "525.60"
lock = "cpu.txt"
"""


@dataclass
class Recipe:
    """A copy of the recipe with its own lock file, and where its wheels are."""

    folder: Path
    base: str
    ref: str = field(default_factory=lambda: f"gpu-gateway-test/{secrets.token_hex(4)}:9.1-cpu")

    def __post_init__(self) -> None:
        self.wheels, self.tmp = self.folder / "wheels", self.folder / "tmp"
        self.recipe = self.folder / "recipe"
        self.wheels.mkdir()
        self.tmp.mkdir()
        shutil.copytree(RECIPE, self.recipe)
        bundled = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
        shutil.copy(bundled, self.wheels)
        write_wheel(self.wheels, "tiny", "1.0", {"tiny.py": "def answer():\n    return 42\n"})
        self.lock(*self.wheels.iterdir())
        (self.recipe / "versions.toml").write_text(FACTS)
        (self.recipe / "smoke.py").write_text("import tiny\nassert tiny.answer() == 42\n")

    def lock(self, *wheels: Path) -> None:
        """Make the lock file name exactly these wheels."""
        lines = []
        for wheel in wheels:
            name, version = wheel.name.split("-")[:2]
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
        (self.recipe / "cpu.txt").write_text("".join(lines))

    def environment(self, **more: str) -> dict[str, str]:
        """A recipe's environment: pip knows no place but the folder of wheels."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        return {
            **inherited,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_RETRIES": "0",
            "GPU_GATEWAY_PIP_INDEX_URL": (self.folder / "nothing").as_uri(),
            "GPU_GATEWAY_BASE_IMAGE": self.base,
            "GPU_GATEWAY_PYTHON": sys.executable,
            "GPU_GATEWAY_PIP_FIND_LINKS": str(self.wheels),
            "TMPDIR": str(self.tmp),
            **more,
        }

    def start(self, ref: str | None = None, **more: str) -> subprocess.Popen[str]:
        """`build.sh REF`, left running in a group of its own."""
        return subprocess.Popen(
            [self.recipe / "build.sh", ref or self.ref],
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, ref: str | None = None, **more: str) -> tuple[int, str]:
        """The same, to its end: its status and all it said."""
        with self.start(ref, **more) as process:
            said, _ = process.communicate(timeout=100)
            return process.returncode, said

    def labels(self) -> dict[str, str]:
        """The labels of what was built."""
        found: dict[str, str] = json.loads(
            docker("image", "inspect", "-f", "{{json .Config.Labels}}", self.ref)
        )
        return found

    def traces(self) -> list[str]:
        """What of a build is left: files and containers."""
        names = docker("ps", "-a", "--filter", "name=gpu-gateway-build-", "--filter", f"ancestor={self.base}")
        return [*map(str, self.tmp.iterdir()), *names.splitlines()[1:]]


def docker(*words: str, check: bool = True) -> str:
    """What `docker WORDS` prints."""
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=check).stdout.strip()


@pytest.fixture
def recipe(tmp_path: Path, base_image: str) -> Iterator[Recipe]:
    """A small recipe; its image is removed."""
    made = Recipe(tmp_path, base_image)
    yield made
    docker("image", "rm", "-f", made.ref, check=False)
    assert made.traces() == []


def in_workspace(ref: str, folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a workspace would: read-only root, a uid without account, her own /workspace."""
    folder.mkdir(exist_ok=True)
    os.chown(folder, 54321, 54321)
    return subprocess.run(
        ["docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none"]
        + ["--user", "54321:54321", "--cap-drop", "ALL", "-v", f"{folder}:/workspace", "-e", "HOME=/tmp"]
        + [ref, "/bin/bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_what_was_locked_is_there_and_her_own_packages_stay_and_come_first(
    recipe: Recipe, tmp_path: Path
) -> None:
    status, said = recipe.run(PIP_TIMEOUT="7")
    assert status == 0, said
    assert f"{recipe.ref} is ready" in said.splitlines()[-1]
    labels = recipe.labels()
    assert labels["org.opencontainers.image.version"] == "9.1-cpu"
    assert (labels["io.gpu-gateway.flavour"], labels["io.gpu-gateway.min-driver"]) == ("cpu", "525.60")
    own = tmp_path / "own"
    own.mkdir()
    script = "import tiny; print(tiny.answer())"
    files = {"tiny.py": "def answer():\n    return 43\n\ndef main():\n    print(answer())\n"}
    write_wheel(own, "tiny", "2.0", files, command=("tiny-answer", "tiny:main"))
    first = in_workspace(recipe.ref, own, f"python -c '{script}'; python3 -c '{script}'")
    assert (first.stdout, first.stderr) == ("42\n42\n", "")
    put = in_workspace(recipe.ref, own, "pip install --no-index /workspace/tiny-2.0-py3-none-any.whl")
    assert put.returncode == 0, put.stderr
    # Another container, with a shell as of a login, whose profile sets PATH anew.
    again = in_workspace(recipe.ref, own, f"tiny-answer; bash -lc \"tiny-answer; python -c '{script}'\"")
    assert again.stdout == "43\n" * 3, again.stderr
    assert in_workspace(recipe.ref, own, "touch /usr/local/x").returncode != 0
    # How the site built it, and where, is not the image's affair.
    kept = in_workspace(recipe.ref, own, f"ls -A /mnt; env; grep -rs {tmp_path} /opt /usr/local").stdout
    assert not any(trace in kept for trace in (str(tmp_path), "PIP_", "wheels"))


@pytest.mark.parametrize(
    ("ref", "environment", "status", "sentence"),
    [
        ("site/pytorch:1.0", {}, 2, "'site/pytorch:1.0' does not end in a version of"),
        (None, {"GPU_GATEWAY_BASE_IMAGE": ""}, 2, "Say in GPU_GATEWAY_BASE_IMAGE"),
        (
            None,
            {"GPU_GATEWAY_BASE_IMAGE": "gpu-gateway-test/none:1"},
            1,
            "build it with: gpuadmin image build base",
        ),
        (None, {"GPU_GATEWAY_PYTHON": "/nowhere/python"}, 69, "/nowhere/python is not a Python from 3.11 on"),
        (
            None,
            {"DOCKER_HOST": "unix:///nowhere.sock"},
            1,
            "No Docker engine answers at unix:///nowhere.sock",
        ),
        (None, {"GPU_GATEWAY_CA_BUNDLE": "/nowhere.pem"}, 1, "The CA bundle /nowhere.pem cannot be read"),
        (None, {"TMPDIR": "/nowhere"}, 1, "Nothing can be written in /nowhere"),
        (
            None,
            {
                "GPU_GATEWAY_PIP_FIND_LINKS": "",
                "GPU_GATEWAY_PIP_INDEX_URL": "http://me:secret@127.0.0.1:1/simple",
            },
            1,
            "could not be fetched",
        ),
    ],
)
def test_a_build_that_cannot_be_says_why_in_its_last_line(
    recipe: Recipe, ref: str | None, environment: dict[str, str], status: int, sentence: str
) -> None:
    """The last one is an index that is down."""
    ended, said = recipe.run(ref, **environment)
    assert (ended, sentence in said.splitlines()[-1]) == (status, True), said
    assert "secret" not in said


def test_a_wheel_that_is_not_the_locked_one_is_refused(recipe: Recipe) -> None:
    write_wheel(recipe.wheels, "tiny", "1.0", {"tiny.py": "def answer():\n    return 666\n"})
    status, said = recipe.run()
    assert (status, "is not the one that cpu.txt names" in said.splitlines()[-1]) == (1, True), said


def test_a_smoke_test_that_fails_makes_no_image(recipe: Recipe) -> None:
    (recipe.recipe / "smoke.py").write_text("import torch\n")
    status, said = recipe.run()
    assert status == 1
    assert "No module named 'torch'" in said
    assert "could not be installed" in said.splitlines()[-1]
    assert docker("image", "inspect", recipe.ref, check=False) == "[]"


def interrupted(process: subprocess.Popen[str], when: Callable[[], object], what: str) -> float:
    """Seconds that a build took to end after ^C, given once `when()`."""
    wait_for(when, what)
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    return time.monotonic() - begun


def test_cancelled_while_fetching_it_leaves_nothing(recipe: Recipe) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        process = recipe.start(GPU_GATEWAY_PIP_INDEX_URL=url, GPU_GATEWAY_PIP_FIND_LINKS="")
        silent.settimeout(60)
        asked, _ = silent.accept()
        with asked:
            assert interrupted(process, lambda: True, "a request") < 20
    assert recipe.traces() == []


def test_cancelled_while_installing_it_leaves_nothing(recipe: Recipe) -> None:
    (recipe.recipe / "smoke.py").write_text("import time\ntime.sleep(600)\n")
    process = recipe.start()

    def running() -> bool:
        return bool(
            docker("ps", "-q", "--filter", f"ancestor={recipe.base}", "--filter", "name=gpu-gateway-build-")
        )

    interrupted(process, running, "the container")
    assert recipe.traces() == []
    assert docker("image", "inspect", recipe.ref, check=False) == "[]"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    device, mounted = tmp_path / "disk", tmp_path / "mounted"
    with device.open("wb") as file:
        file.truncate(8 << 20)
    mounted.mkdir()
    subprocess.run(["mke2fs", "-q", "-t", "ext2", "-F", device], check=True)
    subprocess.run(["mount", "-o", "loop", device, mounted], check=True)
    yield mounted
    subprocess.run(["umount", mounted], check=True)


def test_a_full_disk_is_told_and_freed(recipe: Recipe, small_disk: Path) -> None:
    big = recipe.wheels / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(big, "a") as wheel:
        wheel.writestr("tiny_data", os.urandom(16 << 20))
    recipe.lock(*recipe.wheels.iterdir())
    status, said = recipe.run(TMPDIR=str(small_disk))
    assert (status, f"The disk of {small_disk} is full" in said.splitlines()[-1]) == (1, True), said
    assert [file.name for file in small_disk.iterdir()] == ["lost+found"]
