"""The recipe of the PyTorch image as a program, over the real engine: what it makes, and what it refuses.

The real one, with torch, is in tests/stories/test_pytorch.py.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.recipe import Recipe, docker
from tests.support.wheels import write_wheel


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


def of_its_own(ref: str) -> None:
    """Without the platform it is nobody in particular; caches lie in the workspace, no GPU is shown."""
    shown = json.loads(docker("image", "inspect", "-f", "{{json .Config}}", ref))
    assert (shown["User"], shown["Cmd"]) == ("1000:1000", ["/opt/image/stand-alone.sh"])
    assert not shown.get("Entrypoint")
    environment = dict(line.split("=", 1) for line in shown["Env"])
    caches = ["PIP_CACHE_DIR", "UV_CACHE_DIR", "HF_HOME", "TORCH_HOME"]
    for name in [*caches, "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"]:
        assert environment[name].startswith("/workspace/.cache/")
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "void"
    docker("run", "--rm", "--network=none", "--user=54321", ref, "mkdir", "/workspace/.cache")
    labels = shown["Labels"]
    assert (labels["io.gpu-gateway.cudnn"], labels["io.gpu-gateway.nccl"]) == ("9.1.2", "2.1.5")


def test_what_was_locked_is_there_and_her_own_packages_stay_and_come_first(
    recipe: Recipe, tmp_path: Path
) -> None:
    status, said = recipe.run(PIP_TIMEOUT="7")
    assert status == 0, said
    assert f"{recipe.ref} is ready" in said.splitlines()[-1]
    of_its_own(recipe.ref)
    labels = recipe.labels()
    assert labels["org.opencontainers.image.version"] == "9.1-cpu"
    assert (labels["io.gpu-gateway.flavour"], labels["io.gpu-gateway.min-driver"]) == ("cpu", "525.60")
    listed = in_workspace(recipe.ref, tmp_path / "own", "cat /opt/image/packages.txt; ls /opt/image").stdout
    assert {"python tiny==1.0", "stand-alone.sh"} < set(listed.splitlines())
    assert "\ndebian bash=" in f"\n{listed}"
    own = tmp_path / "own"
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
    assert not any(trace in kept for trace in (str(tmp_path), "PIP_TIMEOUT", "PIP_CONFIG", "wheels"))


@pytest.mark.slow
def test_the_same_inputs_give_the_same_packages_and_another_wheel_other_ones(recipe: Recipe) -> None:
    seen = []
    for version in ("1.0", "1.0", "1.1"):
        for wheel in recipe.wheels.glob("tiny-*"):
            wheel.unlink()
        write_wheel(recipe.wheels, "tiny", version, {"tiny.py": "def answer():\n    return 42\n"})
        recipe.lock(*recipe.wheels.iterdir())
        assert recipe.run()[0] == 0
        seen.append(recipe.labels()["io.gpu-gateway.packages"])
    assert seen[0] == seen[1] != seen[2]


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
