"""Looking at a machine for `gpuadmin doctor`.

Owns the looks, each of which ends within seconds and changes nothing. Must not judge what it sees.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

from admin.checks import Facts
from gateway.config import Config, Listen
from gateway.disks import Disk
from gateway.docker.answers import answers
from gateway.errors import PlatformError
from gateway.folders.holding import look_at
from gateway.folders.images import Images

HOOK = "nvidia-container-runtime-hook"
_DRIVER = Path("/proc/driver/nvidia/version")
_MISMATCH = 18
"""NVML_ERROR_LIB_RM_VERSION_MISMATCH of nvml.h."""
_TIMEX_BYTES = 512
"""More than any kernel's struct timex has (adjtimex(2)); all zero means: only read."""
_TIME_ERROR = 5
_PROGRAMS = ("iptables", "ip", "ps")
_FOR_IMAGES = ("mkfs.ext4", "e2fsck", "resize2fs", "mount", "umount", "nsenter")
_SECONDS = 3.0
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_OURS = b"SSH-2.0-OpenSSH_9.9 gpu-gateway"


def look(
    config: Config, now: datetime, disks: Collection[Disk] = (), recorded: datetime | None = None
) -> Facts:
    """This machine as it is; what cannot be seen is None, and never an error.

    `disks` are people's, as the gateway saw them last; `recorded` is the time of the store's newest event.
    """
    try:
        version, info = answers()
    except PlatformError:
        version, info = None, {}
    gpus, nvml_error, mismatch = _gpus()
    directory = _nearest(config.state)
    usage = os.statvfs(directory)
    owner, mode = _owner(config.state)
    file_system, disks_held = ("disk images", True) if config.disk_images else look_at(directory)
    images = Images(config.state / "workspaces")
    return Facts(
        version=version,
        info=info,
        hook=_hook(),
        toolkit=_toolkit(),
        gpus=gpus,
        nvml_error=nvml_error,
        nvml_mismatch=mismatch,
        driver_module=_driver_module(),
        space=(usage.f_bavail * usage.f_frsize, usage.f_blocks * usage.f_frsize),
        inodes=(usage.f_favail, usage.f_files),
        file_system=file_system,
        disks_held=disks_held,
        disks_unheld=sum(bool(disk.used) and not disk.held for disk in disks),
        disks_promised=sum(max(disk.limit - (disk.used or 0), 0) for disk in disks) if images.any() else 0,
        disks_failed=images.failed(),
        state=str(config.state),
        state_owner=owner,
        state_mode=mode,
        now=now,
        newest=recorded,
        synchronised=_synchronised(),
        listen=str(config.listen),
        port=port(config.listen),
        programs={
            name: shutil.which(name, path=_path()) is not None
            for name in _PROGRAMS + (_FOR_IMAGES if config.disk_images else ())
        },
    )


def port(listen: Listen) -> Literal["free", "ours", "other", "barred"]:
    """Who listens there: nobody, this product, another program; `barred` is an address that is not ours."""
    host = _EVERY_ADDRESS.get(listen.host, listen.host)
    try:
        with socket.create_connection((host, listen.port), _SECONDS) as connection:
            return "ours" if connection.recv(len(_OURS)) == _OURS else "other"
    except ConnectionRefusedError:
        pass
    except OSError:
        # It accepted and says nothing, as a web server would; or no such host, which binding will tell.
        pass
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((listen.host, listen.port))
        except OSError as error:
            return "other" if error.errno == errno.EADDRINUSE else "barred"
    return "free"


def _gpus() -> tuple[int, str | None, bool]:
    # Imported here: it loads the driver's library.
    from gateway.nvml import NvmlProbe

    try:
        return len(NvmlProbe().devices()), None, False
    except PlatformError as error:
        return 0, error.message, getattr(error.__cause__, "value", None) == _MISMATCH


def _driver_module() -> str | None:
    try:
        found = re.search(r"\d+\.\d+(\.\d+)?", _DRIVER.read_text())
    except OSError:
        return None
    return found[0] if found else None


def _hook() -> str | None:
    """The hook where the engine looks for it: the PATH that it was started with, else ours."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    with suppress(OSError, UnicodeDecodeError), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_SECONDS)
        line.connect(address.removeprefix("unix://"))
        # Who listens (unix(7)); with socket activation that is systemd, whose PATH the service inherits.
        credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid = struct.unpack("3i", credentials)[0]
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        paths = [entry[5:].decode() for entry in environment if entry.startswith(b"PATH=")]
        if paths:
            return shutil.which(HOOK, path=paths[0])
    return shutil.which(HOOK, path=_path())


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin"


def _toolkit() -> str | None:
    program = shutil.which("nvidia-ctk", path=_path()) or shutil.which("nvidia-container-cli", path=_path())
    if program is None:
        return None
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"version:?\s+(\S+)", said.stdout)
    return found[1] if found else None


def _nearest(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _owner(state: Path) -> tuple[int | None, int]:
    try:
        seen = state.stat()
    except OSError:
        return None, 0
    return seen.st_uid, stat.S_IMODE(seen.st_mode)


def _synchronised() -> bool | None:
    """What the kernel says of its clock (adjtimex(2)); None where it says nothing."""
    answer: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return None if answer < 0 else answer != _TIME_ERROR
