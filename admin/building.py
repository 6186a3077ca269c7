"""How `gpuadmin image build` gets to an image: which version, what it is built on, with whose mirrors.

Owns the choice and the environment of a recipe. Must not know what a recipe does.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gateway
from admin.call import Call
from admin.output import progress
from gateway.channels import Channel
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion, Release, choose, releases

RECIPES = Path(gateway.__file__).parent.parent / "images"
"""The recipes stand beside the packages in a checkout."""


@dataclass(frozen=True)
class Order:
    """What was asked for. `index_url` and `find_links` are where pip looks beside its own places."""

    name: str
    flavour: str | None = None
    version: str | None = None
    index_url: str | None = None
    find_links: str | None = None


def build(call: Call, order: Order, if_absent: bool) -> tuple[ImageVersion, bool]:
    """The image and whether it was built; with `if_absent` one that is recorded and held is taken as it is.

    Raises INVALID for a version of an image that has none to choose, NOT_FOUND for a version that there is
    not, and UNAVAILABLE when it cannot be built.
    """
    recipe = RECIPES / order.name
    table = recipe / "versions.toml"
    if not table.exists():
        if order != Order(order.name):
            raise PlatformError(
                Code.INVALID,
                f"The image {order.name} is made of Debian packages alone; leave its options out.",
            )
        held = held_version(call, order.name) if if_absent else None
        return (held, False) if held else (_base(call, order.name, offered=True), True)
    release = choose(
        releases(tomllib.loads(table.read_text())), order.flavour, order.version, usable_driver()
    )
    held = held_version(call, order.name, release.version) if if_absent else None
    return (held, False) if held else (_on_base(call, order, recipe, release), True)


def held_version(call: Call, name: str, version: str | None = None) -> ImageVersion | None:
    """The newest version of an image that is not retired and still held; `version` when it is given."""
    # Imported here: it brings the Docker client, which listing must not pay for.
    from gateway.docker import images

    for image in reversed(call.store.images()):
        wanted = image.name == name and version in (None, image.version)
        if wanted and image.channel is not Channel.RETIRED and images.find(image.digest):
            return image
    return None


def usable_driver() -> str | None:
    """NVIDIA's driver on this machine; None without GPUs, and when it does not answer, which is told."""
    # Imported here: it loads the driver's library, which most commands do not need.
    from gateway.nvml import NvmlProbe

    probe = NvmlProbe()
    try:
        return probe.driver_version() if probe.devices() else None
    except PlatformError as error:
        progress(f"{error.message} The image is chosen as for a machine without GPUs.")
        return None


def _base(call: Call, name: str, offered: bool) -> ImageVersion:
    version = f"{call.now:%Y%m%d.%H%M}"
    return _built(call, name, version, RECIPES / name, {**call.config.build_env(), **os.environ}, offered)


def _on_base(call: Call, order: Order, recipe: Path, release: Release) -> ImageVersion:
    base = held_version(call, release.base)
    if base is None:
        progress(f"There is no image {release.base} yet, which it is built on; building that first.")
        base = _base(call, release.base, offered=False)
    environment = {
        **call.config.build_env(),
        **os.environ,
        "GPU_GATEWAY_BASE_IMAGE": base.digest,
        # Ours, which is new enough and has pip; the first python3 of the path may be neither.
        "GPU_GATEWAY_PYTHON": os.environ.get("GPU_GATEWAY_PYTHON", sys.executable),
    }
    if order.index_url is not None:
        environment["GPU_GATEWAY_PIP_EXTRA_INDEX_URL"] = order.index_url
    if order.find_links is not None:
        environment["GPU_GATEWAY_PIP_FIND_LINKS"] = order.find_links
    return _built(call, order.name, release.version, recipe, environment, offered=True)


def _built(
    call: Call, name: str, version: str, recipe: Path, environment: Mapping[str, str], offered: bool
) -> ImageVersion:
    # Imported here: see `held_version`.
    from gateway.docker import images

    built = images.build(name, f"gpu-gateway/{name}:{version}", recipe, environment, progress)
    return call.store.add_image(
        name, built.version, built.flavour, built.ref, built.digest, call.actor, call.now, offered=offered
    )
