"""What the engine says about itself, as far as it changes what we ask of it.

Owns the reading of `GET /version` and `GET /info`. Pure; must not talk to the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.docker.client import quoted
from gateway.errors import Code, PlatformError

# Docker 20.10: private cgroup namespaces and OOM reports as we need them.
OLDEST_API = (1, 41)


@dataclass(frozen=True)
class EngineFacts:
    """One engine. `cgroup` is 1 or 2; `cdi_devices` are the fully qualified names that it found, if it tells.

    `cdi_devices` is empty before Docker 28.2, which is the first that lists them.
    """

    version: str
    api: tuple[int, int]
    cgroup: int
    runtimes: tuple[str, ...]
    seccomp: bool
    cdi_devices: frozenset[str]


def parse(version: Mapping[str, Any], info: Mapping[str, Any]) -> EngineFacts:
    """Read the answers to `GET /version` and `GET /info`; fields that an engine lacks have their old meaning.

    Raises UNAVAILABLE for an engine that is too old, or does not speak Docker's API.
    """
    text = str(version.get("ApiVersion", ""))
    try:
        major, minor = (int(part) for part in text.split("."))
    except ValueError:
        raise PlatformError(
            Code.UNAVAILABLE,
            f"the container engine reports the API version '{quoted(text)}'; "
            "point DOCKER_HOST at a Docker engine",
        ) from None
    if (major, minor) < OLDEST_API:
        raise PlatformError(
            Code.UNAVAILABLE,
            f"the container engine is version {quoted(str(version.get('Version')))}; "
            "install Docker 20.10 or newer",
        )
    return EngineFacts(
        version=str(version.get("Version", "")),
        api=(major, minor),
        cgroup=2 if str(info.get("CgroupVersion", "1")) == "2" else 1,
        runtimes=tuple(sorted(info.get("Runtimes") or {})),
        seccomp=any(str(option).startswith("name=seccomp") for option in info.get("SecurityOptions") or ()),
        cdi_devices=frozenset(
            str(device.get("ID"))
            for device in info.get("DiscoveredDevices") or ()
            if device.get("Source") == "cdi"
        ),
    )
