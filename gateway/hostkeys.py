"""The gateway's host keys: made once, never overwritten, never shown to a worker.

An operator who wants another key puts it beside the one in use, as `next_` in the place of `host_`: clients
that come by are told of it, and know it when its file has taken the other's name. Owns the private keys and
signing with them. Must not know connections: whoever asks for a signature has decided that it may be given.
Uses asyncssh for key formats alone.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import asyncssh

from gateway.errors import Code, PlatformError

_NAMES = {"ssh-ed25519": "ed25519", "ecdsa-sha2-nistp256": "ecdsa", "ssh-rsa": "rsa"}
_RSA_BITS = 3072
_RSA_SIGNATURES = (b"rsa-sha2-256", b"rsa-sha2-512")


class HostKeys:
    """One key of each kind in `directory`, as clients should prefer them, then those that are next."""

    def __init__(self, directory: Path) -> None:
        """Read the keys, making `host_` ones that lack. Raises UNAVAILABLE for a key that cannot be read."""
        self._keys: dict[bytes, asyncssh.SSHKey] = {}
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            for algorithm in _NAMES:
                path = directory / f"host_{_NAMES[algorithm]}"
                if not os.path.lexists(path):
                    _make(path, algorithm)
                self._keep(_read(path, algorithm))
            for algorithm in _NAMES:
                path = directory / f"next_{_NAMES[algorithm]}"
                if os.path.lexists(path):
                    self._keep(_read(path, algorithm))
        except OSError as error:
            raise PlatformError(
                Code.UNAVAILABLE,
                f"No host key can be made in {directory} ({error.strerror}); make it writable for root.",
            ) from error

    def _keep(self, key: asyncssh.SSHKey) -> None:
        self._keys[key.public_data] = key

    def public(self) -> tuple[bytes, ...]:
        """The public blobs (RFC 4253 section 6.6). The first of a kind is the one for key exchanges."""
        return tuple(self._keys)

    def fingerprints(self) -> tuple[str, ...]:
        """What ssh shows a person at her first login, one a key."""
        return tuple(key.get_fingerprint() for key in self._keys.values())

    def sign(self, public: bytes, algorithm: bytes, data: bytes) -> bytes:
        """The signature blob (RFC 4253 section 6.6) over `data`, or nothing when the key is not ours."""
        key = self._keys.get(public)
        if key is None:
            return b""
        allowed = _RSA_SIGNATURES if key.algorithm == b"ssh-rsa" else (key.algorithm,)
        return key.sign(data, algorithm) if algorithm in allowed else b""


def _read(path: Path, algorithm: str) -> asyncssh.SSHKey:
    try:
        key = asyncssh.read_private_key(path)
    except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        remade = path.name.startswith("host_")
        raise PlatformError(
            Code.UNAVAILABLE,
            f"The host key {path} cannot be read ({error}); restore it from a backup, or remove it"
            + (" to have a new one made, which every client will warn about." if remade else "."),
        ) from error
    if key.algorithm != algorithm.encode():
        raise PlatformError(
            Code.UNAVAILABLE,
            f"The host key {path} is of the kind {key.algorithm.decode()}; "
            f"put one of the kind {algorithm} there.",
        )
    return key


def _make(path: Path, algorithm: str) -> None:
    """Make a key and put it in place by a link: a crash leaves none or a whole one, and the first wins."""
    if algorithm == "ssh-rsa":
        key = asyncssh.generate_private_key(algorithm, key_size=_RSA_BITS)
    else:
        key = asyncssh.generate_private_key(algorithm)
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.export_private_key())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)
