"""`gpu`, over ssh and inside a workspace: people ask for GPUs themselves, and get no more than they may."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import GpuEngine
from tests.stories.conftest import a_lab
from tests.support.house import House, Person, wait_for


@pytest.fixture(scope="module")
def lab(gpu_engine: GpuEngine, base_image: str) -> Iterator[House]:
    """One for every test of this module; each has people of its own."""
    with a_lab(base_image, gpu_engine) as house:
        yield house


@pytest.fixture
def dora(lab: House) -> Iterator[Person]:
    """A user with no lease before and after."""
    yield from somebody(lab, "dora")


@pytest.fixture
def emil(lab: House) -> Iterator[Person]:
    """Another."""
    yield from somebody(lab, "emil")


def somebody(lab: House, name: str) -> Iterator[Person]:
    """A new user, removed afterwards."""
    person = lab.add(f"{name}{len(lab.people)}")
    yield person
    lab.admin("user", "remove", person.name)


def leases(lab: House, person: Person) -> list[dict[str, Any]]:
    return [lease for lease in lab.listed("leases") if lease["user"] == person.name]


def number_of(lab: House, person: Person) -> int:
    """Her id."""
    return next(user["id"] for user in lab.listed("user", "list") if user["name"] == person.name)


def inside(person: Person, line: str) -> tuple[int, bytes, bytes]:
    """Run a line that a shell has to read: the exit status and both streams."""
    done = person.ssh(f"sh -c {shlex.quote(line)}")
    return done.returncode, done.stdout, done.stderr


def test_the_status_is_told_without_the_container(lab: House, dora: Person) -> None:
    """Nothing is started for it, and nothing but the answer is on stdout."""
    done = dora.ssh("gpu status")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"You hold no GPU" in done.stdout
    assert b"The machine has 4 GPUs, 4 free." in done.stdout
    started = [each["user"] for each in lab.events() if each["event"] == "container_started"]
    assert number_of(lab, dora) not in started


def test_a_person_asks_keeps_and_gives_back(lab: House, dora: Person) -> None:
    """Over ssh, from the first question to the history; each change has an event of hers."""
    done = dora.ssh("gpu request 1 --for 2h")
    assert (done.returncode, done.stderr) == (0, b"")
    (lease,) = leases(lab, dora)
    assert done.stdout.startswith(f"Lease {lease['id']}: you hold GPU ".encode())
    assert b"from your next login" in done.stdout
    assert b"GPU" in dora.ssh("nvidia-smi -L").stdout

    assert dora.ssh("gpu extend --for 3h").returncode == 0
    assert leases(lab, dora)[0]["remaining"] // 60 in (299, 300)
    told = json.loads(dora.ssh("gpu status --json").stdout)
    (mine,) = (each for each in told if each["kind"] == "lease")
    assert (mine["id"], mine["user"], mine["devices"]) == (lease["id"], dora.name, lease["devices"])
    assert [each["user"] for each in told if each["kind"] == "gpu" and each["state"] == "held"] == [dora.name]

    done = dora.ssh(f"gpu release {lease['id']}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert leases(lab, dora) == []
    (past,) = json.loads(dora.ssh("gpu history --json").stdout)
    assert (past["id"], past["state"], past["reason"]) == (
        lease["id"],
        "released",
        "You gave your GPUs back.",
    )
    with lab.store() as store:
        events = store._db.rows("select verb from event where actor = ? order by id", dora.name)
    assert {"allocate", "extend", "end-leases"} <= {event["verb"] for event in events}


def test_the_program_in_a_workspace_says_the_same(lab: House, dora: Person) -> None:
    """A shell finds it on every PATH; its exit status and both of its streams are what ssh would show."""
    dora.ssh("true")
    for words in ("status --json", "history", "request 0", "--help"):
        over_ssh, within = dora.ssh(f"gpu {words}"), inside(dora, f"gpu {words}")
        assert within == (over_ssh.returncode, over_ssh.stdout, over_ssh.stderr)
    assert dora.ssh("gpu status | tail -n 1; echo $?").stdout.endswith(b"\n0\n")
    assert inside(dora, "env -i /usr/local/bin/gpu status")[0] == 0


def test_it_works_when_the_connection_is_long_gone(lab: House, dora: Person) -> None:
    """As under tmux: a program of hers asks whenever it likes."""
    line = "while [ ! -e ~/go ]; do sleep 0.1; done; gpu request 1 >~/out 2>&1; echo $? >~/done"
    dora.ssh(f"setsid sh -c {shlex.quote(line)} >/dev/null 2>&1 </dev/null &")
    home = lab.state / "workspaces" / str(number_of(lab, dora)) / "home"
    (home / "go").touch()
    wait_for((home / "done").exists, "the answer")
    assert (wait_for((home / "done").read_text, "the exit status"), len(leases(lab, dora))) == ("0\n", 1)
    assert "Your container restarts to show that: " in (home / "out").read_text()


def test_when_nothing_is_free_it_says_who_holds_what_until_when(
    lab: House, dora: Person, emil: Person
) -> None:
    """The exit status is 75: it would succeed later."""
    until = full(lab, emil)["expires_at"]
    done = dora.ssh("gpu request 1")
    assert (done.returncode, done.stdout) == (75, b"")
    sentence = done.stderr.decode()
    assert f"{emil.name} holds GPU 0 and GPU 1" in sentence
    assert f"until {until[:10]} {until[11:16]} UTC" in sentence
    assert "gpuadmin" not in sentence
    shown = dora.ssh("gpu status").stdout.decode()
    assert len(re.findall(rf" held +{emil.name} +{until[:10]} {until[11:16]}Z", shown)) == 4
    assert "4 GPUs, 0 free" in shown


def test_bad_words_are_one_sentence_and_change_nothing(lab: House, dora: Person, emil: Person) -> None:
    """Zero, negative, fractional, huge, malformed, somebody else's, unknown."""
    assert emil.ssh("gpu request 1 --for 1h").returncode == 0
    (others,) = leases(lab, emil)
    before = lab.listed("leases")
    for words, status in (
        ("", 2),
        ("grab", 2),
        ("request", 2),
        ("request 0", 2),
        ("request -1", 2),
        ("request 1.5", 2),
        ("request 1025", 2),
        ("request 99999999999999999999", 2),
        ("request 1 1", 2),
        ("request 1 --for", 2),
        ("request 1 --for soon", 2),
        ("request 1 --for 0h", 2),
        ("request 1 --for -1h", 2),
        ("request 1 --for 1h --for=2h", 2),
        ("request 1 --for 25h", 1),
        ("request 1 --user root", 2),
        ("request 1 --wait=1", 2),
        ("request 2 --wait", 1),
        ("request 1 --for 25h --wait", 1),
        ("request 1 --model", 2),
        ("request 1 --model Nothing", 1),
        ("request 1 --model Nothing --wait", 1),
        ("request 2", 1),
        ("status now", 2),
        ("status --for 1h", 2),
        ("release", 1),
        ("release 0", 2),
        ("release x", 2),
        ("release 9999", 1),
        (f"release {others['id']}", 1),
        (f"extend {others['id']} --for 1h", 1),
        (f"extend 9{others['id']}", 1),
        ("extend", 1),
        ("notebook", 2),
    ):
        done = dora.ssh(f"gpu {words}".rstrip())
        assert (done.returncode, done.stdout) == (status, b""), (words, done)
        assert done.stderr.startswith(b"gpu: "), (words, done)
        assert done.stderr.count(b"\n") == 1, (words, done)
    assert [{**each, "remaining": 0} for each in lab.listed("leases")] == [
        {**each, "remaining": 0} for each in before
    ]


def test_nobody_renews_beyond_her_quota(lab: House, dora: Person) -> None:
    """An end is never later than a new lease's would be, whatever is asked, and however often."""
    lab.admin("quota", "set", dora.name, "lease=3h")
    assert dora.ssh("gpu request 1 --for 2h").returncode == 0
    (lease,) = leases(lab, dora)
    refused = dora.ssh(f"gpu extend {lease['id']} --for 90m")
    assert (refused.returncode, b"at the latest" in refused.stderr) == (1, True)
    assert leases(lab, dora)[0]["expires_at"] == lease["expires_at"]
    assert dora.ssh(f"gpu extend {lease['id']}").returncode == 0
    assert leases(lab, dora)[0]["remaining"] // 60 in (179, 180)
    assert dora.ssh("gpu extend").returncode == 1
    assert b"as late as you may have it" in dora.ssh("gpu extend").stderr
    lab.admin("quota", "set", dora.name, "gpu_hours=4/7d", "lease=24h")
    assert b"may hold 4 GPU-hours" in dora.ssh("gpu extend --for 2h").stderr
    lab.admin("quota", "set", dora.name, "gpu_hours=inherit")


def test_a_terminal_gets_its_line_ends_and_a_shell_its_own_words(lab: House, dora: Person) -> None:
    """With -t all is on the terminal; what has a quote, a pipe or a dollar sign is her shell's."""
    done = dora.ssh("gpu", "release", options=["-tt"])
    assert (done.returncode, done.stdout) == (1, b"gpu: You hold no GPU; ask for one with: gpu request 1\r\n")
    assert dora.ssh("gpu() { echo mine; }; gpu status").stdout == b"mine\n"
    assert dora.ssh("echo gpu status").stdout == b"gpu status\n"
    assert dora.ssh("gpu status >/dev/null && echo $?").stdout == b"0\n"


def full(lab: House, person: Person) -> dict[str, Any]:
    """She holds every GPU, and nobody else can have one."""
    lab.admin("quota", "set", person.name, "gpus=4")
    lab.admin("allocate", person.name, "--gpus", "4", "--for", "1h")
    return leases(lab, person)[0]


def queue(lab: House) -> list[str]:
    """Who waits, in the order of the queue."""
    return [lease["user"] for lease in lab.listed("leases") if lease["state"] == "queued"]


def test_who_waits_sees_her_place_until_it_is_granted(lab: House, dora: Person, emil: Person) -> None:
    """Over ssh: her place on stderr, the grant on stdout; the status says where she stands and why."""
    lease = full(lab, emil)
    with dora.start("gpu request 1 --for 30m --wait --model H100") as waiting:
        assert waiting.stderr is not None
        line = waiting.stderr.readline().decode()
        assert " is number 1 in the queue; it may begin " in line
        assert f"{emil.name} holds" in line
        shown = dora.ssh("gpu status").stdout.decode()
        assert "1 GPU for 30m, number 1 in the queue" in shown
        assert "  waits: " in shown
        (mine,) = (
            each for each in json.loads(dora.ssh("gpu status --json").stdout) if each["kind"] == "request"
        )
        assert (mine["state"], mine["place"], mine["model"]) == ("queued", 1, "H100")
        lab.admin("release", str(lease["id"]))
        out, error = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert all(line.startswith(b"Request ") for line in error.splitlines())
    assert out.startswith(b"Lease ")
    assert len(leases(lab, dora)) == 1


@pytest.mark.parametrize(
    "how",
    [
        "hangs up",
        "presses ^C",
        *(
            pytest.param(how, marks=pytest.mark.slow)
            for how in ("is interrupted inside", "withdraws it", "is ended")
        ),
    ],
)
def test_who_leaves_waits_no_more(lab: House, dora: Person, emil: Person, how: str) -> None:
    """Whatever ends the wait, the place is given up with it, and nothing is granted later."""
    full(lab, emil)
    line, options = "gpu request 1 --wait", ["-tt"] if how == "presses ^C" else []
    if how == "is interrupted inside":
        line = f"sh -c {shlex.quote('gpu request 1 --wait & sleep 0; echo $! >~/pid; wait $!; echo $? >&2')}"
    with dora.start(line, options=options) as waiting:
        wait_for(lambda: queue(lab) == [dora.name], "her place in the queue")
        if how == "hangs up":
            waiting.kill()
        elif how == "presses ^C":
            assert waiting.stdin is not None
            waiting.stdin.write(b"\x03")
            waiting.stdin.flush()
        elif how == "is interrupted inside":
            assert dora.ssh("kill -TERM $(cat ~/pid)").returncode == 0
        elif how == "withdraws it":
            assert b" is withdrawn." in dora.ssh("gpu release").stdout
        else:
            lab.admin("release", dora.name)
        out, error = waiting.communicate(timeout=60)
    wait_for(lambda: queue(lab) == [], f"an empty queue after {waiting.returncode}, {out!r}, {error!r}")
    assert leases(lab, dora) == []
    if how == "presses ^C":
        assert waiting.returncode == 130
    elif how == "is interrupted inside":
        assert error.endswith(b"143\n")
    elif how != "hangs up":
        assert (waiting.returncode, out) == (1, b"")
        assert error.endswith(b" was withdrawn\n")


_CLAIMS = r"""
import socket, sys
def say(*words):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.connect("/opt/gpu-gateway/socket/gpu.sock")
        s.send("\0".join(words).encode())
        said = []
        while not said or said[-1][:1] not in b"x":
            said.append(s.recv(65536))
        return said[-1].decode()
victim, lease = sys.argv[1:]
print(say("gpu", "release", lease), say(victim, "release", lease), say("user=" + victim, "extend", lease),
      say("gpu", "release", lease, victim), say("gpu", "request", "1", "--user", victim),
      say("gpu", "--user", victim, "release"), say("gpu", "request", "1"))
"""


def test_who_claims_another_name_gets_her_own_rights_only(lab: House, dora: Person, emil: Person) -> None:
    """Whatever a program in her container says, it speaks for her: the lease that it gets is hers."""
    mallory, victim = dora, emil
    assert victim.ssh("gpu request 1").returncode == 0
    (theirs,) = leases(lab, victim)
    mallory.ssh("cat > claims.py", stdin=_CLAIMS.encode())
    done = mallory.ssh(f"python3 claims.py {victim.name} {theirs['id']}; true")
    assert done.stdout.split() == [b"x1", b"x1", b"x1", b"x2", b"x2", b"x2", b"x0"], done
    assert [lease["id"] for lease in leases(lab, victim)] == [theirs["id"]]
    assert leases(lab, victim)[0]["expires_at"] == theirs["expires_at"]
    assert len(leases(lab, mallory)) == 1


def descriptors(lab: House) -> int:
    """How many the broker has open."""
    assert lab.process is not None
    return len(list(Path(f"/proc/{lab.process.pid}/fd").iterdir()))


_FLOOD = r"""
import os, socket, time
held = []
print("in", flush=True)
until = time.time() + 60
while time.time() < until:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(0.2)
    try:
        s.connect("/opt/gpu-gateway/socket/gpu.sock")
        s.send([b"gpu\0status", b"\0" * 4000, os.urandom(60000), b"gpu\0history\0--json"][len(held) % 4])
    except OSError:
        time.sleep(0.01)
    held.append(s)
    del held[:-500]
"""


def test_a_flood_of_questions_keeps_nobody_else(lab: House, dora: Person, emil: Person) -> None:
    """She asks, floods and reads nothing; somebody else's questions are answered, in a container too."""
    mallory, other = dora, emil
    assert inside(other, "gpu status")[0] == 0
    before = descriptors(lab)
    attack = mallory.start(f"exec python3 -c {shlex.quote(_FLOOD)}")
    try:
        assert attack.stdout is not None
        assert attack.stdout.readline() == b"in\n"
        for _ in range(5):
            assert other.ssh("gpu status").returncode == 0
            assert inside(other, "gpu history")[0] == 0
        assert descriptors(lab) < before + 40
    finally:
        attack.kill()
        attack.communicate()
    wait_for(lambda: inside(mallory, "gpu status")[0] == 0, "an answer to herself")
