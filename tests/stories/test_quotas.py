"""An operator changes what a container may use while people work in it."""

from __future__ import annotations

from tests.support.house import House, Person, wait_for

# cgroup v1, else v2.
_LIMITS = """
cd /sys/fs/cgroup
cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us memory/memory.limit_in_bytes pids/pids.max 2>/dev/null ||
    cat cpu.max memory.max pids.max
"""


def _limits(person: Person) -> tuple[float, int, int]:
    """Cores, bytes and processes, as her own container's kernel says."""
    quota, period, memory, pids = map(int, person.ssh(_LIMITS).stdout.split())
    return quota / period, memory, pids


def test_a_quota_is_in_force_while_a_program_runs_and_ends_nothing(home: House) -> None:
    """More and less; a member's container follows her group; whoever has no session is not started."""
    person = home.add("quinn")
    with person.start("echo $HOSTNAME in; cat") as session:
        assert session.stdout is not None
        assert session.stdin is not None
        assert session.stdout.readline().endswith(b"in\n")
        before = home.containers()
        home.admin("quota", "set", "quinn", "cpus=0.5", "memory=3G", "pids=300")
        assert _limits(person) == (0.5, 3 << 30, 300)
        home.admin("quota", "set", "quinn", "cpus=inherit", "memory=2G", "pids=inherit")
        home.admin("group", "add", "vision")
        home.admin("quota", "set", "--group", "vision", "pids=500", "cpus=0.75")
        home.admin("group", "join", "vision", "quinn")
        home.admin("quota", "set", "--group", "vision", "pids=400")
        assert _limits(person) == (0.75, 2 << 30, 400)
        assert home.containers() == before
        session.stdin.write(b"still here\n")
        session.stdin.close()
        assert session.stdout.readline() == b"still here\n"
    home.admin("user", "remove", "quinn")


def test_one_session_too_many_is_refused_and_the_others_go_on(home: House) -> None:
    """Counted over all of her connections; its program is not started, and a later one is."""
    person = home.add("sam")
    home.admin("quota", "set", "sam", "sessions=2")
    with person.start("echo in; cat") as first, person.start("echo in; cat") as second:
        for session in (first, second):
            assert session.stdout is not None
            assert session.stdout.readline() == b"in\n"
        refused = person.ssh("touch ~/ran")
        assert (refused.returncode, refused.stdout) == (75, b"")
        assert b"You have 2 sessions open, which is the most" in refused.stderr
        assert first.stdin is not None
        first.stdin.close()
        assert first.wait(timeout=20) == 0
        wait_for(lambda: person.ssh("ls ~").returncode == 0, "the session's end")
        assert person.ssh("ls ~").stdout == b""
    home.admin("user", "remove", "sam")


def test_memory_in_use_is_not_taken_away(home: House) -> None:
    """The quota is lowered, what runs stays; the next container has less."""
    person = home.add("rhea")
    home.admin("quota", "set", "rhea", "memory=512M")
    held = "held = bytearray(b'x') * (200 << 20); print('held', flush=True); input()"
    with person.start(f'python3 -c "{held}"') as session:
        assert session.stdout is not None
        assert session.stdin is not None
        assert session.stdout.readline() == b"held\n"
        assert _limits(person)[1] == 512 << 20
        home.admin("quota", "set", "rhea", "memory=128M", "pids=200")
        assert _limits(person)[1:] == (512 << 20, 200)
        session.stdin.write(b"\n")
        session.stdin.close()
        assert session.wait(timeout=20) == 0
    home.admin("workspace", "recreate", "rhea")
    assert _limits(person)[1] == 128 << 20
    home.admin("user", "remove", "rhea")
