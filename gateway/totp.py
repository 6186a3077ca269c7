"""Time-based codes of a second factor (RFC 6238), as authenticator programs show them.

Owns which step of time a code is of, and what a program is given to make them. Must not know whose it is,
which codes were used, nor the clock.
"""

from __future__ import annotations

import hmac
from datetime import datetime

import pyotp

ISSUER = "gpu-gateway"
STEP = 30
"""Seconds that a code is shown for."""
SKEW = 1
"""Steps that her clock may differ from ours, either way."""


def new_secret() -> str:
    """160 random bits in base32, as RFC 4226 section 4 wants them."""
    return pyotp.random_base32()


def uri(secret: str, user: str) -> str:
    """What to type or show as a QR code: `otpauth://totp/...`."""
    return pyotp.TOTP(secret, interval=STEP).provisioning_uri(name=user, issuer_name=ISSUER)


def step_of(secret: str, typed: str, now: datetime) -> int | None:
    """The step of time that a code is of, one that is near enough; None for a wrong code.

    Every step is looked at in any case. Who accepts a code must refuse its step and all before from then on.
    """
    plain = "".join(typed.split()).encode("utf-8", "replace")
    current = int(now.timestamp()) // STEP
    steps = range(current - SKEW, current + SKEW + 1)
    codes = {step: pyotp.TOTP(secret, interval=STEP).generate_otp(step).encode() for step in steps}
    return max((step for step, code in codes.items() if hmac.compare_digest(code, plain)), default=None)
