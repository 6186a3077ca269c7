"""What a worker asked of a runner, and what the runner may say about it.

Owns the states of one id. Must not know sockets or futures.

    STARTING --Started--> RUNNING --Exited--> (forgotten)
        `-----Failed----> (forgotten)
    DIALLING --Taken----> TAKEN --Dialed or Refused--> (forgotten)
    ASKING --Listening--> LISTENING --(we unlisten)--> ENDING --Unlistened--> (forgotten)
       `----Refused-----> (forgotten)

While STARTING or DIALLING, descriptors are on their way. LISTENING and ENDING take any number of `Arrived`,
and an `Accept` is as a dial.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from gateway.runner.listening import Arrived, Listening, Unlistened
from gateway.runner.protocol import (
    Dialed,
    Exited,
    Failed,
    Message,
    ProtocolError,
    Refused,
    Started,
    Taken,
)


class State(Enum):
    """Where one id stands."""

    STARTING = "starting"
    RUNNING = "running"
    DIALLING = "dialling"
    TAKEN = "taken"
    ASKING = "asking"
    LISTENING = "listening"
    ENDING = "ending"


_NEXT: dict[tuple[State | None, type[Any]], State | None] = {
    (State.STARTING, Started): State.RUNNING,
    (State.STARTING, Failed): None,
    (State.RUNNING, Exited): None,
    (State.DIALLING, Taken): State.TAKEN,
    (State.TAKEN, Dialed): None,
    (State.TAKEN, Refused): None,
    (State.ASKING, Listening): State.LISTENING,
    (State.ASKING, Refused): None,
    (State.LISTENING, Arrived): State.LISTENING,
    (State.ENDING, Arrived): State.ENDING,
    (State.ENDING, Unlistened): None,
}


def after(state: State | None, message: Message) -> State | None:
    """The state that `message` leads to; None for an id that is finished, or was never there.

    Raises ProtocolError for a message that nobody waits for.
    """
    key = (state, type(message))
    if key not in _NEXT:
        raise ProtocolError(f"{type(message).__name__} was not asked for")
    return _NEXT[key]
