"""What a runner's no means to a person.

Owns the sentences and their codes. Must not know who asked, or how a no arrives.
"""

from __future__ import annotations

from gateway.errors import Code, PlatformError
from gateway.runner.protocol import Failed, Refused

_FAILED = {
    **dict.fromkeys(("ENOENT", "EACCES", "ENOTDIR", "ENOEXEC"), Code.NOT_FOUND),
    **dict.fromkeys(("EAGAIN", "ENOMEM", "EMFILE", "ENOSPC"), Code.NO_CAPACITY),
    "E2BIG": Code.INVALID,
}
_NOT_DIALLED = {
    "denied": (Code.DENIED, "The container may not connect there; choose another destination."),
    "connect_failed": (Code.UNAVAILABLE, "open failed"),
    "resource": (Code.NO_CAPACITY, "The container has no sockets or processes left; close some connections."),
    "in_use": (Code.UNAVAILABLE, "The container cannot connect there; choose another destination."),
    # sshd's own words, which people and editors look for.
    "refused": (Code.UNAVAILABLE, "Connection refused"),
    "no_route": (Code.UNAVAILABLE, "No route to host"),
    "timed_out": (Code.UNAVAILABLE, "Connection timed out"),
    "unknown_name": (Code.UNAVAILABLE, "Name or service not known"),
}
_NOT_LISTENING = _NOT_DIALLED | {
    "denied": (Code.DENIED, "The container may not listen there; choose another port or path."),
    "connect_failed": (Code.UNAVAILABLE, "The container has no such directory; choose another path."),
    "in_use": (Code.CONFLICT, "Something listens there already; choose another port or path."),
}


def gone() -> PlatformError:
    """The answer to whoever waits for a runner that is not there."""
    return PlatformError(Code.UNAVAILABLE, "Your container stopped answering; connect again.")


def failure(message: Failed | Refused, listening: bool) -> PlatformError:
    """What the runner's no means to the person who asked; `listening` tells a listener from a connection."""
    if isinstance(message, Refused):
        return PlatformError(*(_NOT_LISTENING if listening else _NOT_DIALLED)[message.reason])
    text = "".join(mark if mark.isprintable() else "?" for mark in message.message)
    sentence = f"The program did not start in your container ({text}); check its image and its limits."
    return PlatformError(_FAILED.get(message.error, Code.INTERNAL), sentence)
