"""The health of GPUs: from what one says of itself, and what was seen of it, to its state.

Owns the policy: which Xids are a program's fault and which the hardware's, what quarantines a GPU and what
ends that, and when a GPU that nobody holds is clean. Pure. Must not know NVML, SQL or who holds what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.devices import Cause, Device, Health, Occupation, Process, Quarantine

IS_LOST = 15
"""NVML_ERROR_GPU_IS_LOST of nvml.h: it fell off the bus, or is otherwise out of reach."""
RESET_REQUIRED = 16
"""NVML_ERROR_RESET_REQUIRED of nvml.h."""
UNSEEN = "not seen by the driver"
UNMADE = "the slice is not there; it can be made again where it was (nvidia-smi mig -cgi PROFILE:PLACE -C)"
"""MIG slices end with every boot, and with every reset of their GPU."""
BASELINE = 512 << 20
"""Bytes that a GPU which nobody uses may have in use: a driver keeps some hundred for itself."""

# By docs.nvidia.com/deploy/xid-errors, as NVIDIA's device plugin for Kubernetes sorts them.
APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
HARDWARE_XIDS = {
    48: "an uncorrectable memory error (double bit ECC)",
    63: "a memory row or page is to be replaced",
    64: "a memory row or page could not be replaced",
    74: "an NVLink error",
    79: "it fell off the bus",
    92: "many correctable memory errors",
    94: "a contained uncorrectable memory error",
    95: "an uncontained uncorrectable memory error",
    119: "its system processor (GSP) timed out",
    120: "its system processor (GSP) failed",
}
# NVML_GPU_RECOVERY_ACTION_* of nvml.h. Peer-to-peer alone is broken in 3, and 5 is about other machines.
_RECOVERIES = {
    1: (Health.QUARANTINED, "its driver asks for a reset of the GPU"),
    2: (Health.QUARANTINED, "its driver asks for a reboot of the machine"),
    3: (Health.DEGRADED, "its driver asks that programs on several GPUs end"),
    4: (Health.QUARANTINED, "its driver asks for a reset of the GPU"),
    5: (Health.DEGRADED, "its driver asks that its NVLink domain is recovered"),
    6: (Health.QUARANTINED, "its driver asks for a reset of the bus"),
    7: (Health.QUARANTINED, "its driver asks for a reboot of the machine"),
}
_SEVERITY = (Health.HEALTHY, Health.DEGRADED, Health.QUARANTINED, Health.LOST)


@dataclass(frozen=True)
class Signs:
    """What a GPU says of its own health; None is what it does not tell, which is normal for each.

    `uncorrected` counts memory errors since the driver was loaded; a row or page that is `pending` is
    replaced by a reset; `recovery` is NVML's GPU recovery action, `error` the NVML error that questions end
    with.
    """

    uncorrected: int | None = None
    row_pending: bool | None = None
    row_failed: bool | None = None
    page_pending: bool | None = None
    recovery: int | None = None
    error: int | None = None


@dataclass(frozen=True)
class Finding:
    """What one thing that was seen says of a GPU: the state that it asks for, and why."""

    health: Health
    text: str


def findings(signs: Signs) -> list[Finding]:
    """What these signs say, each; nothing for a GPU that is well."""
    found = []
    if signs.error == RESET_REQUIRED:
        found.append(Finding(Health.QUARANTINED, "it must be reset (nvidia-smi --gpu-reset)"))
    elif signs.error is not None:
        found.append(Finding(Health.LOST, error_text(signs.error)))
    if signs.uncorrected:
        count = "an uncorrectable memory error" if signs.uncorrected == 1 else "uncorrectable memory errors"
        found.append(
            Finding(Health.QUARANTINED, f"{count} ({signs.uncorrected} since the driver was loaded)")
        )
    if signs.row_failed:
        found.append(Finding(Health.QUARANTINED, "a broken memory row could not be replaced"))
    if signs.row_pending:
        found.append(Finding(Health.DEGRADED, "a broken memory row is replaced at the next reset"))
    if signs.page_pending:
        found.append(Finding(Health.DEGRADED, "a broken memory page is retired at the next reset"))
    if signs.recovery in _RECOVERIES:
        found.append(Finding(*_RECOVERIES[signs.recovery]))
    return found


def of_xid(number: int) -> Finding:
    """What one Xid says: HEALTHY for a note only, as for a program's own fault and for unknown numbers."""
    if number in HARDWARE_XIDS:
        return Finding(Health.QUARANTINED, f"Xid {number}: {HARDWARE_XIDS[number]}")
    if number in APPLICATION_XIDS:
        return Finding(Health.HEALTHY, f"Xid {number}: a program's fault")
    return Finding(Health.HEALTHY, f"Xid {number}: see docs.nvidia.com/deploy/xid-errors")


def rank(device: Device) -> int:
    """The order in which GPUs that may be granted are: the lower, the sooner."""
    return _SEVERITY.index(device.health)


def error_text(code: int) -> str:
    """Why a GPU that answers with this NVML error is lost."""
    return (
        "it fell off the bus (GPU is lost)" if code == IS_LOST else f"it does not answer (NVML error {code})"
    )


@dataclass(frozen=True)
class Told:
    """What one look at a machine told beside its devices.

    `signs` are those of each that answered, by its id; `silent` the NVML errors of those that did not, by
    index; `era` is that of `Quarantine`. `use` says of GPUs that nobody held then why they are not clean, or
    None for one that is; `unmanaged` has the processes on any GPU that are in no container of ours, in
    words. Of GPUs that they leave out nothing is known.
    """

    signs: Mapping[str, Signs] = field(default_factory=dict)
    silent: Mapping[int, int] = field(default_factory=dict)
    era: str = ""
    use: Mapping[str, str | None] = field(default_factory=dict)
    unmanaged: Mapping[str, str | None] = field(default_factory=dict)


def judge(known: Device | None, seen: Device | None, signs: Signs, era: str) -> Device:
    """The device as it is to be recorded, from what is recorded, what answered now, and its signs.

    A quarantine by a sign ends when the sign has gone, which takes a reset; by an Xid in another era, for
    the machine was booted or the driver replaced; by use it is `lift`ed. One of the two must be given.
    """
    drained = None if known is None else known.drained
    before = None if known is None else known.quarantine
    if seen is None:
        assert known is not None
        unseen = UNSEEN if known.part is None else UNMADE
        text = unseen if signs.error is None else error_text(signs.error)
        return lost(known, text)
    worst = max(findings(signs), key=lambda found: _SEVERITY.index(found.health), default=None)
    quarantine = before if before is not None and _stands(before, era) else None
    grave = worst is not None and worst.health is Health.QUARANTINED
    if worst is not None and grave and (quarantine is None or quarantine.cause is Cause.BUSY):
        quarantine = Quarantine(worst.text, Cause.SIGN, era)
    # One that must be reset may not even tell its memory.
    memory = seen.memory or (0 if known is None else known.memory)
    unmanaged = None if known is None else known.unmanaged
    fresh = replace(seen, drained=drained, quarantine=quarantine, memory=memory, unmanaged=unmanaged)
    if worst is not None and worst.health is Health.LOST:
        return replace(fresh, health=Health.LOST, problem=worst.text)
    if quarantine is not None:
        return replace(fresh, health=Health.QUARANTINED, problem=quarantine.reason)
    if worst is not None:
        return replace(fresh, health=worst.health, remark=worst.text)
    return fresh


def _stands(quarantine: Quarantine, era: str) -> bool:
    return quarantine.cause is Cause.BUSY or (quarantine.cause is Cause.XID and quarantine.era == era)


def quarantined(device: Device, quarantine: Quarantine) -> Device:
    """The device in quarantine; one that is in one already stays in that, unless it was only for use."""
    if device.quarantine is not None and device.quarantine.cause is not Cause.BUSY:
        return device
    if device.health is Health.LOST:
        return replace(device, quarantine=quarantine)
    return replace(
        device, quarantine=quarantine, health=Health.QUARANTINED, problem=quarantine.reason, remark=None
    )


def ended_by_hand(device: Device) -> bool:
    """Whether an operator's word ends its quarantine; what still is to be seen is not ended by a word."""
    return device.quarantine is not None and device.quarantine.cause is Cause.XID


def used(device: Device, reason: str | None, era: str) -> Device:
    """A device that nobody holds: in quarantine for the use that `reason` names, and without it no more."""
    if reason is not None:
        return quarantined(device, Quarantine(reason, Cause.BUSY, era))
    if device.quarantine is not None and device.quarantine.cause is Cause.BUSY:
        return lifted(device)
    return device


def lost(device: Device, reason: str) -> Device:
    """The device while it does not answer."""
    return replace(device, health=Health.LOST, problem=reason, remark=None, unmanaged=None)


def lifted(device: Device) -> Device:
    """The device without its quarantine; a lost one stays lost."""
    if device.health is not Health.QUARANTINED:
        return replace(device, quarantine=None)
    return replace(device, quarantine=None, health=Health.HEALTHY, problem=None)


def dirty(occupation: Occupation, of: Callable[[Process], str] | None = None) -> str | None:
    """Why a GPU that nobody holds must not be granted yet; None for one that is clean.

    `of` says in a few words what a process is. A GPU that does not tell is believed to be clean.
    """
    if occupation.processes:
        return "in use by " + some([_named(process, of) for process in occupation.processes])
    if occupation.used is not None and occupation.used > BASELINE:
        return f"{occupation.used >> 20} MiB of its memory are in use by no process"
    return None


def _named(process: Process, of: Callable[[Process], str] | None) -> str:
    return f"process {process.pid}" + ("" if of is None else f" ({of(process)})")


def some(names: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    few = ", ".join(names[:3])
    return few if len(names) <= 3 else f"{few} and {len(names) - 3} more"
