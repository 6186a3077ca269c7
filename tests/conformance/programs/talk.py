"""A client with a half-close: sends standard input, ends its sending side, prints what comes to the end.

talk.py PORT|PATH [--open]     --open keeps the sending side open until the other side ends
"""

import os
import socket
import sys
import threading

where = sys.argv[1]
if where.isdigit():
    peer = socket.create_connection(("127.0.0.1", int(where)), 60)
else:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(60)
    peer.connect(where)


def send():
    while data := os.read(0, 65536):
        peer.sendall(data)
    if "--open" not in sys.argv:
        peer.shutdown(socket.SHUT_WR)


threading.Thread(target=send, daemon=True).start()
try:
    while received := peer.recv(65536):
        os.write(1, received)
except ConnectionResetError:
    os.write(1, b"reset\n")
