"""Quotas: the most a user may hold, and what one container may use.

Owns the keys, their defaults on a given machine, and the decision whether a request fits. Must not know
who set what where, nor how a limit is enforced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from gateway.errors import Code, PlatformError
from gateway.units import format_duration, format_size
from gateway.workspaces import Limits


@dataclass(frozen=True)
class Machine:
    """What is shared: processor cores and bytes of memory."""

    cores: int
    memory: int


@dataclass(frozen=True)
class Key:
    """One quota key. Values are whole numbers: a count, seconds, bytes, or thousandths of a core.

    `parse` is None for a key that cannot be set; it raises ValueError for a bad value.
    """

    default: Callable[[Machine], int]
    show: Callable[[int], str]
    parse: Callable[[str], int] | None = None


def _count(text: str) -> int:
    # int() also takes "+1", "1_0" and other scripts' digits; a quota is typed in plain ones.
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise ValueError(text)
    return int(text)


def _quarter(of: int, least: int) -> int:
    return max(of // 4, least)


KEYS: Mapping[str, Key] = {
    "gpus": Key(lambda machine: 1, str, _count),
    "lease": Key(lambda machine: 24 * 3600, lambda value: format_duration(timedelta(seconds=value))),
    "cpus": Key(lambda machine: _quarter(machine.cores * 1000, 1000), lambda value: f"{value / 1000:g}"),
    "memory": Key(lambda machine: machine.memory // 4, format_size),
    "shm": Key(lambda machine: machine.memory // 8, format_size),
    "pids": Key(lambda machine: 4096, str),
}


def parse_assignment(text: str) -> tuple[str, int]:
    """`gpus=2` as a key and its value. Raises INVALID for an unknown or fixed key or a bad value."""
    name, separator, value = text.partition("=")
    settable = ", ".join(name for name, key in KEYS.items() if key.parse)
    key = KEYS.get(name)
    if not separator or key is None or key.parse is None:
        raise PlatformError(
            Code.INVALID, f"{text!r} sets no quota; write KEY=VALUE with one of these keys: {settable}."
        )
    try:
        return name, key.parse(value)
    except ValueError:
        raise PlatformError(
            Code.INVALID, f"{value!r} is no value for {name}; write a whole number from 0 to 9999."
        ) from None


def effective(machine: Machine, *layers: Mapping[str, int]) -> dict[str, int]:
    """Every key's value: the machine's defaults, then what each layer sets; later layers win."""
    values = {name: key.default(machine) for name, key in KEYS.items()}
    for layer in layers:
        values.update(layer)
    return values


def limits(values: Mapping[str, int]) -> Limits:
    """What one container may use, of the values that `effective` returned."""
    return Limits(values["cpus"] / 1000, values["memory"], values["shm"], values["pids"])


def check(user: str, values: Mapping[str, int], held: int, wanted: int) -> None:
    """Raise QUOTA_EXCEEDED, with the numbers, when `held` and `wanted` GPUs are above the quota `gpus`."""
    most = values["gpus"]
    if held + wanted > most:
        raise PlatformError(
            Code.QUOTA_EXCEEDED,
            f"{user} may hold {gpus(most)} at once and holds {held}, so {wanted} more cannot be granted; "
            f"release a lease, or raise the quota with: gpuadmin quota set {user} gpus={held + wanted}",
        )


def gpus(count: int) -> str:
    """`1 GPU`, `2 GPUs`."""
    return f"{count} GPU" if count == 1 else f"{count} GPUs"
