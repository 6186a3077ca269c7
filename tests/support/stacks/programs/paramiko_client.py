"""paramiko as a program: HOST PORT USER KEY VERB ARGUMENT...

Owns no judgement; it carries its own streams to and from one channel and ends with the remote status.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

import paramiko
from paramiko.agent import AgentRequestHandler


def relay(channel: paramiko.Channel) -> None:
    """Standard input into the channel with its end, the channel's bytes to standard output."""

    def send() -> None:
        while data := os.read(0, 32768):
            channel.sendall(data)
        channel.shutdown_write()

    threading.Thread(target=send, daemon=True).start()
    while data := channel.recv(32768):
        os.write(1, data)


def back(transport: paramiko.Transport, there: int, here: int) -> None:
    """Whoever connects there reaches the server here, until the connection ends."""

    def answer(channel: paramiko.Channel, sock: socket.socket) -> None:
        while data := sock.recv(32768):
            channel.sendall(data)
        channel.close()

    transport.request_port_forward("127.0.0.1", there)
    while (channel := transport.accept(3600)) is not None:
        with socket.create_connection(("127.0.0.1", here), timeout=60) as sock:
            answering = threading.Thread(target=answer, args=(channel, sock))
            answering.start()
            while data := channel.recv(32768):
                sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            answering.join()


def main(host: str, port: str, user: str, key: str, verb: str, *words: str) -> int:
    """Do what `verb` says; the exit status of the remote program, or 0."""
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(host, int(port), user, key_filename=key, allow_agent=False, look_for_keys=False)
        transport = client.get_transport()
        assert transport is not None
        if verb in ("put", "get"):
            with client.open_sftp() as sftp:
                getattr(sftp, verb)(*words)
            return 0
        if verb == "tunnel":
            relay(transport.open_channel("direct-tcpip", ("127.0.0.1", int(words[0])), ("127.0.0.1", 0)))
            return 0
        if verb == "back":
            back(transport, int(words[0]), int(words[1]))
            return 0
        channel = transport.open_session()
        if verb == "terminal":
            channel.get_pty("xterm", width=100, height=30)
        if verb == "agent":
            AgentRequestHandler(channel)
        channel.exec_command(words[0])
        relay(channel)
        return channel.recv_exit_status()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
