"""A forwarded agent: OpenSSH's ssh-agent, ssh-add and git, through a socket inside the container."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.stories.test_reverse import master
from tests.support.house import House, Person, wait_for


class Agent:
    """An ssh-agent with one key of its own."""

    def __init__(self, folder: Path) -> None:
        self.socket, self.key = folder / "agent", folder / "key"
        self.process = subprocess.Popen(["ssh-agent", "-D", "-a", self.socket], stdout=subprocess.DEVNULL)
        wait_for(self.socket.exists, "the agent")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        subprocess.run(["ssh-add", "-q", self.key], env=self.environment, check=True)
        shown = subprocess.run(["ssh-keygen", "-lf", self.key], capture_output=True, text=True, check=True)
        self.fingerprint = shown.stdout.split()[1]
        self.public = self.key.with_suffix(".pub").read_text()

    @property
    def environment(self) -> dict[str, str]:
        """What makes a program use it."""
        return {**os.environ, "SSH_AUTH_SOCK": str(self.socket)}

    def ssh(self, person: Person, command: str, *options: str) -> str:
        """What a command of hers prints, with this agent forwarded. The client itself uses her key file."""
        ended = subprocess.run(
            ["ssh", "-F", person.config, "-A", *options, "gw", command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended
        return ended.stdout.decode()

    def start(self, person: Person, command: str) -> subprocess.Popen[bytes]:
        """The same, left running."""
        return person.start(command, options=["-A"], env=self.environment)


@contextmanager
def an_agent() -> Iterator[Agent]:
    with tempfile.TemporaryDirectory(prefix="agent-") as folder:
        made = Agent(Path(folder))
        try:
            yield made
        finally:
            made.process.kill()
            made.process.wait()


@pytest.fixture
def agent() -> Iterator[Agent]:
    with an_agent() as made:
        yield made


def test_programs_inside_use_the_agent(alice: Person, agent: Agent) -> None:
    assert agent.fingerprint in agent.ssh(alice, "ssh-add -l")
    public = agent.public.strip()
    signed = f'cd "$(mktemp -d)"; echo "{public}" > k.pub; ssh-add -T k.pub && echo signed'
    assert agent.ssh(alice, signed) == "signed\n"
    assert alice.ssh("echo ${SSH_AUTH_SOCK-none}").stdout == b"none\n"


def test_the_socket_is_where_sshd_has_it_and_goes_with_the_connection(alice: Person, agent: Agent) -> None:
    before = set(Path("/tmp").glob("ssh-*"))
    running = agent.start(
        alice, 'echo $SSH_AUTH_SOCK; stat -c %a "$SSH_AUTH_SOCK" "${SSH_AUTH_SOCK%/*}"; cat'
    )
    assert running.stdout is not None
    path, mode, folder = (running.stdout.readline().decode().strip() for _ in range(3))
    assert (path.startswith("/tmp/ssh-"), mode, folder) == (True, "600", "700")
    assert "/agent." in path
    assert set(Path("/tmp").glob("ssh-*")) == before  # nothing on the gateway's machine
    running.kill()
    running.communicate()
    wait_for(lambda: alice.ssh(f"test -e {Path(path).parent}").returncode == 1, "the socket's end")


def test_each_connection_has_its_own_agent(home: House, alice: Person, agent: Agent) -> None:
    with an_agent() as other:
        first, second = (each.start(alice, "read x; ssh-add -l") for each in (agent, other))
        heard = [each.communicate(b"go\n", 60)[0].decode() for each in (first, second)]
    assert (agent.fingerprint in heard[0], other.fingerprint in heard[1]) == (True, True)
    assert other.fingerprint not in heard[0]
    assert agent.fingerprint not in heard[1]


def test_many_programs_at_once_and_a_silent_one_among_them(alice: Person, agent: Agent) -> None:
    silent = "import os, socket, time; s = socket.socket(1); s.connect(os.environ['SSH_AUTH_SOCK'])"
    many = 'for n in $(seq 20); do ssh-add -l & jobs="$jobs $!"; done; wait $jobs; kill %1'
    script = f'python3 -c "{silent}; time.sleep(1000)" & {many}'
    assert agent.ssh(alice, script).count(agent.fingerprint) == 20


def test_later_sessions_of_the_connection_have_it_too(alice: Person, agent: Agent) -> None:
    with master(alice, "-A", env=agent.environment) as through:
        assert through(command=["echo ${SSH_AUTH_SOCK-none}"]).stdout == b"none\n"
        path, key = through("-A", command=["echo $SSH_AUTH_SOCK; ssh-add -l"]).stdout.decode().split("\n", 1)
        assert agent.fingerprint in key
        again = through("-A", command=["echo $SSH_AUTH_SOCK; ssh-add -l"]).stdout.decode()
        assert again == f"{path}\n{key}"
        later = through(command=["echo $SSH_AUTH_SOCK; ssh-add -l"]).stdout.decode()
        assert later == again


def test_git_clones_through_the_agent(home: House, alice: Person, agent: Agent) -> None:
    """Her container holds no key. The server is another workspace, reached through a reverse forward."""
    bob = home.people.get("bob") or home.add("bob")
    subprocess.run(["ssh-add", "-q", bob.folder / "id"], env=agent.environment, check=True)
    git = "git -c user.name=b -c user.email=b@example.org -C repo"
    made = bob.ssh(f"git init -q repo && {git} commit -q --allow-empty -m 'by agent'")
    assert made.returncode == 0, made
    ssh = "ssh -p 9107 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes"
    clone = f"export GIT_SSH_COMMAND='{ssh}'; cd $(mktemp -d); git clone -q bob@127.0.0.1:repo c"
    log = agent.ssh(alice, f"{clone} && git -C c log --format=%s", "-R", f"9107:127.0.0.1:{home.port}")
    assert log == "by agent\n"
