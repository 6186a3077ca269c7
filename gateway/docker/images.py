"""Builds a workspace image by its recipe and reads from the engine what came out.

Owns running `images/NAME/build.sh REF`, the one interface of a recipe. Must not know what a recipe does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from gateway.docker.client import SHORT_SECONDS, Client, engine_call, quoted
from gateway.errors import Code, PlatformError

_VERSION = "org.opencontainers.image.version"
_FLAVOUR = "io.gpu-gateway.flavour"


@dataclass(frozen=True)
class BuiltImage:
    """An image that the engine holds now. `digest` is its image id, `flavour` what its torch runs on."""

    ref: str
    digest: str
    version: str
    flavour: str


def build(
    name: str, ref: str, recipe: Path, env: Mapping[str, str], progress: Callable[[str], None]
) -> BuiltImage:
    """Run the recipe in the folder `recipe` for the reference `ref`; blocking, for minutes.

    `env` is the recipe's whole environment (DOCKER_HOST, mirrors, proxies and CA bundle included); `progress`
    gets its output line by line, made printable. Raises NOT_FOUND when there is no such recipe, and
    UNAVAILABLE with the recipe's own last line when it fails. Interrupted, it takes the recipe down with it.
    """
    script = recipe / "build.sh"
    if not script.is_file():
        raise PlatformError(
            Code.NOT_FOUND,
            f"there is no recipe {script} for the image {quoted(name)}; see the folder images/",
        )
    _run([str(script), ref], env, name, progress)
    found = _inspect(ref, env)
    labels = found["Config"].get("Labels") or {}
    return BuiltImage(
        ref=ref,
        digest=found["Id"],
        version=labels.get(_VERSION) or ref.rpartition(":")[2],
        flavour=labels.get(_FLAVOUR) or "cpu",
    )


def _run(command: list[str], env: Mapping[str, str], name: str, progress: Callable[[str], None]) -> None:
    last = "it said nothing"
    with subprocess.Popen(
        command,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A group of its own: a recipe is a tree of programs, and all of them must end with us.
        start_new_session=True,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or ():
                if line.strip():
                    last = quoted(line)
                    progress(last)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            raise
    if process.returncode:
        raise PlatformError(Code.UNAVAILABLE, f"the image {quoted(name)} could not be built: {last}")


def _inspect(ref: str, env: Mapping[str, str]) -> dict[str, Any]:
    client = Client(env.get("DOCKER_HOST"), SHORT_SECONDS)
    try:
        with engine_call("show the new image"):
            try:
                found: dict[str, Any] = client.api().inspect_image(ref)
            except docker.errors.NotFound:
                raise PlatformError(
                    Code.UNAVAILABLE,
                    f"the recipe ended well but the engine has no image {quoted(ref)}; "
                    "see that both use the same DOCKER_HOST",
                ) from None
            return found
    finally:
        client.close()
