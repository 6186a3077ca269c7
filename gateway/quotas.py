"""Quotas: the most a user may hold, and what one container may use.

Owns the keys, their defaults on a given machine, whose value is in force, and the decision whether a
request for GPUs fits. Must not know where a value is stored, nor how a limit is enforced.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

from gateway.errors import Code, PlatformError
from gateway.units import format_duration, format_size, parse_duration, parse_size
from gateway.workspaces import Limits

INHERIT = "inherit"
"""The value that takes a setting away again."""
UNLIMITED = -1
_HOUR = 3600
# Longer than any window that `parse_duration` accepts.
_WINDOWS = 10**9
_HOURS = re.compile(r"([0-9]{1,6})/([0-9]+[mhd])")
_CORES = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,3}))?")
# A container with less cannot run its own runner and a shell.
_LEAST_CORES = 100
_LEAST_MEMORY = 64 << 20
_LEAST_SHM = 1 << 20
_LEAST_PIDS = 32
# With less a shell cannot write its history, nor pip a package.
_LEAST_DISK = 64 << 20


@dataclass(frozen=True)
class Machine:
    """What is shared: processor cores and bytes of memory."""

    cores: int
    memory: int


@dataclass(frozen=True)
class Owner:
    """Whose quota: a user's, a group's, or with neither everybody's who has no other."""

    user: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Allowance:
    """GPU time, in GPU-seconds, that may be held within any `window`."""

    gpu_seconds: int
    window: timedelta


@dataclass(frozen=True)
class Key:
    """One quota key. Values are whole numbers: a count, seconds, bytes, thousandths of a core, or what
    `allowance` reads.

    `default` gets the machine and the values of the keys before this one. `parse` raises ValueError, or
    INVALID, for a bad value; `form` says what a good one looks like. `plain` is the value for programs,
    `rank` orders values by how generous they are.
    """

    default: Callable[[Machine, Mapping[str, int]], int]
    show: Callable[[int], str]
    parse: Callable[[str], int]
    form: str
    plain: Callable[[int], object] = lambda value: value
    rank: Callable[[int], Fraction] = Fraction


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        # int() also takes "+1", "1_0" and other scripts' digits; a quota is typed in plain ones.
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
            raise ValueError(text)
        return int(text)

    return parse


def _size(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        size = parse_size(text)
        if size < least:
            raise ValueError(text)
        return size

    return parse


def _seconds(text: str) -> int:
    return int(parse_duration(text).total_seconds())


def _cores(text: str) -> int:
    match = _CORES.fullmatch(text)
    value = int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0")) if match else 0
    if value < _LEAST_CORES:
        raise ValueError(text)
    return value


def _hours(text: str) -> int:
    if text == "none":
        return UNLIMITED
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return int(match[1]) * _WINDOWS + _seconds(match[2])


def allowance(value: int) -> Allowance | None:
    """A value of `gpu_hours` read: None is no limit."""
    if value == UNLIMITED:
        return None
    hours, window = divmod(value, _WINDOWS)
    return Allowance(hours * _HOUR, timedelta(seconds=window))


def _show_hours(value: int) -> str:
    found = allowance(value)
    return f"{found.gpu_seconds // _HOUR}/{format_duration(found.window)}" if found else "none"


def _plain_hours(value: int) -> object:
    found = allowance(value)
    if found is None:
        return None
    return {"gpu_seconds": found.gpu_seconds, "window": int(found.window.total_seconds())}


def _rank_hours(value: int) -> Fraction:
    found = allowance(value)
    # Above every rate that can be written: as many GPU-seconds a second as there are seconds in a window.
    return Fraction(found.gpu_seconds, int(found.window.total_seconds())) if found else Fraction(_WINDOWS)


def _idle(text: str) -> int:
    return UNLIMITED if text == "none" else _seconds(text)


def _show_idle(value: int) -> str:
    return "none" if value == UNLIMITED else format_duration(timedelta(seconds=value))


def _idle_key(seconds: int) -> Key:
    """How long something may be used by nobody; never to be taken away is the most generous."""
    return Key(
        lambda machine, _: seconds,
        _show_idle,
        _idle,
        "a duration such as 30m, or none",
        lambda value: None if value == UNLIMITED else value,
        lambda value: Fraction(_WINDOWS if value == UNLIMITED else value),
    )


def _quarter(of: int, least: int) -> int:
    return max(of // 4, least)


# `memory` stands before `shm`, whose default is half of it.
KEYS: Mapping[str, Key] = {
    "gpus": Key(lambda machine, _: 1, str, _whole(0, 9999), "a whole number from 0 to 9999"),
    "lease": Key(
        lambda machine, _: 24 * _HOUR,
        lambda value: format_duration(timedelta(seconds=value)),
        _seconds,
        "a duration such as 8h",
    ),
    "gpu_hours": Key(
        lambda machine, _: UNLIMITED,
        _show_hours,
        _hours,
        "GPU-hours in a window such as 100/7d, or none",
        _plain_hours,
        _rank_hours,
    ),
    "cpus": Key(
        lambda machine, _: _quarter(machine.cores * 1000, 1000),
        lambda value: f"{value / 1000:g}",
        _cores,
        "cores, at least 0.1, such as 4 or 1.5",
        lambda value: value / 1000,
    ),
    "memory": Key(
        lambda machine, _: machine.memory // 4, format_size, _size(_LEAST_MEMORY), "a size of at least 64M"
    ),
    "shm": Key(
        lambda machine, values: values["memory"] // 2,
        format_size,
        _size(_LEAST_SHM),
        "a size of at least 1M",
    ),
    "pids": Key(
        lambda machine, _: 4096,
        str,
        _whole(_LEAST_PIDS, 4_000_000),
        "a whole number from 32 to 4000000",
    ),
    "disk": Key(lambda machine, _: 100 << 30, format_size, _size(_LEAST_DISK), "a size of at least 64M"),
    "sessions": Key(lambda machine, _: 200, str, _whole(1, 10_000), "a whole number from 1 to 10000"),
    "priority": Key(lambda machine, _: 0, str, _whole(0, 1000), "a whole number from 0 to 1000"),
    "idle": _idle_key(_HOUR // 2),
    "idle_workspace": _idle_key(72 * _HOUR),
}

CONTAINER_KEYS = frozenset({"cpus", "memory", "shm", "pids"})
"""Keys that a container is made with."""
APPLIED_KEYS = CONTAINER_KEYS | {"disk"}
"""Keys whose change has to reach something that is there already."""


def parse_assignment(text: str) -> tuple[str, int | None]:
    """`gpus=2` as a key and its value, None for `gpus=inherit`. Raises INVALID."""
    name, separator, value = text.partition("=")
    key = KEYS.get(name)
    if not separator or key is None:
        raise PlatformError(
            Code.INVALID,
            f"{text!r} sets no quota; write KEY=VALUE with one of these keys: {', '.join(KEYS)}.",
        )
    if value == INHERIT:
        return name, None
    try:
        return name, key.parse(value)
    except ValueError:
        raise PlatformError(
            Code.INVALID, f"{value!r} is no value for {name}; write {key.form}, or {INHERIT}."
        ) from None


def effective(
    machine: Machine,
    everybody: Mapping[str, int],
    groups: Sequence[Mapping[str, int]] = (),
    own: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Every key's value in force: the user's own, else the most generous of her groups', else everybody's,
    else the machine's default."""
    values: dict[str, int] = {}
    for name, key in KEYS.items():
        layers = [
            [own[name]] if own and name in own else [],
            [group[name] for group in groups if name in group],
            [everybody[name]] if name in everybody else [],
            [key.default(machine, values)],
        ]
        values[name] = max(next(layer for layer in layers if layer), key=key.rank)
    return values


def limits(values: Mapping[str, int], machine: Machine) -> Limits:
    """What one container may use, of the values that `effective` returned.

    More cores than the machine has mean all of them: an engine refuses a container that names more.
    """
    cores = min(values["cpus"] / 1000, machine.cores)
    return Limits(cores, values["memory"], values["shm"], values["pids"])


def check(user: str, values: Mapping[str, int], held: Fraction | int, wanted: Fraction | int) -> None:
    """Raise QUOTA_EXCEEDED, with the numbers, when `held` and `wanted` GPUs are above the quota `gpus`."""
    most = values["gpus"]
    enough = math.ceil(held + wanted)
    if enough > most:
        raise PlatformError(
            Code.QUOTA_EXCEEDED,
            f"{user} may hold {gpus(most)} at once and holds {held}, so {wanted} more cannot be granted",
            f"release a lease, or raise the quota with: gpuadmin quota set {user} gpus={enough}",
        )


def gpus(count: int, profile: str | None = None) -> str:
    """`1 GPU`, `2 GPUs`; of a MIG profile `1 slice of 1g.10gb`."""
    if profile is not None:
        return f"{count} {'slice' if count == 1 else 'slices'} of {profile}"
    return f"{count} GPU" if count == 1 else f"{count} GPUs"
