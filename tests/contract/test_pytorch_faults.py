"""The recipe of the PyTorch image when it is cancelled, or a disk is full: nothing half-made remains."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from admin.main import cli
from tests.support.house import wait_for
from tests.support.recipe import ROOT, Recipe, docker
from tests.support.stores import NOW, open_store


@pytest.fixture
def recipe(tmp_path: Path, base_image: str) -> Iterator[Recipe]:
    """A small recipe; its image is removed."""
    made = Recipe(tmp_path, base_image)
    yield made
    docker("image", "rm", "-f", made.ref, check=False)
    assert made.traces() == []


def interrupted(process: subprocess.Popen[str], when: Callable[[], object], what: str) -> float:
    """Seconds that a build took to end after SIGTERM, sent once `when()`."""
    wait_for(when, what)
    begun = time.monotonic()
    # Only the recipe itself, which must not wait for what it runs.
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode != 0
    return time.monotonic() - begun


def test_cancelled_while_fetching_it_leaves_nothing(recipe: Recipe) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        process = recipe.start(
            GPU_GATEWAY_PIP_INDEX_URL=url, GPU_GATEWAY_PIP_FIND_LINKS="", PIP_TIMEOUT="100"
        )
        silent.settimeout(60)
        asked, _ = silent.accept()
        with asked:
            assert interrupted(process, lambda: True, "a request") < 50
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


@pytest.mark.parametrize(
    ("number", "status", "sentence"),
    [
        (signal.SIGINT, 130, "gpuadmin: Interrupted; nothing more was done."),
        (signal.SIGTERM, 143, "gpuadmin: Ended by a signal; nothing more was done."),
        (signal.SIGHUP, 129, "gpuadmin: Ended by a signal; nothing more was done."),
    ],
)
def test_gpuadmin_that_is_ended_ends_its_build_and_records_nothing(
    recipe: Recipe, tmp_path: Path, number: int, status: int, sentence: str
) -> None:
    """The real recipe, whose index does not answer: ^C, kill, and a terminal that is closed."""
    with closing(open_store(tmp_path / "state")) as store:
        digest = docker("image", "inspect", "-f", "{{.Id}}", recipe.base)
        store.add_image("base-cc", "1", "cpu", recipe.base, digest, "test", NOW)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
            gpuadmin = subprocess.Popen(
                [sys.executable, "-c", "from admin.main import main; main()"]
                + ["--state", str(tmp_path / "state"), "image", "build", "pytorch", "--flavour", "cpu"],
                env=recipe.environment(
                    GPU_GATEWAY_PIP_INDEX_URL=url, GPU_GATEWAY_PIP_FIND_LINKS="", PIP_TIMEOUT="100"
                ),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            silent.settimeout(60)
            asked, _ = silent.accept()
            with asked:
                gpuadmin.send_signal(number)
                _, said = gpuadmin.communicate(timeout=60)
                # The recipe's programs are gone with it: whom they asked hears that.
                asked.settimeout(60)
                while asked.recv(65536):
                    pass
        assert (gpuadmin.returncode, said.splitlines()[-1]) == (status, sentence)
        assert [image.name for image in store.images()] == ["base-cc"]
    assert recipe.traces() == []


@contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of this size."""
    device, mounted = folder / "disk", folder / "mounted"
    with device.open("wb") as file:
        file.truncate(megabytes << 20)
    mounted.mkdir()
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-F", device], check=True)
    subprocess.run(["mount", "-o", "loop", device, mounted], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", mounted], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    with disk(tmp_path, 8) as mounted:
        yield mounted


def test_a_full_disk_is_told_and_freed(recipe: Recipe, small_disk: Path) -> None:
    recipe.grow()
    status, said = recipe.run(TMPDIR=str(small_disk))
    assert (status, f"The disk of {small_disk} is full" in said.splitlines()[-1]) == (1, True), said
    assert [file.name for file in small_disk.iterdir()] == ["lost+found"]


def test_gpuadmin_says_which_disk_is_full_and_records_nothing(
    recipe: Recipe, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe.grow()
    (recipe.folder / "images").mkdir()
    (recipe.folder / "images" / "pytorch").symlink_to(recipe.recipe)
    monkeypatch.setattr("admin.building.RECIPES", recipe.folder / "images")
    for name, value in recipe.environment(TMPDIR=str(small_disk)).items():
        monkeypatch.setenv(name, value)
    state = recipe.folder / "state"
    with closing(open_store(state)) as store:
        digest = docker("image", "inspect", "-f", "{{.Id}}", recipe.base)
        store.add_image("base", "1", "cpu", recipe.base, digest, "test", NOW)
        words = ["--state", str(state), "image", "build", "pytorch", "--flavour", "cpu"]
        result = CliRunner().invoke(cli, words)
        assert (result.exit_code, result.stdout) == (75, "")
        assert f"The disk of {small_disk} is full; make room" in result.stderr.splitlines()[-1]
        assert [image.name for image in store.images()] == ["base"]
    assert docker("image", "inspect", "gpu-gateway/pytorch:9.1-cpu", check=False) == "[]"
    assert [file.name for file in small_disk.iterdir()] == ["lost+found"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_full_disk_of_the_engine_is_told_and_freed(
    recipe: Recipe, base_image: str, stand_ins: Path, tmp_path: Path
) -> None:
    """A private engine whose disk has room for the base image and hardly more."""
    recipe.grow()
    script = ROOT / "tests" / "support" / "nvidia" / "engine.sh"
    archive = tmp_path / "base.tar"
    docker("save", "-o", str(archive), base_image)
    with disk(tmp_path, 800) as mounted:
        try:
            started = [script, "start", mounted, stand_ins, "10.213.0.0/16"]
            host = subprocess.run(started, capture_output=True, text=True, check=True).stdout.strip()
            docker("--host", host, "load", "-q", "-i", str(archive))
            room = shutil.disk_usage(mounted).free
            subprocess.run(["fallocate", "-l", str(room - (12 << 20)), mounted / "filler"], check=True)
            status, said = recipe.run(DOCKER_HOST=host)
            assert (status, "disk of the Docker engine is full" in said.splitlines()[-1]) == (1, True), said
            assert docker("--host", host, "ps", "-aq") == ""
        finally:
            subprocess.run([script, "stop", mounted], check=True, timeout=120)
