"""What the things that we make in an engine are called, and the labels that find them again.

Owns names and labels. Everything is named by the installation's `instance` and the workspace's
immutable id, so that two installations can share one engine and a user's name never reaches it.
"""

from __future__ import annotations

from collections.abc import Mapping

INSTANCE = "io.gpu-gateway.instance"
WORKSPACE = "io.gpu-gateway.workspace"
SPEC = "io.gpu-gateway.spec"
GPUS = "io.gpu-gateway.gpus"

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def resource_name(instance: str, workspace_id: int) -> str:
    """The name of a workspace's container, and of its network."""
    return f"gpu-gateway-{instance}-{workspace_id}"


def bridge_prefix(instance: str) -> str:
    """What the host's names of all our bridges begin with; the firewall matches on it."""
    return f"gw{instance}-"


def bridge_name(instance: str, workspace_id: int) -> str:
    """The host's interface of a workspace's network.

    The kernel allows 15 characters (IFNAMSIZ - 1): with an instance of four, eight remain for the id.
    """
    digits = ""
    rest = workspace_id
    while rest:
        rest, digit = divmod(rest, 36)
        digits = _DIGITS[digit] + digits
    name = bridge_prefix(instance) + (digits or "0")
    if len(name) > 15:
        raise ValueError(f"no interface name for workspace {workspace_id} of instance {instance}")
    return name


def instance_filter(instance: str) -> dict[str, list[str]]:
    """The engine's filter for everything of this installation."""
    return {"label": [f"{INSTANCE}={instance}"]}


def workspace_of(labels: Mapping[str, str], instance: str) -> int | None:
    """The workspace that a labelled thing belongs to; None when it is not ours or its label is spoilt."""
    if labels.get(INSTANCE) != instance:
        return None
    text = labels.get(WORKSPACE, "")
    return int(text) if text.isascii() and text.isdigit() else None


def gpus_of(labels: Mapping[str, str]) -> tuple[str, ...]:
    """The device ids that a container was made with."""
    return tuple(gpu for gpu in labels.get(GPUS, "").split(",") if gpu)
