"""Host keys whose private halves are elsewhere: the broker signs.

Owns the blocking question on the signing socket, which asyncssh asks inside a key exchange, and one
copy of each key a connection: asyncssh stores the negotiated algorithm on the key object, so that a
shared one mixes up two exchanges that run at once. Must not see a private key.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

import asyncssh

from gateway import proofs, verbs
from gateway.messages import LIMIT, MessageError, decode, encode

ANSWER_WITHIN = 10.0
"""Seconds; the broker answers in microseconds and never blocks, so a longer wait means that it is gone."""


class Signer:
    """Asks the broker over the signing socket, one question at a time."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(ANSWER_WITHIN)
        self._sock = sock

    def sign(self, connection: str, key: bytes, algorithm: bytes, data: bytes) -> bytes:
        """The signature blob. Raises asyncssh.KeyExchangeFailed when the broker gives none."""
        try:
            self._sock.send(encode(proofs.Sign(connection, key, algorithm, data)))
            signature: bytes = decode(self._sock.recv(LIMIT), verbs.SIGNING).signature
        except (OSError, MessageError) as error:
            # A late answer would be taken for the next question's.
            self._sock.close()
            raise asyncssh.KeyExchangeFailed("The gateway is restarting") from error
        if not signature:
            raise asyncssh.KeyExchangeFailed("The host key did not sign")
        return signature


class RemoteKey(asyncssh.SSHKeyPair):
    """A host key known by its public blob, for one connection."""

    def __init__(self, public: bytes, signer: Signer, connection: str = "") -> None:
        algorithm = public[4 : 4 + struct.unpack(">I", public[:4])[0]]
        algorithms = (b"rsa-sha2-256", b"rsa-sha2-512") if algorithm == b"ssh-rsa" else (algorithm,)
        super().__init__(algorithm, algorithms[0], algorithms, algorithms, public, None)
        # Without a certificate asyncssh forgets that argument, and proves a key that no exchange has
        # negotiated (hostkeys-prove-00@openssh.com) by "ssh-rsa", which is SHA-1 and never signed here.
        self.sig_algorithm = algorithms[0]
        self._signer = signer
        self._connection = connection

    def for_connection(self, connection: str) -> RemoteKey:
        """A copy that this connection alone uses."""
        return RemoteKey(self.public_data, self._signer, connection)

    def sign(self, data: bytes) -> bytes:
        """The broker's signature with the algorithm that was negotiated."""
        return self._signer.sign(self._connection, self.public_data, self.sig_algorithm, data)


def remote_keys(public: Sequence[bytes], signer: Signer) -> list[RemoteKey]:
    """One key for each public blob, in the broker's order of preference."""
    return [RemoteKey(blob, signer) for blob in public]
