"""One connection to the engine, and its troubles in the product's words.

Owns time limits and the translation of the SDK's exceptions. Must not know what is asked of the engine.
Errors are told apart by type and HTTP status, never by their text, which is only quoted.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
import requests

from gateway.errors import Code, PlatformError

SHORT_SECONDS = 8.0
LONG_SECONDS = 120.0
_QUOTED = 400


class Client:
    """An engine client made when it is first needed, so that a broker starts while the engine is away.

    `seconds` bounds connecting and each wait for bytes. Safe to use from several threads. `make` is the SDK's
    class, or one made from it.
    """

    def __init__(self, base_url: str | None, seconds: float, make: type[Any] = docker.APIClient) -> None:
        self._base_url = base_url
        self._seconds = seconds
        self._make = make
        self._lock = threading.Lock()
        self._api: Any = None

    def api(self) -> Any:
        """The SDK's low-level client, its API version agreed with the engine. Raises the SDK's exceptions.

        Agreed anew with an engine that was upgraded: a new one refuses versions that the old one spoke.
        """
        address = {"base_url": self._base_url} if self._base_url else docker.utils.kwargs_from_env()
        offered = _knock(address.get("base_url", docker.constants.DEFAULT_UNIX_SOCKET), self._seconds)
        known = self._api
        if known is not None and offered in (None, known.api_version):
            return known
        self._drop(known)
        # Not under the lock: behind a silent engine each caller waits its own time, not everyone's in turn.
        made = self._make(**address, version="auto", timeout=self._seconds, max_pool_size=20)
        with self._lock:
            if self._api is None:
                self._api = made
            else:
                made.close()
            return self._api

    def close(self) -> None:
        """Drop the connections; a later call makes new ones."""
        self._drop(self._api)

    def _drop(self, known: Any) -> None:
        with self._lock:
            if known is not None and known is self._api:
                self._api.close()
                self._api = None


def _knock(address: str, seconds: float) -> str | None:
    """The API version that the engine on a unix socket offers now; None when it does not say, or is remote.

    Raises OSError at once when nothing listens there: the SDK (7.2) finds out too, but leaves its own socket
    open every time. Source: Docker Engine API, `GET /_ping`.
    """
    if not address.startswith(("unix:", "http+unix:")):
        return None
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(seconds)
        line.connect("/" + address.partition(":")[2].lstrip("/"))
        connection = http.client.HTTPConnection("localhost")
        connection.sock = line
        try:
            connection.request("GET", "/_ping")
            return connection.getresponse().getheader("Api-Version")
        except http.client.HTTPException as error:
            raise ConnectionError("what answers does not speak HTTP") from error


@contextmanager
def engine_call(doing: str) -> Iterator[None]:
    """Turn what the SDK raises inside into PlatformError(UNAVAILABLE); `doing` ends "refused to ...".

    Callers that have an answer for a status (404: absent) catch APIError before it gets here.
    """
    try:
        yield
    except docker.errors.APIError as error:
        raise refused(doing, reason(error)) from error
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        raise unanswered() from error


def unanswered() -> PlatformError:
    """The error for an engine that is away, or too slow."""
    return PlatformError(
        Code.UNAVAILABLE,
        "the container engine does not answer; ask your operator to look at the Docker service",
    )


def refused(doing: str, why: str) -> PlatformError:
    """The error for an engine that answered, but not with what was asked; `why` is quoted on one line."""
    return PlatformError(
        Code.UNAVAILABLE,
        f"the container engine refused to {doing} ({quoted(why)}); ask your operator to look at it",
    )


def reason(error: docker.errors.APIError) -> str:
    """The engine's own sentence, or the HTTP status when it gave none."""
    return str(error.explanation or f"HTTP status {status(error)}")


def status(error: docker.errors.APIError) -> int:
    """The HTTP status of an engine's error; 0 when it broke off before one."""
    return int(error.status_code or 0)


def quoted(text: str) -> str:
    """Foreign text as one bounded line of printable ASCII: an engine quotes what containers wrote."""
    line = " ".join(text.split())
    safe = "".join(
        character if 0x20 <= ord(character) < 0x7F else character.encode("unicode_escape").decode("ascii")
        for character in line
    )
    return safe if len(safe) <= _QUOTED else safe[:_QUOTED] + " ..."
