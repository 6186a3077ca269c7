"""A whole machine of its own: Debian with systemd, an engine, cgroup v2 and the product, on another kernel.

Owns its disk and its process (Debian's user-mode Linux). Its root is reached over a serial line; it has no
network but its own loopback.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.conftest import NVIDIA, ROOT
from tests.support.guest import memory_folder

CHECKOUT = "/opt/gpu-gateway"
_PACKAGES = (
    "systemd,systemd-sysv,dbus,udev,kmod,docker.io,python3-venv,iproute2,iptables,procps,openssh-client,"
    "nfs-kernel-server"
)
_PYTHON = "3.11"  # Debian 12's
# The kernel has no nftables for IPv4, and what systemd-modules-load does not load iptables-legacy does.
_MODULES = ("overlay", "br_netfilter", "veth", "quota_v2", "nfs", "nfsd")
_AGENT = """[Unit]
After=multi-user.target
[Service]
Environment=HOME=/root
ExecStart=/usr/bin/python3 /agent.py /dev/ttyS0
[Install]
WantedBy=multi-user.target
"""
_MASKED = ("getty.target", "serial-getty@ttyS0.service", "apt-daily.timer", "apt-daily-upgrade.timer")
_BOOT_SECONDS = 240
_COMMAND_SECONDS = 300


def make_disk(folder: Path, image: str) -> Path:
    """A disk with the system, this checkout where operators install it, and an engine that holds `image`.

    Nothing is installed as a service yet. Its file is sparse.
    """
    root, disk = folder / "root", folder / "disk.img"
    _run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}"]
        + [f"--keyring={ROOT / 'images' / 'base' / 'debian-12-keys.asc'}", "--aptopt=APT::Sandbox::User root"]
        + ["bookworm", str(root), os.environ.get("GPU_GATEWAY_APT_MIRROR", "http://deb.debian.org/debian")]
    )
    (modules,) = Path("/usr/lib/uml/modules").iterdir()
    shutil.copytree(modules, root / "lib" / "modules" / modules.name, symlinks=True)
    _chroot(root, "depmod", modules.name)
    for tool in ("iptables", "ip6tables"):
        _chroot(root, "update-alternatives", "--quiet", "--set", tool, f"/usr/sbin/{tool}-legacy")
    _configure(root)
    _install(root)
    _give_image(folder, root, image)
    _run(["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk), "8G"])
    shutil.rmtree(root)
    return disk


def _configure(root: Path) -> None:
    system = root / "etc" / "systemd" / "system"
    shutil.copy(ROOT / "tests" / "guest" / "agent.py", root / "agent.py")
    (system / "agent.service").write_text(_AGENT)
    (system / "multi-user.target.wants" / "agent.service").symlink_to("../agent.service")
    for unit in _MASKED:
        (system / unit).unlink(missing_ok=True)
        (system / unit).symlink_to("/dev/null")
    (root / "etc" / "modules-load.d" / "machine.conf").write_text("".join(f"{name}\n" for name in _MODULES))
    (root / "etc" / "hostname").write_text("machine\n")
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost machine\n")


def _install(root: Path) -> None:
    """docs/operations.md's lines, with packages that this machine's pip has fetched."""
    checkout, wheels = root / CHECKOUT[1:], root / "wheels"
    for name in ("gateway", "admin", "deploy", "docs", "images"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.cfg", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout / name)
    _run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-qq",
            "--no-deps",
            "--only-binary=:all:",
            "-d",
            str(wheels),
        ]
        + [f"--python-version={_PYTHON}", "--require-hashes", "-r", str(ROOT / "requirements.txt")]
    )
    pip = ".venv/bin/pip install -qq --disable-pip-version-check"
    _chroot(
        root,
        "sh",
        "-ec",
        f"cd {CHECKOUT}; python3 -m venv .venv; "
        f"{pip} --no-index --find-links /wheels --require-hashes -r requirements.txt; "
        f"{pip} --no-deps --no-build-isolation -e .",
    )
    shutil.rmtree(wheels)


def _give_image(folder: Path, root: Path, image: str) -> None:
    """By an engine of this machine's: the other kernel would take minutes to unpack it."""
    engine, saved, stand_ins = folder / "engine", folder / "image.tar", folder / "stand-ins"
    stand_ins.mkdir()
    _run(["docker", "save", image, "-o", str(saved)])
    script = str(NVIDIA / "engine.sh")
    try:
        host = _run([script, "start", str(engine), str(stand_ins)]).strip()
        _run(["docker", "--host", host, "load", "-qi", str(saved)])
    finally:
        _run([script, "stop", str(engine)])
    saved.unlink()
    shutil.rmtree(root / "var" / "lib" / "docker", ignore_errors=True)
    shutil.move(engine / "data", root / "var" / "lib" / "docker")
    shutil.rmtree(engine)


def _chroot(root: Path, *command: str) -> None:
    _run(["chroot", str(root), *command])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[:2]}: {done.stdout}{done.stderr}"
    return done.stdout


class Machine:
    """One that boots from the first of `disks`; the others are /dev/ubdb and so on."""

    def __init__(self, folder: Path, *disks: Path) -> None:
        self._folder = folder
        self._disks = disks
        self._console = folder / "console"

    def boot(self) -> None:
        """Return once its root can be reached."""
        self._line, its = socket.socketpair()
        names = [f"ubd{letter}={disk}" for letter, disk in zip("abcdef", self._disks, strict=False)]
        with its, self._console.open("wb") as console:
            self._kernel = subprocess.Popen(
                ["linux.uml", *names, "root=/dev/ubda", "rw", "mem=2048M"]
                + ["systemd.unified_cgroup_hierarchy=1", "con0=null,fd:1", "con=null"]
                + [f"ssl0=fd:{its.fileno()}", "ssl=null"],
                env={
                    **os.environ,
                    "HOME": str(self._folder),
                    "TMPDIR": str(memory_folder(self._folder, 3 << 30)),
                },
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                pass_fds=[its.fileno()],
                start_new_session=True,
            )
        self._heard = self._line.makefile("rb")
        self._answer(_BOOT_SECONDS, "boot")

    def cut_power(self) -> None:
        """What it had not written to its disks is lost."""
        os.killpg(self._kernel.pid, signal.SIGKILL)
        self._kernel.wait()
        self._heard.close()
        self._line.close()

    def run(self, command: str) -> str:
        """What a shell of root's prints for it there. Raises AssertionError when it fails."""
        status, printed = self.tried(command)
        assert status == 0, f"{command}: {printed}"
        return printed

    def tried(self, command: str) -> tuple[int, str]:
        """Its exit status, and all that it printed."""
        self._line.sendall(json.dumps(command).encode() + b"\n")
        return self._answer(_COMMAND_SECONDS, command)

    def _answer(self, seconds: float, asked: str) -> tuple[int, str]:
        self._line.settimeout(seconds)
        answer = b""
        with contextlib.suppress(TimeoutError):
            answer = self._heard.readline()
        assert answer, f"{asked}: no answer; the console: {self._console.read_text(errors='replace')[-4000:]}"
        status, printed = json.loads(answer)
        return status, printed
