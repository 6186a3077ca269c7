"""A server with one manner, inside: prints its port (or `ready`), serves for a minute at most.

serve.py MANNER [ADDRESS]      ADDRESS is 127.0.0.1, ::1, or the path of a socket
"""

import socket
import sys
import threading
from contextlib import suppress

manner = sys.argv[1]
address = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"


def whole(peer):
    """Answers after the end of what it was sent."""
    total = 0
    while data := peer.recv(65536):
        total += len(data)
    peer.sendall(b"got %d\n" % total)


def first(peer):
    """Speaks first, at once and at length, and closes."""
    peer.sendall(b"".join(b"line %d\n" % number for number in range(20000)))


def echo(peer):
    while data := peer.recv(65536):
        peer.sendall(data)


def silent(peer):
    """Closes its sending side, then reads to the end."""
    peer.shutdown(socket.SHUT_WR)
    while peer.recv(65536):
        pass


def http(peer):
    peer.recv(65536)
    peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\ninside")


def flood(peer):
    for _ in range(48):
        peer.sendall(bytes(65536))


def reset(peer):
    peer.recv(1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def serve(peer):
    with suppress(OSError):
        globals()[manner](peer)
    peer.close()


if address.startswith("/"):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
else:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.bind((address, 0))
listener.listen(500)
listener.settimeout(60)
sys.stdout.write("ready\n" if address.startswith("/") else f"{listener.getsockname()[1]}\n")
sys.stdout.flush()
while True:
    arrived, _ = listener.accept()
    arrived.settimeout(60)
    threading.Thread(target=serve, args=(arrived,), daemon=True).start()
