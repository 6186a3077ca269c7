"""The connection while its client logs in: what she shows is taken to the broker, whose verdict she hears.

Owns the worker's judgement of a key, which is only for speed and good manners. No callback suspends
between reading a request and deciding on it; what waits is the answer, for the broker's verdict on the
evidence of exactly that request. Must not know channels.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Sequence
from hashlib import sha256

import asyncssh
from asyncssh.misc import ProtocolError
from asyncssh.packet import String
from asyncssh.public_key import decode_ssh_public_key

from gateway import proofs, verbs
from gateway.certificates import Certificate, is_certificate
from gateway.errors import Code, PlatformError
from gateway.ssh.entry import Entry
from gateway.ssh.transport import Transport

MOST_TRIES = 20
"""Failed requests a connection, probes of keys included: an agent may hold many before the right one."""

LONGEST_CODE = 256
LONGEST_OFFERED = 2048
"""Bytes of a key; one of RSA with 8192 bits has half of that."""
ENROLMENT = "No key that you offered is known here. A one-time code of your operator's registers one."

Challenge = tuple[str, str, str, Sequence[tuple[str, bool]]]
Keys = Callable[[str], frozenset[bytes]]
Authorities = Callable[[], frozenset[bytes]]


class Login(Transport):
    """A connection that lets nobody in but with the broker's ticket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: asyncssh.SSHServerConnectionOptions,
        id_: str,
        entry: Entry,
        keys: Keys,
        authorities: Authorities,
    ) -> None:
        super().__init__(loop, options)
        self.id = id_
        self.entry = entry
        self._keys = keys
        self._authorities = authorities
        self._evidence: proofs.Evidence | proofs.Code | proofs.Password | None = None
        self._offered: list[bytes] = []
        self._code_of: str | None = None
        self._tries = 0

    @abstractmethod
    def end(self, reason: str, session: str | None = None) -> None:
        """End this connection and say why."""

    async def validate_public_key(self, username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        """Whether this key may be tried, or with a signature, whether it holds. Never suspends."""
        known = self._known(username, key_data)
        if known is None or not msg:
            return known is not None
        signed = String(self._session_id) + msg
        # Whether a security key must be touched is an option of the key's, which only the broker knows.
        if not decode_ssh_public_key(known).verify(signed, signature):
            return False
        self._evidence = proofs.Evidence(self.id, username, key_data, signed, signature)
        return True

    def _known(self, user: str, shown: bytes) -> bytes | None:
        """The blob of the key that a signature has to be of, when `shown` may let this user in."""
        if not is_certificate(shown):
            if sha256(shown).digest() in self._keys(user):
                return shown
            if len(self._offered) < verbs.MOST_OFFERED and len(shown) <= LONGEST_OFFERED:
                self._offered.append(shown)
            return None
        try:
            certificate = Certificate.parse(shown)
        except PlatformError:
            return None
        trusted = sha256(certificate.authority).digest() in self._authorities()
        return certificate.key if trusted and user in certificate.principals else None

    def send_userauth_failure(self, partial_success: bool) -> None:
        """Refuse one request; too many end the connection."""
        self._tries += 1
        if self._tries > MOST_TRIES:
            raise ProtocolError("Too many authentication failures")
        super().send_userauth_failure(partial_success)

    async def send_userauth_success(self) -> None:
        """Answer a request that looks right as the broker judges it.

        A request that comes before the answer to the last one ends the connection: its verdict could
        be taken for the other's. No client that is known does so.
        """
        evidence, self._evidence = self._evidence, None
        if evidence is None or evidence.user != self._username:
            self.abort()
            return
        try:
            permits = await self.entry.authenticated(evidence)
        except asyncio.CancelledError:
            self.abort()
            raise
        except PlatformError as error:
            if error.code is Code.DENIED:
                self.send_userauth_failure(False)
            else:
                self.end(error.message)
            return
        if permits is None:
            self._code_of = evidence.user
            self.send_userauth_failure(True)
            return
        # asyncssh asks these before it opens a terminal or a forward.
        self._cert_options = {f"permit-{name}": True for name in permits}
        if self._transport is not None:
            await super().send_userauth_success()

    @property
    def _verifying(self) -> bool:
        """Whether her key is proven and a verification code is all that is wanted."""
        return self._code_of is not None and self._code_of == self._username

    def public_key_auth_supported(self) -> bool:
        """For every name alike, until a key was proven."""
        return not self._verifying

    def kbdint_auth_supported(self) -> bool:
        """For every name alike, so that nobody can tell who has a code to type."""
        return True

    def password_auth_supported(self) -> bool:
        """For every name alike, where the config says so."""
        return self.entry.passwords and not self._verifying

    async def validate_password(self, username: str, password: str) -> bool:
        """Take the password to the broker. Never suspends."""
        if len(password) > LONGEST_CODE:
            return False
        self._evidence = proofs.Password(self.id, username, password)
        return True

    async def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Challenge:
        """The question, which is the same for every name of which no key is proven."""
        if self._verifying:
            return "", "", "", (("Verification code: ", False),)
        asked = "Password or one-time code: " if self.entry.passwords else "One-time code: "
        return "", ENROLMENT, "", ((asked, False),)

    async def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> bool:
        """Take the answer to the broker. Never suspends."""
        if len(responses) != 1 or len(responses[0]) > LONGEST_CODE:
            return False
        self._evidence = proofs.Code(self.id, username, responses[0], tuple(self._offered))
        return True
