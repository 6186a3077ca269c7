"""What a person can and cannot do inside her container: rights, system calls, files."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import textwrap
from collections.abc import Iterator

import pytest

from gateway.docker.ioctls import REFUSED
from gateway.docker.naming import resource_name
from tests.contract.backend_contract import ignore
from tests.support.docker_world import DockerWorld, docker, image_id


class Inside:
    """One running container and its user's hands."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script; the caller looks at how it ended."""
        return docker("exec", self.name, "/bin/bash", "-c", script, check=False)

    def python(self, program: str) -> str:
        """What a Python program printed, or how it failed."""
        done = docker("exec", self.name, "python3", "-c", textwrap.dedent(program), check=False)
        return done.stdout.strip() or done.stderr.strip()


@pytest.fixture(scope="module")
def inside(base_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """A container with a home, shared by the tests of this module: none of them changes it for the others."""
    world = DockerWorld(image_id(base_image), tmp_path_factory.mktemp("inside"))
    spec = dataclasses.replace(world.spec(), mounts=world.workspace_mounts(39001))
    try:
        asyncio.run(world.backend.start(spec, ignore))
        yield Inside(resource_name(world.instance, 1))
    finally:
        asyncio.run(world.close())


@pytest.mark.parametrize(
    ("what", "script", "says"),
    [
        ("the root file system", "touch /usr/x", "Read-only file system"),
        ("a mount", "unshare --mount true", "Operation not permitted"),
        ("a user namespace", "unshare --user true", "Operation not permitted"),
        ("a device", "mknod /tmp/d c 1 3", "Operation not permitted"),
        ("another owner", "touch /tmp/f && chown 0 /tmp/f", "Operation not permitted"),
        ("the kernel", "echo 1 > /proc/sys/kernel/core_pattern", "Read-only file system"),
        ("the kernel's log", "dmesg", "Operation not permitted"),
    ],
)
def test_is_refused(inside: Inside, what: str, script: str, says: str) -> None:
    done = inside.run(script)
    assert (done.returncode != 0, says in done.stderr) == (True, True), f"{what}: {done}"


def test_holds_no_right_and_can_gain_none(inside: Inside) -> None:
    done = inside.run("id; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status")
    assert done.stdout.split("\n")[0] == "uid=39001 gid=39001 groups=39001"
    status = dict(line.split() for line in done.stdout.splitlines()[1:])
    assert {status[name] for name in ("CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:")} == {"0" * 16}
    assert (status["NoNewPrivs:"], status["Seccomp:"]) == ("1", "2")


IOCTL = """
    import errno, fcntl, os
    os.makedirs("/workspace/d", exist_ok=True)
    for command in {commands}:
        try:
            fcntl.ioctl(os.open("/workspace/d", os.O_RDONLY), command, bytearray(4096))
            print("done")
        except OSError as error:
            print(errno.errorcode[error.errno])
"""


def test_nothing_leads_out_of_a_disk_quota_and_other_commands_work(inside: Inside) -> None:
    """Subvolumes, flags, and projects; a filter sees 64 bits of a command, and the kernel takes 32."""
    refused = [*sorted(REFUSED), 1 << 32 | min(REFUSED)]
    assert inside.python(IOCTL.format(commands=refused)).split() == ["EPERM"] * len(refused)
    near = [command ^ bit for command in sorted(REFUSED) for bit in (2, 1 << 20)]
    assert "EPERM" not in inside.python(IOCTL.format(commands=near)).split()
    assert inside.run("lsattr -d /workspace/d && script -qec 'stty size' /dev/null").returncode == 0


SOCKET = """
    import errno, socket
    try:
        socket.socket({family}, {kind}, {protocol})
        print("open")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize(
    ("family", "kind", "protocol", "answer"),
    [
        ("38", "socket.SOCK_SEQPACKET", 0, "EAFNOSUPPORT"),
        ("40", "socket.SOCK_STREAM", 0, "EAFNOSUPPORT"),
        ("17", "socket.SOCK_RAW", 0, "EAFNOSUPPORT"),
        ("socket.AF_INET", "socket.SOCK_RAW", 1, "EPERM"),
        ("socket.AF_UNIX", "socket.SOCK_STREAM", 0, "open"),
        ("socket.AF_INET", "socket.SOCK_STREAM", 0, "open"),
        ("socket.AF_INET6", "socket.SOCK_DGRAM", 0, "open"),
        ("16", "socket.SOCK_RAW", 0, "open"),
    ],
)
def test_opens_sockets_of_the_usual_families_alone(
    inside: Inside, family: str, kind: str, protocol: int, answer: str
) -> None:
    assert inside.python(SOCKET.format(family=family, kind=kind, protocol=protocol)) == answer


# Numbers of x86-64 and of the generic table that arm64 uses.
CALL = """
    import ctypes, errno, os
    number = {{"x86_64": {x86}, "aarch64": {arm}}}[os.uname().machine]
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(number, 0, 0, 0, 0, 0)
    print(errno.errorcode[ctypes.get_errno()] if result == -1 else "allowed")
"""


@pytest.mark.parametrize(
    ("name", "x86", "arm"),
    [
        ("userfaultfd", 323, 282),
        ("io_uring_setup", 425, 425),
        ("keyctl", 250, 219),
        ("add_key", 248, 217),
        ("request_key", 249, 218),
        ("bpf", 321, 280),
        ("perf_event_open", 298, 241),
        ("mount", 165, 40),
        ("setns", 308, 268),
        ("fsopen", 430, 430),
    ],
)
def test_calls_that_broke_kernels_are_refused(inside: Inside, name: str, x86: int, arm: int) -> None:
    assert inside.python(CALL.format(x86=x86, arm=arm)) == "EPERM", name


def test_clone3_is_unknown_so_that_libraries_fall_back(inside: Inside) -> None:
    assert inside.python(CALL.format(x86=435, arm=435)) == "ENOSYS"


def test_a_debugger_reads_a_process_of_ones_own(inside: Inside) -> None:
    """What gdb, strace and py-spy do: attach, read its memory, detach; then gdb's fixed addresses."""
    program = """
        import ctypes, os, subprocess
        libc = ctypes.CDLL(None, use_errno=True)
        libc.ptrace.argtypes = [ctypes.c_long] * 4
        child = subprocess.Popen(["sleep", "100"])
        assert libc.ptrace(16, child.pid, 0, 0) == 0, os.strerror(ctypes.get_errno())
        assert os.waitpid(child.pid, 0)[1] & 0xFF == 0x7F
        start = int(open(f"/proc/{child.pid}/maps").readline().split("-")[0], 16)
        print(os.pread(os.open(f"/proc/{child.pid}/mem", os.O_RDONLY), 4, start)[1:])

        class Vector(ctypes.Structure):
            _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

        memory = ctypes.create_string_buffer(4)
        local, remote = Vector(ctypes.addressof(memory), 4), Vector(start, 4)
        pair = [ctypes.c_void_p, ctypes.c_ulong]
        libc.process_vm_readv.argtypes = [ctypes.c_int, *pair, *pair, ctypes.c_ulong]
        print(libc.process_vm_readv(child.pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0))
        assert libc.ptrace(17, child.pid, 0, 0) == 0
        print(libc.personality(0x0040000))
        child.kill()
    """
    assert inside.python(program).split("\n") == ["b'ELF'", "4", "0"]


def test_everyday_programs_work(inside: Inside) -> None:
    script = """
        set -e
        cd && git init -q r && cd r && echo a > a && git add a
        git -c user.name=a -c user.email=a@b commit -qm first && git log --oneline | wc -l
        tmux new -d -s t 'sleep 100' && tmux ls | wc -l && tmux kill-server
        python3 -c 'import threading, multiprocessing as m
        threading.Thread(target=print, args=("thread",)).start()
        with m.Pool(2) as pool: print(sum(pool.map(abs, [-1, -2])))'
        mkfifo /tmp/pipe && test -w /run/user/39001 && flock /tmp/l true && nice -n 5 true && echo done
    """
    done = inside.run("export HOME=/home/user1\n" + textwrap.dedent(script))
    assert done.stdout.split() == ["1", "1", "thread", "3", "done"], done.stderr


async def test_processes_are_bounded(docker_world: DockerWorld) -> None:
    await docker_world.backend.start(docker_world.spec(), ignore)
    program = """
        import os, time
        made = 0
        try:
            while made < 1000:
                if os.fork() == 0:
                    time.sleep(100)
                made += 1
        except BlockingIOError:
            print("bounded", 100 < made < 128, flush=True)
        os.kill(-1, 9)
    """
    done = await docker_world.run(1, f"exec python3 -c '{textwrap.dedent(program)}'")
    assert done.stdout.strip() == "bounded True"
