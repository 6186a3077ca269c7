"""The service on a machine as they are now: systemd, cgroup v2, project quotas, homes on NFS, power cuts.

Everything is real and nothing is this machine's: another kernel runs it (tests.support.machine).
"""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT
from tests.support.machine import CHECKOUT, Machine, make_disk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

STATE = "/var/lib/gpu-gateway"
CONFIG = "/etc/gpu-gateway/config.toml"
MIB = 1 << 20
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[Machine]:
    """One on which an operator installed the service, whose state is on xfs; each test has its own people."""
    folder = tmp_path_factory.mktemp("machine")
    xfs, ext4 = folder / "xfs.img", folder / "ext4.img"
    for disk in (xfs, ext4):
        with disk.open("wb") as file:
            file.truncate(4096 * MIB)
    subprocess.run(["mkfs.xfs", "-q", xfs], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-O", "quota,project", ext4], check=True)
    made = Machine(folder, make_disk(folder, base_image), xfs, ext4)
    try:
        made.boot()
        _install(made, base_image)
        yield made
    finally:
        made.cut_power()
        for disk in folder.glob("*.img"):
            disk.unlink()


def _install(machine: Machine, image: str) -> None:
    """As docs/operations.md says."""
    machine.run(f"""set -e
        echo '/dev/ubdb {STATE} xfs prjquota,nofail 0 0' >>/etc/fstab
        mkdir -p {STATE} && mount {STATE} && chmod 0750 {STATE}
        {CHECKOUT}/.venv/bin/gpuadmin install
        mkdir -p /etc/systemd/system/gpu-gateway.service.d
        printf '[Service]\\nCapabilityBoundingSet=CAP_SYS_ADMIN\\nSystemCallFilter=quotactl_fd\\n' \\
            >/etc/systemd/system/gpu-gateway.service.d/disk-quotas.conf
        systemctl daemon-reload
        gpuadmin image add {image} --no-check
        systemctl enable --now gpu-gateway""")
    _wait_for_port(machine)


def _wait_for_port(machine: Machine) -> None:
    machine.run(
        "for n in $(seq 120); do ssh-keyscan -p 2222 localhost 2>/dev/null | grep -q . && exit 0; "
        "sleep 0.5; done; journalctl -u gpu-gateway | tail -n 20; exit 1"
    )


def _add(machine: Machine, options: str = "") -> str:
    """A new user with a key of her own: her name."""
    name = f"user{next(_NUMBERS)}"
    key = f"/root/.ssh/{name}"
    machine.run(
        f"mkdir -p /root/.ssh; rm -f {key}; ssh-keygen -q -t ed25519 -N '' -f {key}; "
        f"gpuadmin user add {name} --key {key}.pub {options}"
    )
    return name


def _ssh(machine: Machine, name: str, command: str) -> str:
    options = "-q -p 2222 -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    return machine.run(f"ssh {options} -i /root/.ssh/{name} {name}@localhost {shlex.quote(command)} 2>&1")


def _shown(machine: Machine, name: str, field: str, wanted: str) -> None:
    """Wait until `gpuadmin workspace show` says so."""
    machine.run(
        f"for n in $(seq 180); do gpuadmin workspace show {name} | grep -Eq '^{field} +{wanted}$' && exit 0; "
        f"sleep 1; done; gpuadmin workspace show {name}; exit 1"
    )


def test_doctor_sees_cgroup_v2_and_enforced_quotas(machine: Machine) -> None:
    said = machine.run("gpuadmin doctor")
    assert re.search(r"^ok +cgroups +version 2, driver systemd$", said, re.M), said
    assert re.search(r"^ok +disk-quota +enforced by xfs$", said, re.M), said


def test_memory_is_lowered_under_a_running_program(machine: Machine) -> None:
    alice = _add(machine)
    machine.run(f"gpuadmin quota set {alice} memory=400M cpus=1")
    use = "python3 -c 'x = bytearray(150 << 20); import time; print(1, flush=True); time.sleep(3000)'"
    _ssh(machine, alice, f"setsid {use} >out 2>&1 </dev/null & until grep -q 1 out; do sleep 0.1; done")
    limits = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max; pgrep -fc [b]ytearray"
    before = _ssh(machine, alice, limits).split()
    machine.run(f"gpuadmin quota set {alice} memory=200M")
    machine.run(
        "for n in $(seq 60); do "
        "docker inspect -f '{{.HostConfig.Memory}}' $(docker ps -q) | grep -qx 209715200 && exit 0; "
        "sleep 0.5; done; exit 1"
    )
    after = _ssh(machine, alice, limits).split()
    assert before == [str(400 * MIB), "100000", "100000", "1"]
    assert after == [str(200 * MIB), "100000", "100000", "1"]


def test_a_home_on_nfs_that_root_may_not_enter(machine: Machine) -> None:
    machine.run("""set -e
        mkdir -p /export/home/dora /nfs; chown 2001:2000 /export/home/dora; chmod 0700 /export/home/dora
        echo '/export *(rw,root_squash,no_subtree_check,insecure,fsid=0)' >/etc/exports; exportfs -ra
        mount -t nfs4 localhost:/ /nfs""")
    assert machine.tried("ls /nfs/home/dora")[0] != 0, "root is not squashed"
    dora = _add(machine, "--uid 2001 --gid 2000 --home /nfs/home/dora")
    said = _ssh(machine, dora, "id -un; echo hers >kept; stat -f -c %T ~")
    assert said.split()[-2:] == [dora, "nfs"], said
    assert (
        machine.run("cat /export/home/dora/kept; stat -c %u:%g /export/home/dora/kept") == "hers\n2001:2000\n"
    )


def test_a_workspace_is_held_on_xfs_and_on_ext4(machine: Machine, base_image: str) -> None:
    _fill(machine)
    # Another installation, for its state is elsewhere.
    leave = "systemctl stop gpu-gateway; docker ps -aq | xargs -r docker rm -f; docker network prune -f"
    machine.run(
        f"set -e; {leave}; umount {STATE}; mount -o prjquota /dev/ubdc {STATE}; chmod 0750 {STATE}; "
        f"gpuadmin image add {base_image} --no-check; systemctl start gpu-gateway"
    )
    _wait_for_port(machine)
    try:
        assert "enforced by ext4" in machine.run("gpuadmin doctor")
        _fill(machine)
    finally:
        machine.run(f"set -e; {leave}; umount {STATE}; mount {STATE}; systemctl start gpu-gateway")
        _wait_for_port(machine)


def _fill(machine: Machine) -> None:
    """A new user's home takes what her quota says, and tells her that it is full."""
    name = _add(machine)
    machine.run(f"gpuadmin quota set {name} disk=64M")
    said = _ssh(machine, name, "dd if=/dev/zero of=big bs=1M count=100; stat -c %s big")
    # xfs says the one, ext4 the other.
    assert "No space left on device" in said or "Disk quota exceeded" in said, said
    assert 60 * MIB < int(said.split()[-1]) <= 64 * MIB
    _shown(machine, name, "disk_enforced", "yes")
    assert _ssh(machine, name, "rm big; echo fits >small; cat small").split()[-1] == "fits"


def test_after_a_power_cut_the_first_login_works(machine: Machine) -> None:
    gina = _add(machine)
    _ssh(machine, gina, "echo safe >kept; sync")
    boot = machine.run("cat /proc/sys/kernel/random/boot_id")
    machine.cut_power()
    machine.boot()
    assert machine.run("cat /proc/sys/kernel/random/boot_id") != boot
    _wait_for_port(machine)
    assert _ssh(machine, gina, "cat kept").split()[-1] == "safe"
    assert machine.run("systemctl show -P NRestarts gpu-gateway") == "0\n"


def test_disk_images_under_systemd_and_over_a_power_cut(machine: Machine) -> None:
    """With the rights that docs/operations.md adds: the engine sees what a hardened service mounts."""
    manual = (ROOT / "docs" / "operations.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", manual, re.DOTALL)
    (block,) = (each for each in blocks if "disk-images.conf" in each)
    machine.run(f"set -e; sed -i 's/^#enforcer = .*/enforcer = \"image\"/' {CONFIG}\n{block}")
    _wait_for_port(machine)
    try:
        hilda = _add(machine)
        machine.run(f"gpuadmin quota set {hilda} disk=64M")
        said = _ssh(machine, hilda, "dd if=/dev/zero of=big bs=1M count=100; stat -c %s big")
        assert "No space left on device" in said, said
        machine.run(f"gpuadmin quota set {hilda} disk=400M")
        write = "echo safe >kept; dd if=/dev/zero of=big bs=1M count=300; sync; stat -c %s big"
        said = _ssh(machine, hilda, write)
        assert said.split()[-1] == str(300 * MIB), said
        (image,) = machine.run("losetup -n -O BACK-FILE").split()
        assert re.fullmatch(rf"{STATE}/workspaces/disks/[0-9]+\.ext4", image)
        machine.run("systemctl restart gpu-gateway")
        _wait_for_port(machine)
        assert _ssh(machine, hilda, "cat kept").split()[-1] == "safe"
        machine.cut_power()
        machine.boot()
        _wait_for_port(machine)
        assert machine.run("losetup -n -O BACK-FILE") == ""
        assert _ssh(machine, hilda, "cat kept; stat -c %s big").split()[-2:] == ["safe", str(300 * MIB)]
        machine.run(f"gpuadmin workspace remove {hilda} --now")
        assert machine.run("losetup -n -O BACK-FILE") == ""
    finally:
        machine.run(
            f"set -e; sed -i 's/^enforcer = .*/#enforcer = \"file system\"/' {CONFIG}; "
            "rm /etc/systemd/system/gpu-gateway.service.d/disk-images.conf; "
            "systemctl daemon-reload; systemctl restart gpu-gateway"
        )
        _wait_for_port(machine)
