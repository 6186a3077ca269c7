"""Real certificates, made by ssh-keygen, and who signs with them.

Owns an authority in a folder. Must not know the broker.
"""

from __future__ import annotations

import base64
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import asyncssh
from asyncssh.packet import String

from gateway.certificates import Trust
from gateway.keys import PublicKey


@dataclass
class Certified:
    """A key with its certificate, used as tests/support/keys.py uses keys: `blob` is the certificate."""

    blob: bytes
    algorithm: bytes
    signing: bytes
    key: asyncssh.SSHKey
    file: Path

    def sign(self, data: bytes) -> bytes:
        """The signature blob, which names the plain algorithm."""
        return self.key.sign(data, self.signing)


class Authority:
    """A key of operators', in `folder`."""

    def __init__(self, folder: Path, kind: str = "ed25519", name: str = "ca") -> None:
        self.folder, self.name, self._made = folder, name, 0
        make(folder / name, kind)
        self.line = (folder / f"{name}.pub").read_text()
        self.key = PublicKey.parse(self.line)

    @property
    def trust(self) -> Trust:
        """Believing this authority alone."""
        return Trust({self.key.blob: self.key.fingerprint})

    def certify(self, *options: str, kind: str = "ed25519", file: Path | None = None) -> Certified:
        """A new key, or that in `file`, with a certificate: `options` are ssh-keygen's."""
        self._made += 1
        path = file or self.folder / f"{self.name}-{self._made}"
        if file is None:
            make(path, kind)
        public = path.with_name(path.name + ".pub")
        words = ["ssh-keygen", "-q", "-s", self.folder / self.name, "-I", "an id", *options, public]
        subprocess.run(words, check=True, env={**os.environ, "TZ": "UTC"})
        line = path.with_name(path.name + "-cert.pub").read_text()
        key = asyncssh.read_private_key(path)
        signing = b"rsa-sha2-512" if kind == "rsa" else key.algorithm
        algorithm = signing + b"-cert-v01@openssh.com"
        return Certified(base64.b64decode(line.split()[1]), algorithm, signing, key, path)


def make(path: Path, kind: str) -> None:
    """A new key in `path`."""
    bits = ["-b", "3072"] if kind == "rsa" else []
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *bits, "-N", "", "-f", path], check=True)


def forged(certificate: Certified, old: bytes, new: bytes) -> Certified:
    """The same with other bytes inside, which its authority never signed."""
    assert certificate.blob.count(String(old)) == 1
    blob = certificate.blob.replace(String(old), String(new))
    return Certified(blob, certificate.algorithm, certificate.signing, certificate.key, certificate.file)
