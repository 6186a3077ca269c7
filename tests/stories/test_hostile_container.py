"""Mallory owns everything in her container, the runner included; nobody else may notice.

ATTACKS: she enlarges the pipes that she was given until no pipe memory is left for others, dials the
broker in a loop in her runner's place, answers with garbage and floods, takes descriptors and never
answers, and fills her terminal's stream without reading.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.house import House, Person, wait_for

_PIPE_SIZE = "python3 -c 'import fcntl; print(fcntl.fcntl(1, 1032), fcntl.fcntl(0, 1032))'"

_GREEDY = """python3 -c '
import fcntl, sys
for fd in (0, 1, 2):
    try: fcntl.fcntl(fd, 1031, 1 << 20)
    except OSError: pass
print("in", flush=True); sys.stdin.read()'"""

_FALSE_RUNNER = r"""
import array, json, os, random, signal, socket, struct, sys, time
path = "/opt/gpu-gateway/socket/runner.sock"
mode, until = sys.argv[1], time.time() + 12
me = os.getpid()
def others():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = open(f"/proc/{pid}/cmdline").read()
        except OSError:
            continue
        if "python3" in line and "pyz" in line and "while" not in line and int(pid) != me:
            yield int(pid)
def hello():
    header = b'{"type":"Hello","version":1,"connections":[]}'
    return struct.pack(">I", len(header)) + header
print("in", flush=True)
held = []
while time.time() < until:
    for pid in others():
        try: os.kill(pid, signal.SIGKILL)
        except OSError: pass
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(0.5)
    try:
        s.connect(path)
        if mode == "garbage":
            for _ in range(100): s.send(os.urandom(random.randrange(1, 60000)))
        elif mode == "flood":
            s.send(hello())
            for _ in range(100000): s.send(hello())
        else:
            s.send(hello())
            while time.time() < until:
                data, anc, flags, _ = s.recvmsg(65536, 4096)
                if not data: break
                for _, _, fds in anc:
                    got = array.array("i"); got.frombytes(fds)
                    for fd in got:
                        held.append(socket.socket(fileno=fd))
                        held[-1].settimeout(0.2)
                        try:
                            while held[-1].recvmsg(65536, 4096)[0]: pass
                        except OSError: pass
    except OSError:
        time.sleep(0.05)
    s.close()
"""


@pytest.fixture
def mallory(home: House) -> Iterator[Person]:
    """A user with bad intentions, removed afterwards."""
    names = {user["name"] for user in home.listed("user", "list")}
    person = home.add(
        next(name for name in (f"mallory{number}" for number in range(99)) if name not in names)
    )
    yield person
    home.admin("user", "remove", person.name)


def _memory(home: House) -> int:
    assert home.process is not None
    total = 0
    for pid in (home.process.pid, *home.workers_pids()):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return total * 1024


def _times(person: Person, count: int) -> list[float]:
    times = []
    for _ in range(count):
        begun = time.monotonic()
        assert person.ssh("true", seconds=20).returncode == 0
        times.append(time.monotonic() - begun)
    return times


def test_enlarged_pipes_leave_everybody_elses_as_they_are(
    home: House, alice: Person, mallory: Person
) -> None:
    """The kernel charges a pipe to who made it, and the broker did, as root."""
    mallory.ssh("true")
    sessions = [mallory.start(_GREEDY, options=["-S", "none"]) for _ in range(30)]
    try:
        for session in sessions:
            assert session.stdout is not None
            assert session.stdout.readline() == b"in\n"
        # More than the workers keep ready: those pipes were made before.
        others = [alice.start(_PIPE_SIZE, options=["-S", "none"]) for _ in range(24)]
        assert {other.communicate(timeout=60)[0] for other in others} == {b"65536 65536\n"}
    finally:
        for session in sessions:
            session.kill()
            session.communicate()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["garbage", "flood", "hold"])
def test_a_false_runner_slows_nobody(home: House, alice: Person, mallory: Person, mode: str) -> None:
    """Logins of others go on, memory does not grow, and when she stops she can log in again."""
    alice.ssh("true")
    mallory.ssh("cat > attack.py", stdin=_FALSE_RUNNER.encode())
    quiet = statistics.median(_times(alice, 5))
    before = _memory(home)
    attack = mallory.start(f"exec setsid python3 attack.py {mode}")
    try:
        assert attack.stdout is not None
        assert attack.stdout.readline() == b"in\n"
        victims = [mallory.start("true") for _ in range(4)]
        # A machine of two cores is shared with the attack itself: slower is allowed, refused is not.
        assert statistics.median(_times(alice, 10)) < 10 * quiet + 1.0
        for victim in victims:
            victim.kill()
            victim.communicate()
    finally:
        attack.kill()
        attack.communicate()
    assert _memory(home) - before < 64 << 20
    wait_for(lambda: mallory.ssh("echo back", seconds=60).stdout == b"back\n", "her own next login", 60)


def test_a_terminal_that_floods_a_client_that_does_not_read_waits(
    home: House, alice: Person, mallory: Person
) -> None:
    """What nobody reads stays in her container, not in the gateway's memory."""
    mallory.ssh("true")
    before = _memory(home)
    sessions = [mallory.start("cat /dev/zero") for _ in range(4)]
    sessions += [mallory.start("yes", options=["-tt"]) for _ in range(4)]
    try:
        _times(alice, 10)
        assert _memory(home) - before < 64 << 20
    finally:
        for session in sessions:
            session.kill()
            session.communicate()
