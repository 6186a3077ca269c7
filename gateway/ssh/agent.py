"""A person's ssh-agent, for her programs inside the container.

Owns the one socket of a connection, where sshd would have it: in a directory of its own under /tmp, made by
the first session that asks and there until the connection ends. Never on the gateway. Must not know keys:
the bytes are between her programs and her agent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from asyncssh.channel import SSHAgentChannel

from gateway.journal import explain
from gateway.ports import Arrival, Listener, Progress
from gateway.ssh.channels import Bounded
from gateway.ssh.forward import Forward
from gateway.ssh.forwarding import Forwarding

_KEY = "agent"


class AgentChannel(Bounded, SSHAgentChannel):
    """One caller of the socket."""


class Agent:
    """The forwarded agent of one connection."""

    def __init__(self, connection: Forwarding) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()

    @property
    def variables(self) -> dict[str, str]:
        """What programs started from now on are told; nothing while there is no socket."""
        listener = self._connection.listeners.find(_KEY)
        return {} if listener is None else {"SSH_AUTH_SOCK": listener.path}

    async def forward(self, progress: Progress) -> bool:
        """Make the socket, if there is none. False when that fails or is not permitted."""
        connection = self._connection
        if not connection.check_certificate_permission("agent-forwarding"):
            return False
        async with self._lock:
            if connection.listeners.find(_KEY) is None:
                try:
                    await connection.listeners.listen(
                        "agent",
                        lambda runner, arrived: runner.listen_private(arrived),
                        self._reach,
                        lambda made: _KEY,
                        progress,
                    )
                except Exception as error:
                    progress(explain(error).message)
                    return False
            return True

    def _reach(self, make: Callable[[], Forward], arrival: Arrival, made: Listener) -> Awaitable[object]:
        return self._connection.channel(AgentChannel).open(make)
