"""A Docker engine for one test: a backend of its own instance, and everything it made removed afterwards.

Owns the levers that the contract suite and the engine's own tests pull. Uses the docker program where the
product must not: to act inside a container as its user, and to break things.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import subprocess
from pathlib import Path
from typing import Any

from gateway.docker.backend import DockerBackend
from gateway.docker.client import Client
from gateway.docker.naming import resource_name
from gateway.docker.sweep import remove_all
from gateway.workspaces import ContainerSpec, Limits, Mount

DEADLINE = 30.0


def docker(*arguments: str, check: bool = True, host: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the docker program, against the engine `host`; with `check` a failure is an error that says why."""
    engine = ["--host", host] if host else []
    done = subprocess.run(["docker", *engine, *arguments], capture_output=True, text=True, timeout=60)
    if check and done.returncode:
        raise AssertionError(f"docker {arguments[0]}: {done.stderr}")
    return done


def image_id(ref: str, host: str | None = None) -> str:
    """The engine's id of an image."""
    return docker("image", "inspect", "-f", "{{.Id}}", ref, host=host).stdout.strip()


class DockerWorld:
    """One backend over an engine. `image` is an image id; subnets come from a /20 of its own."""

    def __init__(self, image: str, folder: Path, host: str | None = None) -> None:
        self._host = host
        self.instance = secrets.token_hex(2)
        self.image = image
        self.folder = folder
        # Not the product's default pool: a gateway may be running on this machine.
        self._second, self._third = 214 + secrets.randbelow(30), 16 * secrets.randbelow(16)
        self.pool = f"10.{self._second}.{self._third}.0/20"
        self.backend = DockerBackend(self.instance, self.pool, host)
        self._clients: list[Client] = []

    def api(self) -> Any:
        """The SDK's client; the test's own way in."""
        client = Client(None, DEADLINE)
        self._clients.append(client)
        return client.api()

    def spec(self, workspace_id: int = 1, slot: int | None = None) -> ContainerSpec:
        """A container that runs until it is ended. `slot`: its subnet's number, else the id."""
        third, fourth = divmod((slot or workspace_id) * 8, 256)
        uid = 39000 + workspace_id
        return ContainerSpec(
            workspace_id=workspace_id,
            user=f"user{workspace_id}",
            uid=uid,
            gid=uid,
            groups=(),
            home=f"/home/user{workspace_id}",
            image=self.image,
            gpus=(),
            limits=Limits(1.0, 128 << 20, 16 << 20, 128),
            mounts=(),
            env=(),
            subnet=f"10.{self._second}.{self._third + third}.{fourth}/29",
            command=("/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"),
        )

    def unstartable(self, spec: ContainerSpec) -> ContainerSpec:
        """The engine makes it; the runtime then cannot mount a file over a directory."""
        file = self.folder / "\x1b[31mfile"
        file.touch()
        return dataclasses.replace(spec, mounts=(Mount(str(file), "/usr", True),))

    async def exhaust_memory(self, workspace_id: int) -> None:
        """Start a container whose own program asks for more than it may have."""
        eater = "import time; time.sleep(0.5); b'x' * (512 << 20)"
        spec = dataclasses.replace(self.spec(workspace_id), command=("/usr/bin/python3", "-c", eater))
        await self.backend.start(spec, lambda _: None)

    async def limits(self, workspace_id: int) -> Limits:
        """What the kernel says of the container's control group (v1 or v2), and how large its /dev/shm is."""
        script = """
            cd /sys/fs/cgroup
            if [ -e cpu.max ]; then cat cpu.max memory.max pids.max
            else cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us memory/memory.limit_in_bytes pids/pids.max; fi
            df -B1 --output=size /dev/shm | tail -1"""
        done = await self.run(workspace_id, script)
        quota, period, memory, pids, shm = map(int, done.stdout.split())
        return Limits(quota / period, memory, shm, pids)

    async def use_memory(self, workspace_id: int, size: int) -> None:
        """Start a program that holds so much, and wait until it does."""
        holder = f"held = bytearray(b'x') * {size}; open('/dev/shm/held', 'w'); import time; time.sleep(1000)"
        name = resource_name(self.instance, workspace_id)
        arguments = ("exec", "-d", name, "/usr/bin/python3", "-c", holder)
        await asyncio.to_thread(docker, *arguments, host=self._host)
        deadline = asyncio.get_running_loop().time() + DEADLINE
        while (await self.run(workspace_id, "test -e /dev/shm/held")).returncode:
            assert asyncio.get_running_loop().time() < deadline, "it does not hold the memory"
            await asyncio.sleep(0.05)

    async def end(self, workspace_id: int) -> None:
        """End the container's own program from inside."""
        await self.run(workspace_id, "kill -TERM $(pgrep -o -P 1)")

    async def run_processes(self, workspace_id: int, number: int) -> None:
        """Start `number` processes whose starter is gone, as nohup leaves them."""
        await self.run(
            workspace_id, f"for i in $(seq {number}); do setsid sleep 1000 </dev/null >&0 2>&0 & done"
        )
        deadline = asyncio.get_running_loop().time() + DEADLINE
        while await self.backend.processes(workspace_id) > number:
            assert asyncio.get_running_loop().time() < deadline, "the shell that started them stays"
            await asyncio.sleep(0.05)

    async def run(self, workspace_id: int, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script in a running container as its user; the caller looks at how it ended."""
        name = resource_name(self.instance, workspace_id)
        arguments = ("exec", name, "/bin/bash", "-c", script)
        return await asyncio.to_thread(docker, *arguments, check=False, host=self._host)

    def workspace_mounts(self, uid: int) -> tuple[Mount, ...]:
        """Directories like a real workspace's, for a user of this uid."""
        for name in ("home", "workspace", "tmp"):
            (self.folder / name).mkdir(exist_ok=True)
            (self.folder / name).chmod(0o1777)
        return (
            Mount(str(self.folder / "home"), f"/home/user{uid - 39000}", False),
            Mount(str(self.folder / "workspace"), "/workspace", False),
            Mount(str(self.folder / "tmp"), "/tmp", False),
        )

    async def close(self) -> None:
        """Remove everything that this instance made."""
        await self.backend.close()
        for client in self._clients:
            client.close()
        await asyncio.to_thread(remove_all, self.instance, self._host)
