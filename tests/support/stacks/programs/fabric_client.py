"""fabric as a program: HOST PORT USER KEY VERB ARGUMENT...

Owns no judgement. fabric's streams are text, so it carries no bytes to a command; and what it forwards ends
in both directions when one has ended, so nothing is half-closed here.
"""

from __future__ import annotations

import socket
import sys
import time

from fabric import Config, Connection


def reached(port: int) -> socket.socket:
    """A connection to a local port, which a thread of fabric's opens in its own time."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def through(port: int) -> None:
    """Standard input through a local port, then the answer to standard output."""
    with reached(port) as sock:
        sock.sendall(sys.stdin.buffer.read())
        while data := sock.recv(65536):
            sys.stdout.buffer.write(data)


def main(host: str, port: str, user: str, key: str, verb: str, *words: str) -> int:
    """Do what `verb` says; the exit status of the remote program, or 0."""
    known = {"key_filename": key, "allow_agent": False, "look_for_keys": False}
    with Connection(host, user, int(port), Config(lazy=True), connect_kwargs=known) as gateway:
        if verb == "put":
            gateway.put(*words)
        elif verb == "get":
            gateway.get(*words)
        elif verb == "tunnel":
            with socket.create_server(("127.0.0.1", 0)) as probe:
                local = probe.getsockname()[1]
            with gateway.forward_local(local, int(words[0]), "127.0.0.1"):
                through(local)
        else:
            pty = verb == "terminal"
            done = gateway.run(words[0], pty=pty, warn=True, in_stream=None if pty else False)
            return int(done.exited)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
