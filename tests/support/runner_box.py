"""One hardened container with a runner in it, as the gateway would make it but for its network and limits.

Owns the container and the directory that is mounted into it. Must not know who talks to the runner.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from gateway.runner.bundle import COMMAND, MOUNTED_AT, SOCKET_DIRECTORY, write_bundle

UID = 54321
_HARDENED = "--init --read-only --cap-drop ALL --security-opt no-new-privileges --pids-limit 1000"


class RunnerBox:
    """A container that runs from here to `close`; its runner dials whoever listens in `sockets`."""

    def __init__(self, image: str) -> None:
        self.name = f"runner-box-{uuid.uuid4().hex[:12]}"
        self._scratch = Path(tempfile.mkdtemp(prefix="runner-box-"))
        os.chmod(self._scratch, 0o711)
        self.sockets = self._scratch / "socket"
        self.sockets.mkdir(mode=0o711)
        try:
            self._start(image)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the container and the directory."""
        subprocess.run(["docker", "rm", "-f", self.name], capture_output=True, timeout=60)
        shutil.rmtree(self._scratch)

    def _start(self, image: str) -> None:
        """Start it; it has a passwd entry, as every workspace has."""
        bundle, passwd = self._scratch / "runner.pyz", self._scratch / "passwd"
        write_bundle(bundle)
        passwd.write_text(f"tester:x:{UID}:{UID}::/tmp:/bin/bash\n")
        mounts = {bundle: MOUNTED_AT, self.sockets: SOCKET_DIRECTORY, passwd: "/etc/passwd"}
        volumes = [part for host, inside in mounts.items() for part in ("-v", f"{host}:{inside}:ro")]
        arguments = ["docker", "run", "-d", "--name", self.name, "--user", f"{UID}:{UID}"]
        arguments += ["--tmpfs", f"/tmp:uid={UID},exec", *_HARDENED.split(), *volumes, image, *COMMAND]
        subprocess.run(arguments, check=True, capture_output=True, timeout=120)
