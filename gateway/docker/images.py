"""Builds a workspace image by its recipe and reads from the engine what an image says of itself.

Owns running `images/NAME/build.sh REF`, the one interface of a recipe, and the labels. Must not know what
a recipe does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from gateway.docker.client import SHORT_SECONDS, Client, engine_call, quoted
from gateway.errors import Code, PlatformError

_VERSION = "org.opencontainers.image.version"
_FLAVOUR = "io.gpu-gateway.flavour"
_MIN_DRIVER = "io.gpu-gateway.min-driver"
_TIDY_SECONDS = 60.0
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What programs say of a full disk: the kernel's words, and apt's before it begins.
_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "don't have enough free space")
_TRIAL = "exec /usr/bin/python3 -I -S -c 'import sys; sys.exit(sys.version_info < (3, 9))'"
_TRIAL_SECONDS = 30


@dataclass(frozen=True)
class HeldImage:
    """An image that the engine holds. `digest` is its image id, `flavour` what its torch runs on.

    `min_driver` is the oldest driver with which it can use GPUs, empty when any will do.
    """

    ref: str
    digest: str
    version: str
    flavour: str
    min_driver: str


def build(
    name: str, ref: str, recipe: Path, env: Mapping[str, str], progress: Callable[[str], None]
) -> HeldImage:
    """Run the recipe in the folder `recipe` for the reference `ref`; blocking, for minutes.

    `env` is the recipe's whole environment (DOCKER_HOST, mirrors, proxies and CA bundle included); `progress`
    gets its output line by line, made printable. Raises NOT_FOUND when there is no such recipe, and
    UNAVAILABLE with the recipe's own last line, or a full disk, when it fails. What is raised here while it
    runs, KeyboardInterrupt for instance, takes the recipe down.
    """
    script = recipe / "build.sh"
    if not script.is_file():
        raise PlatformError(
            Code.NOT_FOUND,
            f"there is no recipe {script} for the image {quoted(name)}; see the folder images/",
        )
    _run([str(script), ref], env, name, progress)
    held = find(ref, env.get("DOCKER_HOST"))
    if held is None:
        raise PlatformError(
            Code.UNAVAILABLE,
            f"the recipe ended well but the engine has no image {quoted(ref)}; "
            "see that both use the same DOCKER_HOST",
        )
    return held


def find(ref: str, base_url: str | None = None) -> HeldImage | None:
    """The image that the engine knows by `ref`, a name or an image id; None when it has none.

    Raises PlatformError(UNAVAILABLE) when the engine does not answer.
    """
    client = Client(base_url, SHORT_SECONDS)
    try:
        with engine_call("show an image"):
            try:
                return read(ref, client.api().inspect_image(ref))
            except docker.errors.NotFound:
                return None
    finally:
        client.close()


def labels(ref: str, base_url: str | None = None) -> dict[str, str]:
    """The labels of an image that the engine holds. Raises NOT_FOUND, and UNAVAILABLE."""
    client = Client(base_url, SHORT_SECONDS)
    try:
        with engine_call("show an image"):
            found = client.api().inspect_image(ref)
    except docker.errors.NotFound:
        raise PlatformError(Code.NOT_FOUND, f"the engine has no image {quoted(ref)}") from None
    finally:
        client.close()
    return dict(found["Config"].get("Labels") or {})


def check_runner_starts(ref: str, base_url: str | None = None) -> None:
    """Raise CONFLICT when the platform's program could not start in the image `ref`, which is tried.

    Raises UNAVAILABLE when the engine does not answer.
    """
    client = Client(base_url, SHORT_SECONDS)
    try:
        with engine_call("try the image"):
            made = client.api().create_container(
                ref,
                entrypoint=["/bin/sh", "-c"],
                command=[_TRIAL],
                user="65534:65534",
                network_disabled=True,
            )["Id"]
            try:
                client.api().start(made)
                status = int(client.api().wait(made, timeout=_TRIAL_SECONDS)["StatusCode"])
            except docker.errors.APIError:
                # Not even the shell is there.
                status = 127
            finally:
                client.api().remove_container(made, force=True, v=True)
    finally:
        client.close()
    if status:
        raise PlatformError(
            Code.CONFLICT,
            f"workspaces cannot run the image {quoted(ref)}: it needs /bin/sh and, from 3.9 on, "
            "/usr/bin/python3; add both to it",
        )


def read(ref: str, found: Mapping[str, Any]) -> HeldImage:
    """Read `GET /images/NAME/json` of the image called `ref`. Pure."""
    labels = found["Config"].get("Labels") or {}
    return HeldImage(
        ref=ref,
        digest=found["Id"],
        version=labels.get(_VERSION) or ref.rpartition(":")[2],
        flavour=labels.get(_FLAVOUR) or "cpu",
        min_driver=min_driver(found),
    )


def min_driver(found: Mapping[str, Any]) -> str:
    """The oldest driver with which the image of `GET /images/NAME/json` can use GPUs. Pure."""
    return str((found["Config"].get("Labels") or {}).get(_MIN_DRIVER, ""))


def _run(command: list[str], env: Mapping[str, str], name: str, progress: Callable[[str], None]) -> None:
    last, full = "it said nothing", False
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
                    full = full or any(words in line for words in _FULL)
                    progress(last)
        except BaseException:
            _end(process)
            raise
    if process.returncode:
        # A recipe that has seen it itself knows which disk.
        if full and "is full" not in last:
            place = env.get("TMPDIR") or tempfile.gettempdir()
            last = f"a disk is full; make room in {place} and where the engine keeps its images"
        raise PlatformError(Code.UNAVAILABLE, f"the image {quoted(name)} could not be built: {last}")


def _end(process: subprocess.Popen[str]) -> None:
    """End a recipe and wait while it removes what it had half made, which no further signal keeps it from."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_TIDY_SECONDS)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
