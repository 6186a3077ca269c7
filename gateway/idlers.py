"""What the rule of idleness asks of the store.

Owns that contract; store.py has the rest. Every method is one transaction. Must not know SQL, nor the rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.idleness import Idle, Seen, Stretch, Terms

Place = tuple[int, bool]
"""A user's id, and whether GPUs are looked at: what one trace is of."""


@dataclass(frozen=True)
class Patience:
    """How long a user's workspace may be idle with GPUs, and without; None is for ever."""

    gpus: Terms | None
    workspace: Terms | None

    def terms(self, gpus: bool) -> Terms | None:
        """The one or the other."""
        return self.gpus if gpus else self.workspace


class IdleStore(Protocol):
    """The part of the store that remembers who is idle."""

    def patience(self) -> Mapping[int, Patience]:
        """Of every user who is not removed."""

    def contended(self) -> set[int]:
        """The users who hold a GPU for which somebody else waits in the queue."""

    def idle(self) -> Mapping[int, Idle]:
        """Who is seen as idle, by user."""

    def idlers(self) -> Mapping[int, Seen]:
        """The same for people: with what comes when."""

    def set_idle(self, user_id: int, idle: Idle | None, now: datetime) -> None:
        """Where her workspace stands now, with an event; None when it is in use."""

    def hold_off(self, user_id: int, now: datetime) -> Seen | None:
        """Stop what she holds later. None when it is not seen as idle, or its container has stopped.

        Raises CONFLICT when she has done so too often.
        """

    def traces(self) -> Mapping[Place, Sequence[Stretch]]:
        """What was seen, oldest first."""

    def keep_traces(self, more: Mapping[Place, Sequence[Stretch]], now: datetime) -> None:
        """Add to it; what is older than any window goes."""
