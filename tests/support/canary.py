"""A program that listens and a program that knocks, to see which way packets can go.

    canary.py listen ADDRESS:PORT...          prints one line "PROTOCOL ADDRESS TOKEN" for all that it hears
    canary.py knock TOKEN ADDRESS:PORT...     tries TCP and UDP at each, all at once

Standard library only: it also runs inside containers.
"""

from __future__ import annotations

import socket
import sys
import threading


def listen(addresses: list[str]) -> None:
    for text in addresses:
        address, port = text.rsplit(":", 1)
        stream = socket.create_server((address, int(port)))
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind((address, int(port)))
        threading.Thread(target=hear_streams, args=(stream, address)).start()
        threading.Thread(target=hear_datagrams, args=(datagrams, address)).start()
    say("ready")


def hear_streams(server: socket.socket, address: str) -> None:
    while True:
        line, _ = server.accept()
        line.settimeout(5)
        try:
            token = line.recv(100).decode("ascii", "replace")
        except OSError as error:
            token = type(error).__name__
        say(f"tcp {address} {token}")
        line.close()


def hear_datagrams(server: socket.socket, address: str) -> None:
    while True:
        say(f"udp {address} {server.recv(100).decode('ascii', 'replace')}")


def knock(token: str, addresses: list[str]) -> None:
    threads = [threading.Thread(target=try_one, args=(token, text)) for text in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def try_one(token: str, text: str) -> None:
    address, port = text.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        datagram.sendto(token.encode(), (address, int(port)))
    try:
        with socket.create_connection((address, int(port)), timeout=2) as line:
            line.sendall(token.encode())
            line.recv(1)
    except OSError:
        return


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "listen":
        listen(sys.argv[2:])
    else:
        knock(sys.argv[2], sys.argv[3:])
