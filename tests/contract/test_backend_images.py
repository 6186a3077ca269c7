"""Building an image by its recipe, over the real engine, with recipes of a few lines."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.docker.images import build
from gateway.errors import Code, PlatformError
from tests.support.docker_world import docker, image_id

LABELS = "-c 'LABEL org.opencontainers.image.version=12.5' -c 'LABEL io.gpu-gateway.flavour=cu128'"


@pytest.fixture
def ref() -> Iterator[str]:
    """A reference of this test's own; the image that gets it is removed."""
    name = f"gpu-gateway-test/{secrets.token_hex(4)}:3"
    yield name
    docker("image", "rm", "-f", name, check=False)


def recipe(folder: Path, script: str) -> Path:
    (folder / "build.sh").write_text("#!/bin/sh\nset -e\n" + script)
    (folder / "build.sh").chmod(0o755)
    return folder


def test_builds_and_reads_what_came_out(tmp_path: Path, ref: str) -> None:
    script = 'echo one; echo "two $EXTRA"; cd "$(dirname "$0")"\n'
    script += f'tar c build.sh | docker import {LABELS} - "$1" >/dev/null\n'
    lines: list[str] = []
    built = build("base", ref, recipe(tmp_path, script), os.environ | {"EXTRA": "\x1b[2J"}, lines.append)
    assert lines == ["one", "two \\x1b[2J"]
    assert (built.ref, built.version, built.flavour) == (ref, "12.5", "cu128")
    assert built.digest == image_id(ref)


def test_an_image_without_labels_is_named_by_its_reference(tmp_path: Path, ref: str) -> None:
    script = f'cd {tmp_path}; tar c build.sh | docker import - "$1" >/dev/null\n'
    built = build("base", ref, recipe(tmp_path, script), os.environ, print)
    assert (built.version, built.flavour) == ("3", "cpu")


def test_a_failing_recipe_is_told_by_its_last_line(tmp_path: Path, ref: str) -> None:
    with pytest.raises(PlatformError) as caught:
        build(
            "base", ref, recipe(tmp_path, "echo progress; echo 'the mirror is away' >&2; exit 3\n"), {}, print
        )
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.message == "the image base could not be built: the mirror is away"


def test_a_recipe_that_makes_nothing_is_no_success(tmp_path: Path, ref: str) -> None:
    with pytest.raises(PlatformError, match="the engine has no image") as caught:
        build("base", ref, recipe(tmp_path, "true\n"), os.environ, print)
    assert caught.value.code is Code.UNAVAILABLE


def test_an_absent_recipe_is_not_found(tmp_path: Path, ref: str) -> None:
    with pytest.raises(PlatformError, match="there is no recipe") as caught:
        build("base", ref, tmp_path, os.environ, print)
    assert caught.value.code is Code.NOT_FOUND


def test_an_interrupted_build_takes_its_programs_down(tmp_path: Path, ref: str) -> None:
    """The recipe's child would otherwise work on for minutes, with nobody to read its output."""
    script = f"sleep 1000 & echo $! > {tmp_path}/pid; echo started; wait\n"

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build("base", ref, recipe(tmp_path, script), os.environ, interrupt)
    child = int((tmp_path / "pid").read_text())
    gone = threading.Event()
    for _ in range(200):
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(child)], capture_output=True, text=True).stdout
        if not state.strip() or state.startswith("Z"):
            gone.set()
            break
        gone.wait(0.02)
    if not gone.is_set():
        os.kill(child, signal.SIGKILL)
    assert gone.is_set()
