"""The container that the whole template makes, field by field, as the engine reports it.

`golden/container.json` is what `docker inspect` must say; every field that it does not name must be empty.
Whoever changes the template changes the golden file by hand, and a reviewer reads what users gain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.disks import Disk
from gateway.docker.naming import resource_name
from gateway.docker.seccomp import profile
from gateway.folders import WorkspaceFolders
from gateway.images import ImageVersion
from gateway.users import User
from gateway.workspaces import ContainerSpec, Workspace, container_spec
from tests.contract.backend_contract import ignore
from tests.support.docker_world import DockerWorld, docker

GOLDEN = Path(__file__).parent / "golden" / "container.json"

# Names of this run, of this machine or of the moment.
VOLATILE = {
    "Config": {"Image"},
    "HostConfig": {"ConsoleSize", "ContainerIDFile", "CgroupParent"},
    "Mounts": set(),
    "Networks": {
        "NetworkID",
        "EndpointID",
        "MacAddress",
        "Gateway",
        "IPAddress",
        "Aliases",
        "DNSNames",
        "Links",
    },
}


def whole_spec(world: DockerWorld) -> ContainerSpec:
    """What a person's container is, made as the product makes it."""
    user = User(7, "alice", 39007, 39008, True, datetime(2026, 1, 1, tzinfo=UTC))
    WorkspaceFolders(world.folder).prepare(user)
    runner = world.folder / "runner.pyz"
    runner.touch()
    gpu = world.folder / "gpu"
    gpu.touch()
    plain = world.spec(7)
    return container_spec(
        Workspace(
            user,
            ImageVersion(1, "x:1", "x", "1", "cpu", world.image),
            (),
            plain.limits,
            Disk(1 << 30),
        ),
        state=str(world.folder),
        runner=str(runner),
        gpu=str(gpu),
        env={"TZ": "UTC"},
        subnet=plain.subnet,
        command=plain.command,
    )


def report(world: DockerWorld) -> dict[str, Any]:
    """`docker inspect`, with names of this run replaced by what they stand for."""
    name = resource_name(world.instance, 7)
    text = docker("inspect", name).stdout
    for mine, stands in ((str(world.folder), "STATE"), (world.instance, "INSTANCE"), (world.image, "IMAGE")):
        text = text.replace(mine, stands)
    answer = json.loads(text)[0]
    answer["HostConfig"]["SecurityOpt"] = [
        "seccomp=OURS" if option == "seccomp=" + profile() else option
        for option in answer["HostConfig"]["SecurityOpt"]
    ]
    answer["HostConfig"]["Ulimits"] = [
        limit | {"Soft": "MOST", "Hard": "MOST"} if limit["Name"] == "nofile" else limit
        for limit in answer["HostConfig"]["Ulimits"]
    ]
    labels = answer["Config"]["Labels"]
    answer["Config"]["Labels"] = {key: labels[key] for key in labels if key.startswith("io.gpu-gateway.")}
    answer["Config"]["Labels"]["io.gpu-gateway.spec"] = "HASH"
    answer["Mounts"].sort(key=lambda mount: mount["Destination"])
    networks = answer["NetworkSettings"]["Networks"].items()
    return {
        "Path": answer["Path"],
        "Args": answer["Args"],
        "Config": told(answer["Config"], "Config"),
        "HostConfig": told(answer["HostConfig"], "HostConfig"),
        "Mounts": [told(mount, "Mounts") for mount in answer["Mounts"]],
        "Networks": {name: told(network, "Networks") for name, network in networks},
    }


def told(fields: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The fields that say something: engines differ in which empty ones they show."""
    return {key: value for key, value in fields.items() if value and key not in VOLATILE[part]}


async def test_is_the_golden_container(docker_world: DockerWorld) -> None:
    await docker_world.backend.start(whole_spec(docker_world), ignore)
    found, golden = report(docker_world), json.loads(GOLDEN.read_text())
    for key in ("MaskedPaths", "ReadonlyPaths"):
        assert set(golden["HostConfig"].pop(key)) <= set(found["HostConfig"].pop(key))
    assert found == golden


async def test_the_golden_container_works(docker_world: DockerWorld) -> None:
    await docker_world.backend.start(whole_spec(docker_world), ignore)
    script = (
        "set -e; touch ~/a /workspace/b /tmp/c /var/tmp/d; id -un; echo $HOME; hostname;"
        "ls -ld /run/user/39007 | cut -c1-10; env | grep -E 'NVIDIA|TZ' | sort;"
        "! touch /opt/gpu-gateway/socket/x; ! rm /etc/passwd; echo end"
    )
    done = await docker_world.run(7, script)
    assert done.stdout.split() == [
        "alice",
        "/home/alice",
        "workspace",
        "drwx------",
        "NVIDIA_VISIBLE_DEVICES=void",
        "TZ=UTC",
        "end",
    ], done.stderr
    own = docker_world.folder / "workspaces" / "7"
    assert {(own / path).stat().st_uid for path in ("home/a", "workspace/b", "tmp/c", "vartmp/d")} == {39007}
