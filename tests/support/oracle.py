"""OpenSSH's own sshd in a container of the base image: what it does is what the gateway must do.

Owns the container and its one user. sshd has its defaults, save what a test cannot do without.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.house import ssh_config

SECONDS = 60.0
UID = 1000

# PAM would bring the container's login configuration into the comparison; many logins at once must not be
# refused by a limit that the gateway counts elsewhere.
_SSHD = """\
UsePAM no
PrintMotd no
MaxStartups 1000
MaxSessions 500
AllowAgentForwarding yes
X11Forwarding yes
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_rsa_key
HostKey /etc/ssh/ssh_host_ecdsa_key
"""

# Debian's package makes the host keys, but an image keeps them: each oracle has keys of its own.
_START = """set -e
useradd --create-home --shell /bin/bash --uid {uid} --password '*' {user}
install -d -m 0700 -o {uid} -g {uid} /home/{user}/.ssh
printf '%s\\n' "$KEY" > /home/{user}/.ssh/authorized_keys
chown {uid} /home/{user}/.ssh/authorized_keys
rm -f /etc/ssh/ssh_host_*
ssh-keygen -qA
mkdir -p /run/sshd
printf '%s' "$CONFIG" > /etc/ssh/sshd_config
exec /usr/sbin/sshd -D -e
"""


class Oracle:
    """One running sshd with one user. `gw` is its name in her ssh config, as in a person's of the gateway."""

    def __init__(self, image: str, user: str = "alice", config: str = "") -> None:
        self.user = user
        self.folder = Path(tempfile.mkdtemp(prefix="oracle-"))
        self.name = f"oracle-{secrets.token_hex(4)}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "id"], check=True)
        key = (self.folder / "id.pub").read_text().strip()
        start = ["bash", "-c", _START.format(user=user, uid=UID)]
        environment = ["--env", f"KEY={key}", "--env", f"CONFIG={_SSHD}{config}"]
        _output("docker", "run", "-d", "--init", "--name", self.name, *environment, image, *start)
        try:
            self.address = _output("docker", "inspect", "-f", "{{.NetworkSettings.IPAddress}}", self.name)
            self.config = self.folder / "config"
            self.config.write_text(ssh_config(self.address, 22, user, self.folder))
            self._wait()
        except BaseException:
            self.close()
            raise

    def ssh(
        self, *words: str | bytes, stdin: bytes = b"", options: Sequence[str] = (), seconds: float = SECONDS
    ) -> subprocess.CompletedProcess[bytes]:
        """`ssh gw WORDS` with `stdin`, ended after `seconds`."""
        return subprocess.run(
            ["ssh", "-F", self.config, *options, "gw", *words],
            input=stdin,
            capture_output=True,
            timeout=seconds,
        )

    def restart(self) -> None:
        """sshd starts itself anew, as after a change of its config: connections stay (sshd(8), SIGHUP)."""
        _output("docker", "exec", self.name, "pkill", "-HUP", "-o", "-x", "sshd")

    def close(self) -> None:
        """Remove the container and its folder."""
        subprocess.run(["docker", "rm", "-f", self.name], check=True, capture_output=True, timeout=SECONDS)
        shutil.rmtree(self.folder)

    def _wait(self) -> None:
        """Until sshd takes her key."""
        deadline = time.monotonic() + SECONDS
        while (answer := self.ssh("true")).returncode != 0:
            assert time.monotonic() < deadline, answer.stderr
            time.sleep(0.05)


def _output(*words: str | Path) -> str:
    """What a command prints; it must succeed."""
    ended = subprocess.run(words, capture_output=True, text=True, check=True, timeout=SECONDS)
    return ended.stdout.strip()
