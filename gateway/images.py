"""Image versions: immutable builds that workspaces are pinned to.

Owns the values. Must not know Docker or registries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ImageVersion:
    """One build. `digest` is the engine's image id; `registry_digest` is None until it was pushed.

    `ref` is the name that people and engines call it by (`gpu-gateway/base:12.1`).
    """

    id: int
    ref: str
    name: str
    version: str
    flavour: str
    digest: str
    channel: str = "stable"
    registry_digest: str | None = None


def newest(versions: Sequence[ImageVersion], name: str) -> ImageVersion | None:
    """What a workspace without a pin runs: the stable version of image `name` that was built last.

    `versions` are in the order in which they were built.
    """
    stable = [version for version in versions if version.name == name and version.channel == "stable"]
    return stable[-1] if stable else None
