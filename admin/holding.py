"""Whether people's disks are held to their quotas on this machine, as `gpuadmin doctor` says it.

Owns the judgement and the fix that it names. Must not look at anything itself.
"""

from __future__ import annotations

from admin.findings import Finding
from gateway.units import format_size

_PAGE = "docs/operations.md, Disk quotas, says how"


def disk_quota(file_system: str, enforced: bool, unheld: int, state: str) -> Finding:
    """What to say of the file system under `state`, by its name; one without a name here can hold nothing.

    `unheld` is how many workspaces the gateway found that are not held.
    """
    if enforced and unheld:
        return Finding(
            "warn",
            f"enforced by {file_system}, but {unheld} workspaces are not held",
            f"they are older than that, or the service may not set limits; {_PAGE}",
        )
    if enforced:
        return Finding("ok", f"enforced by {file_system}")
    match file_system:
        case "btrfs":
            fix = f"btrfs quota enable {state}"
        case "xfs" | "ext4":
            fix = f"mount it with prjquota; {_PAGE}"
        case _:
            fix = f"put {state} on btrfs, or on xfs or ext4 mounted with prjquota; {_PAGE}"
    return Finding(
        "warn", f"not enforced on this {file_system}: the quota `disk` is only compared and told", fix
    )


def disk_images(promised: int, free: int, failed: int) -> Finding:
    """What to say of images that grow as they are filled: `promised` bytes more, where `free` are left.

    `failed` is how many could not be written any more.
    """
    if failed:
        return Finding(
            "fail",
            f"{failed} disk images cannot be written any more",
            "free space on the machine's disk, then gpuadmin workspace recreate for each; docs/operations.md",
        )
    found = f"people may write {format_size(promised)} more, and {format_size(free)} are free"
    if promised > free:
        fix = "lower quotas, or give the machine more: when its disk is full, what people write is lost"
        return Finding("warn", found, fix)
    return Finding("ok", found if promised else "none")
