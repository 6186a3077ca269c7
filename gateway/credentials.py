"""What somebody shows to be let in, and whether it would do.

Owns the decision which key or certificate is whose now, before any signature is looked at, and whether one
that let somebody in still would. Must not check a signature.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from gateway.certificates import PERMITS, Certificate, Trust, is_certificate
from gateway.errors import PlatformError
from gateway.keyoptions import PLAIN, KeyOptions
from gateway.keys import PublicKey
from gateway.users import Account


@dataclass(frozen=True)
class Credential:
    """A key that is good for a user, by itself or by a certificate, or the hash of her password.

    `permits` are of certificates.PERMITS.
    """

    key: bytes
    fingerprint: str
    options: KeyOptions = PLAIN
    permits: tuple[str, ...] = PERMITS
    certificate: Certificate | None = None
    password: str = field(default="", repr=False)


def credential(
    account: Account, trust: Trust, shown: bytes, address: str, now: datetime
) -> Credential | None:
    """What `shown`, a key's blob or a certificate, is for this user from `address` now; None: nothing."""
    try:
        found = _certified(account, trust, shown, now) if is_certificate(shown) else _own(account, shown)
    except PlatformError:
        return None
    if found is None or found.options.refusal(address, now) is not None:
        return None
    return found


def refusal(account: Account, trust: Trust, used: Credential, address: str, now: datetime) -> str | None:
    """Why who came in with `used` may not stay: words for her; None when she may.

    A certificate that has run out since lets her stay, as sshd does: it was made for the login.
    """
    if used.certificate is not None:
        if not trust.believes(used.certificate):
            return "The certificate that you logged in with was revoked."
        return None
    if used.password:
        same = used.password == account.password
        return None if same else "The password that you logged in with was changed."
    if used.key not in account.keys:
        return "The key that you logged in with was removed."
    return account.options.get(used.key, PLAIN).refusal(address, now)


def _own(account: Account, shown: bytes) -> Credential | None:
    fingerprint = account.keys.get(shown)
    if fingerprint is None:
        return None
    return Credential(shown, fingerprint, account.options.get(shown, PLAIN))


def _certified(account: Account, trust: Trust, shown: bytes, now: datetime) -> Credential | None:
    certificate = Certificate.parse(shown)
    if not trust.believes(certificate) or not certificate.lets_in(account.name, now):
        return None
    key = PublicKey.of_blob(certificate.key)
    return Credential(key.blob, key.fingerprint, certificate.options, certificate.permits, certificate)
