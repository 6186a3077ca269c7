"""Does a signature prove who is at the other end of a connection?

Owns the check of a public key signature as RFC 4252 section 7 defines it, over a session id that the
broker itself signed for, and of an authority's signature on a certificate. Must not know who may log in.
Uses asyncssh for keys and packets alone.
"""

from __future__ import annotations

import asyncssh
from asyncssh.packet import PacketDecodeError, SSHPacket
from asyncssh.public_key import decode_ssh_public_key

from gateway.certificates import SUFFIX, Certificate, is_certificate
from gateway.errors import PlatformError
from gateway.keyoptions import PLAIN, KeyOptions

_USERAUTH_REQUEST = 50
_ACCEPTED = frozenset(
    (
        b"ssh-ed25519",
        b"sk-ssh-ed25519@openssh.com",
        b"ecdsa-sha2-nistp256",
        b"ecdsa-sha2-nistp384",
        b"ecdsa-sha2-nistp521",
        b"sk-ecdsa-sha2-nistp256@openssh.com",
        b"rsa-sha2-256",
        b"rsa-sha2-512",
    )
)
"""Signature algorithms. asyncssh would verify more: SHA-1 (RFC 8332), and names of other vendors."""


_VERIFIED = 4
"""Flag of a security key that has seen a PIN or a finger (FIDO2, `UV`; OpenSSH's PROTOCOL.u2f)."""
_COUNTED = 5
"""Bytes behind a security key's signature: the flags, and a counter that sshd does not judge either."""


def proves(
    session_id: bytes,
    user: str,
    key: bytes,
    signed: bytes,
    signature: bytes,
    options: KeyOptions = PLAIN,
) -> bool:
    """Whether `signed` is this session's request of `user` to log in with `key`, and `signature` is over it.

    Every part is checked: the session id, the user name, the service, the method, that the key and the
    signature algorithm named inside are the ones used, what a security key says of the person at it, and
    of a certificate that the authority which it names has signed it.
    Nothing that a hostile worker sends raises.
    """
    try:
        packet = SSHPacket(signed)
        claims = (packet.get_string(), packet.get_byte(), packet.get_string(), packet.get_string())
        method, has_signature = packet.get_string(), packet.get_boolean()
        algorithm, blob = packet.get_string(), packet.get_string()
        packet.check_end()
        named = SSHPacket(signature).get_string()
        certificate = Certificate.parse(key) if is_certificate(key) else None
        public = decode_ssh_public_key(key if certificate is None else certificate.key)
        wanted = (session_id, _USERAUTH_REQUEST, user.encode(), b"ssh-connection")
    except (PacketDecodeError, asyncssh.KeyImportError, PlatformError, ValueError):
        return False
    if certificate is not None and not (_certified(certificate) and algorithm == _of_certificate(named)):
        return False
    if claims != wanted or method != b"publickey" or not has_signature:
        return False
    if blob != key or named not in _ACCEPTED or not session_id:
        return False
    if certificate is None and algorithm != named:
        return False
    public.set_touch_required(options.touch)
    return public.verify(signed, signature) and (not options.verify or _verified(named, signature))


def _of_certificate(algorithm: bytes) -> bytes:
    """A signature algorithm as a request with a certificate names it."""
    return algorithm.removesuffix(b"@openssh.com") + SUFFIX


def _certified(certificate: Certificate) -> bool:
    """Whether the authority that the certificate names has signed it, and not with SHA-1."""
    try:
        named = SSHPacket(certificate.signature).get_string()
        authority = decode_ssh_public_key(certificate.authority)
        return named in _ACCEPTED and authority.verify(certificate.signed, certificate.signature)
    except (PacketDecodeError, asyncssh.KeyImportError, ValueError):
        return False


def _verified(algorithm: bytes, signature: bytes) -> bool:
    return algorithm.startswith(b"sk-") and bool(signature[-_COUNTED] & _VERIFIED)
