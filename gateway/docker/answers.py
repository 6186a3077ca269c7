"""What the engine says of itself, raw: for who judges more of it than a gateway needs.

Owns one look at `GET /version` and `GET /info`. Must not judge them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.docker.client import SHORT_SECONDS, Client, engine_call


def answers(base_url: str | None = None) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The answers to `GET /version` and `GET /info`; None means DOCKER_HOST or the default socket.

    Raises UNAVAILABLE when no engine answers within seconds.
    """
    client = Client(base_url, SHORT_SECONDS)
    try:
        with engine_call("say what it is"):
            api = client.api()
            return api.version(api_version=False), api.info()
    finally:
        client.close()
