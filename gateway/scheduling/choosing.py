"""What an operator's grant at once comes to: the devices, or who keeps them.

Owns which devices a request is for, and every sentence of what cannot be asked for so. Must not know the
queue, quotas, SQL or the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.devices import Device, DeviceRequest
from gateway.errors import Code, PlatformError
from gateway.leases import Lease, State
from gateway.scheduling.kin import Kin
from gateway.scheduling.waiting import suits
from gateway.units import format_instant


def complete(devices: Sequence[Device], request: DeviceRequest) -> DeviceRequest:
    """The same request; one that names MIG slices of one profile asks for that."""
    named = {device.profile for device in devices if device.id in request.ids}
    return replace(request, profile=named.pop()) if request.profile is None and len(named) == 1 else request


def candidates(devices: Sequence[Device], request: DeviceRequest) -> list[Device]:
    """The devices that a complete request is for, whoever holds them: as it names them, or lowest node and
    index first.

    Raises INVALID for a request that contradicts itself, NOT_FOUND for an unknown id, and CONFLICT for what
    is not granted so, and for more than there are.
    """
    if request.count < 1 or (request.ids and len(set(request.ids)) != request.count):
        raise PlatformError(
            Code.INVALID, "The number of GPUs must be at least 1 and match the devices that are named."
        )
    if request.profile is not None and request.count > 1:
        raise PlatformError(
            Code.INVALID, "A program can use one MIG slice at most; ask for 1, or for a larger profile."
        )
    known = {device.id: device for device in devices}
    for wanted in request.ids:
        if wanted not in known:
            raise PlatformError(Code.NOT_FOUND, f"There is no GPU {wanted!r}; see: gpuadmin gpu list")
        _check_kind(known[wanted], request.profile)
    ordered = sorted(devices, key=lambda device: (device.node, device.index, device.id))
    listed = [known[id_] for id_ in request.ids] or ordered
    suited = [device for device in listed if suits(request, device)]
    if request.count > len(suited):
        raise PlatformError(Code.CONFLICT, _too_many(devices, request, len(suited)), "see: gpuadmin gpu list")
    return suited


def choose(devices: Sequence[Device], held: Sequence[Lease], request: DeviceRequest) -> tuple[str, ...]:
    """The ids to grant, in the order of `candidates`: the same inventory and leases give the same answer.

    `held` are all leases that hold devices, live or in grace. Raises what `candidates` raises, and
    NO_CAPACITY, naming who holds what until when, for a request that could be met later.
    """
    suited = candidates(devices, request)
    taken = Kin(devices).taken(device for lease in held for device in lease.devices)
    free = [device.id for device in suited if device.id not in taken and _sound(device)]
    if len(free) < request.count:
        shortage = _shortage(suited, held, request, len(free))
        advice = "ask again later, or end a lease with gpuadmin release."
        raise PlatformError(Code.NO_CAPACITY, shortage, advice)
    return tuple(free[: request.count])


def _check_kind(device: Device, profile: str | None) -> None:
    """Raise CONFLICT when a device that is named cannot be granted as what is asked for."""
    if device.divided and profile is None:
        raise PlatformError(
            Code.CONFLICT,
            f"{device.name} has MIG on and is granted in slices; ask for one with --mig PROFILE",
        )
    if device.profile != profile:
        whole = "a MIG slice and no whole GPU"
        kind = whole if profile is None else f"no MIG slice of the profile {profile}"
        raise PlatformError(Code.CONFLICT, f"{device.id} is {kind}; see: gpuadmin gpu list")


def _too_many(devices: Sequence[Device], request: DeviceRequest, found: int) -> str:
    """Why there will never be so many, whoever holds what."""
    of_model = f" of the model {request.model!r}" if request.model is not None else ""
    profiles = sorted({device.profile for device in devices if device.profile is not None})
    if request.profile is None:
        divided = any(device.divided for device in devices)
        rest = " that are not divided into MIG slices" if divided else ""
        return f"{request.count} GPUs are wanted and the platform has {found}{of_model}{rest}"
    if not profiles:
        return f"No MIG slice of the profile {request.profile!r} is here: no GPU is divided"
    there = ", ".join(profiles)
    return f"No MIG slice of the profile {request.profile!r} is here{of_model}, but slices of {there}"


def _sound(device: Device) -> bool:
    return device.problem is None and device.drained is None


def _shortage(suited: Sequence[Device], held: Sequence[Lease], request: DeviceRequest, free: int) -> str:
    """Who holds the devices that suit until when, and which of them are out of order or drained."""
    names = {device.id: device.name for device in suited}
    reasons = [
        f"{lease.user} holds {_listed(names, lease)} until {_until(lease)}"
        for lease in sorted(held, key=lambda lease: lease.expires_at)
        if any(device in names for device in lease.devices)
    ]
    reasons += [f"{device.name} is out of order ({device.problem})" for device in suited if device.problem]
    reasons += [
        f"{device.name} is drained{f' ({device.drained})' if device.drained else ''}"
        for device in suited
        if device.drained is not None and device.problem is None
    ]
    wanted = "GPU is" if request.count == 1 else "GPUs are"
    return (
        f"{request.count} {wanted} wanted and {free} of {len(suited)} can be granted now: "
        f"{'; '.join(reasons)}"
    )


def _listed(names: dict[str, str], lease: Lease) -> str:
    return " and ".join(sorted(names[device] for device in lease.devices if device in names))


def _until(lease: Lease) -> str:
    if lease.state is State.GRACE:
        return "its container has stopped"
    return format_instant(lease.expires_at)
