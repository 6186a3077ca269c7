#!/usr/bin/python3 -ISB
"""The program `gpu`, as it lies in every workspace: it asks the gateway and shows the answer.

Owns two standard streams and an exit status: what words mean the gateway decides, and who asks it sees by the
container. `gpu jupyter` alone is done here, since it starts a program of hers. This file alone is mounted,
and runs on the image's Python, 3.9 or newer.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import time

SOCKET_PATH = "/opt/gpu-gateway/socket/gpu.sock"
_PATIENCE = 20  # seconds for a gateway that is busy with other programs of this container
_LONGEST = 1 << 16
_AWAY = 75  # EX_TEMPFAIL
_JUPYTER_PORT = 8888
_JUPYTER_PATIENCE = 300  # seconds until JupyterLab answers, many times what it takes
_JUPYTER_OPTIONS = {(): False, ("--stop",): True}
_JUPYTER_TOLD = """\
JupyterLab runs in your workspace, also when you have logged out. On your own machine type
    ssh -N -L {port}:127.0.0.1:{port} {gateway}
and open
    http://127.0.0.1:{port}/lab?token={token}
End it with: gpu jupyter --stop
"""


def main(path: str) -> int:
    """Ask with this process's arguments; the exit status."""
    if sys.argv[1:2] == ["jupyter"] and tuple(sys.argv[2:]) in _JUPYTER_OPTIONS:
        return _jupyter(_JUPYTER_OPTIONS[tuple(sys.argv[2:])])
    # Interrupted, or read by nobody any more, it ends as other programs do.
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    words = [os.fsencode(word) for word in ["gpu", *sys.argv[1:]]]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _PATIENCE, 0))
        try:
            sock.connect(path)
            sock.sendall(b"\0".join(words))
        except OSError as problem:
            return _fail(f"The gateway cannot be reached ({problem.strerror}); try again in a moment.")
        return _show(sock)


def _show(sock: socket.socket) -> int:
    """Show packet after packet; the last one is the exit status."""
    while True:
        try:
            packet = sock.recv(_LONGEST)
        except OSError:
            packet = b""
        kind, rest = packet[:1], packet[1:]
        if kind == b"x":
            return int(rest)
        if kind not in (b"o", b"e"):
            return _fail("The gateway did not answer to the end; see gpu status.")
        stream = (sys.stdout if kind == b"o" else sys.stderr).buffer
        stream.write(rest)
        stream.flush()


def _fail(sentence: str, status: int = _AWAY) -> int:
    sys.stderr.write(f"gpu: {sentence}\n")
    return status


def _jupyter(stop: bool) -> int:
    """Say how to reach her JupyterLab, which is started when none runs; or stop it."""
    # Hers alone, and gone with the container, as the server is.
    folder = os.path.join(os.environ.get("XDG_RUNTIME_DIR") or os.path.expanduser("~/.cache"), "gpu-jupyter")
    os.makedirs(folder, 0o700, exist_ok=True)
    # Two at once must not start two servers. The lock is not inherited by the server.
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = _found(os.path.join(folder, "server.json"))
        if stop:
            return _stopped(server)
        if server is None:
            try:
                server = _started(folder)
            except FileNotFoundError:
                return _fail("This image has no JupyterLab; install it with: pip install jupyterlab", 1)
            except ChildProcessError as ended:
                return _fail(f"JupyterLab does not start: {ended}", 1)
            except KeyboardInterrupt:
                return 130
    sys.stdout.write(_JUPYTER_TOLD.format(gateway=_gateway(), **server))
    return 0


def _found(record: str) -> dict[str, object] | None:
    """The server that was started before, when it still answers to its token."""
    try:
        with open(record) as file:
            server: dict[str, object] = json.load(file)
    except (OSError, ValueError):
        return None
    return server if _answers(server) else None


def _answers(server: dict[str, object]) -> bool:
    # Imported here: it takes longer than all the rest of this program.
    import urllib.request

    url = "http://127.0.0.1:{port}/api/status?token={token}".format(**server)
    try:
        # No proxy of the site's is asked for what is on this loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=_PATIENCE):
            return True
    except OSError:
        return False


def _started(folder: str) -> dict[str, object]:
    """A new server that answers. Raises FileNotFoundError, and ChildProcessError with its last line."""
    server: dict[str, object] = {"port": _free_port(), "token": secrets.token_hex(24)}
    said = os.path.join(folder, "log")
    with open(said, "w") as log:
        process = subprocess.Popen(
            ["jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={server['port']}"]
            + ["--ServerApp.port_retries=0"],
            # Not in its arguments, which every process of the machine can read.
            env={**os.environ, "JUPYTER_TOKEN": str(server["token"])},
            cwd=os.path.expanduser("~"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    server["pid"] = process.pid
    try:
        _await(server, process, said)
        record = os.open(os.path.join(folder, "server.json"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(record, "w") as file:
            json.dump(server, file)
    except BaseException:
        process.kill()
        raise
    return server


def _await(server: dict[str, object], process: subprocess.Popen[bytes], said: str) -> None:
    """Return when it answers. Raises ChildProcessError with what it said last."""
    deadline = time.monotonic() + _JUPYTER_PATIENCE
    while not _answers(server):
        if process.poll() is not None or time.monotonic() > deadline:
            with open(said, errors="replace") as log:
                lines = [line.strip() for line in log if line.strip()]
            raise ChildProcessError(lines[-1] if lines else "it says nothing")
        time.sleep(0.2)


def _stopped(server: dict[str, object] | None) -> int:
    if server is None:
        return _fail("No JupyterLab of gpu jupyter runs.", 1)
    os.kill(int(str(server["pid"])), signal.SIGTERM)
    sys.stdout.write("JupyterLab is ending.\n")
    return 0


def _free_port() -> int:
    """The port that people expect, else any."""
    for port in (_JUPYTER_PORT, 0):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(sock.getsockname()[1])
    raise ChildProcessError("no port is free")


def _gateway() -> str:
    """What ssh is told to reach the gateway, as this session reached it."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    name = os.environ.get("LOGNAME", "")
    if len(words) != 4:
        return f"{name}@GATEWAY"
    return f"{name}@{words[2]}" if words[3] == "22" else f"-p {words[3]} {name}@{words[2]}"


if __name__ == "__main__":
    sys.exit(main(SOCKET_PATH))
