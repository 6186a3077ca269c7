"""The one error type that may reach a person, and the codes that programs read.

Owns what can go wrong, in the product's words. Must not know exit statuses, SSH or HTTP: each outer
floor maps a code to its own words and status, once.
"""

from __future__ import annotations

from enum import Enum


class Code(Enum):
    """Why a request was not met; the message beside it is for people."""

    NOT_FOUND = "not_found"
    INVALID = "invalid"
    CONFLICT = "conflict"
    DENIED = "denied"
    QUOTA_EXCEEDED = "quota_exceeded"
    NO_CAPACITY = "no_capacity"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class PlatformError(Exception):
    """One sentence that says what is wrong and what to do, with the code that programs read.

    `fact` is the sentence without `advice`, which is what an operator can do: for whoever is none.
    """

    def __init__(self, code: Code, fact: str, advice: str = "") -> None:
        self.code = code
        self.fact = fact
        self.message = f"{fact}; {advice}" if advice else fact
        super().__init__(self.message)
