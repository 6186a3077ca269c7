"""The stand-ins do what NVIDIA's parts do: through a real engine's GPU request a container sees its GPUs."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from tests.conftest import GpuEngine
from tests.support.nvidia import state

MACHINE = state.gpus(4)


def run(engine: GpuEngine, image: str, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A container as the platform makes it: read-only root, a uid of its own, no rights."""
    return subprocess.run(
        ["docker", "run", "--rm", "--read-only", "--network", "none", "--user", "54321:54321"]
        + ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", *options, image, "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env=engine.environment,
    )


def test_a_container_sees_the_one_gpu_it_was_given(gpu_engine: GpuEngine, base_image: str) -> None:
    wanted = MACHINE[2]
    done = run(
        gpu_engine, base_image, "nvidia-smi -L; ls /dev/ | grep ^nvidia", "--gpus", f"device={wanted.uuid}"
    )
    assert done.stdout.splitlines() == [
        f"GPU 0: {wanted.model} (UUID: {wanted.uuid})",
        "nvidia-uvm",
        "nvidia2",
        "nvidiactl",
    ]


def test_two_gpus_by_uuid_and_all_of_them(gpu_engine: GpuEngine, base_image: str) -> None:
    two = run(
        gpu_engine, base_image, "nvidia-smi -L", "--gpus", f'"device={MACHINE[3].uuid},{MACHINE[0].uuid}"'
    )
    assert [line.split("UUID: ")[1].strip(")") for line in two.stdout.splitlines()] == [
        MACHINE[0].uuid,
        MACHINE[3].uuid,
    ]
    assert len(run(gpu_engine, base_image, "nvidia-smi -L", "--gpus", "all").stdout.splitlines()) == 4


def test_a_container_without_a_request_has_neither_nodes_nor_the_library(
    gpu_engine: GpuEngine, base_image: str
) -> None:
    done = run(gpu_engine, base_image, "ls /dev | grep nvidia; find / -xdev -name 'libnvidia*' 2>/dev/null")
    assert done.stdout == ""


def test_a_slice_by_either_form_of_its_uuid_and_no_other(gpu_engine: GpuEngine, base_image: str) -> None:
    """With the nodes of its GPU and of its two instances, as NVIDIA's driver numbers them."""
    file, parent = gpu_engine.stand_ins / "state", MACHINE[1]
    names = ("MIG-6b0c7b1e-0c5e-5d0e-9a57-6a8b8e1f7d11", f"MIG-{parent.uuid}/9/0")
    slices = (state.Slice(names[0], gi=7), state.Slice(names[1], "2g.20gb", gi=9, start=4))
    state.write(file, [MACHINE[0], replace(parent, mig=1, slices=slices), *MACHINE[2:]])
    script = "nvidia-smi -L; cd /dev; ls -d nvidia* nvidia-caps/*"
    try:
        seen = [run(gpu_engine, base_image, script, "--gpus", f"device={name}") for name in names]
    finally:
        state.write(file, MACHINE)
    kinds = (("1g.10gb", "201", "202"), ("2g.20gb", "219", "220"))
    for done, name, (profile, *caps) in zip(seen, names, kinds, strict=True):
        assert done.stdout.splitlines() == [
            f"GPU 0: {parent.model} (UUID: {parent.uuid})",
            f"  MIG {profile}     Device  0: (UUID: {name})",
            "nvidia-caps",
            *(f"nvidia-caps/nvidia-cap{number}" for number in caps),
            "nvidia-uvm",
            "nvidia1",
            "nvidiactl",
        ], done.stderr


def test_an_unknown_uuid_keeps_the_container_from_starting(gpu_engine: GpuEngine, base_image: str) -> None:
    done = run(gpu_engine, base_image, "true", "--gpus", "device=GPU-of-nobody")
    assert done.returncode == 125
    assert "nvidia-container-cli: device error: GPU-of-nobody: unknown device" in done.stderr


def test_the_state_changes_under_a_running_container(gpu_engine: GpuEngine, base_image: str) -> None:
    busy = state.Gpu(uuid=MACHINE[0].uuid, minor=0, used=3 << 30, utilization=97)
    script = "nvidia-smi; echo go; read line; nvidia-smi"
    command = [
        "docker",
        "run",
        "--rm",
        "-i",
        "--network",
        "none",
        "--gpus",
        f"device={busy.uuid}",
        base_image,
    ]
    with subprocess.Popen(
        [*command, "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=gpu_engine.environment,
    ) as container:
        assert container.stdin is not None
        assert container.stdout is not None
        before = [container.stdout.readline() for _ in range(3)]
        try:
            state.write(gpu_engine.stand_ins / "state", [busy, *MACHINE[1:]])
            after, _ = container.communicate("\n", timeout=30)
        finally:
            state.write(gpu_engine.stand_ins / "state", MACHINE)
    assert before[1].endswith(" 0%\n")
    assert after.splitlines()[-1].endswith("3072MiB /   81920MiB   97%")


def test_the_hook_leaves_other_stages_alone(stand_ins: Path) -> None:
    hook = stand_ins / "nvidia-container-runtime-hook"
    done = subprocess.run([hook, "poststop"], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
