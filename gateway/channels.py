"""The life of an image version: candidate, stable, deprecated, retired, and what moves it on.

Owns that table. Must not know who runs which version.
"""

from __future__ import annotations

from enum import StrEnum

from gateway.errors import Code, PlatformError


class Channel(StrEnum):
    """CANDIDATE: for whom it is pinned or offered; STABLE: one a name, for all; DEPRECATED: was stable, and
    may be gone back to; RETIRED: nobody may begin to run it.
    """

    CANDIDATE = "candidate"
    STABLE = "stable"
    DEPRECATED = "deprecated"
    RETIRED = "retired"


class Move(StrEnum):
    """What happens to a version; the values are the verbs in sentences."""

    PROMOTE = "promote"
    OFFER = "offer"
    """As a canary: to some of those who have no pin."""
    PIN = "pin"
    REPLACE = "replace"
    """Another version is promoted in its place."""
    TAKE_BACK = "take back"
    RETIRE = "retire"
    RECORD = "record"
    """It is built or added again."""


_C, _S, _D, _R = Channel

MOVES: dict[Channel, dict[Move, Channel]] = {
    _C: {Move.PROMOTE: _S, Move.OFFER: _C, Move.PIN: _C, Move.RETIRE: _R, Move.RECORD: _C},
    _S: {Move.PIN: _S, Move.REPLACE: _D, Move.TAKE_BACK: _C, Move.RECORD: _S},
    _D: {Move.PROMOTE: _S, Move.OFFER: _D, Move.PIN: _D, Move.RETIRE: _R, Move.RECORD: _D},
    _R: {Move.RECORD: _C},
}
"""Where each move leads from where; what is not here is refused."""

_ADVICE = {
    Channel.STABLE: "it is what people without a pin run already; promote another version of it first",
    Channel.RETIRED: "build it again, or add it again, if it is wanted",
}
_LOOK = "see gpuadmin image list"


def moved(ref: str, channel: Channel, move: Move) -> Channel:
    """Where the version `ref` is after `move`. Raises CONFLICT for a move that there is not."""
    after = MOVES[channel].get(move)
    if after is None:
        raise PlatformError(
            Code.CONFLICT, f"{ref} is {channel} and cannot be {_PAST[move]}: {_ADVICE.get(channel, _LOOK)}."
        )
    return after


_PAST = {
    Move.PROMOTE: "promoted",
    Move.OFFER: "offered to some alone",
    Move.PIN: "pinned",
    Move.RETIRE: "retired",
    Move.REPLACE: "replaced",
    Move.TAKE_BACK: "taken back",
    Move.RECORD: "recorded",
}
