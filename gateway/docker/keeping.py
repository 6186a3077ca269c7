"""What an image is called in the engine, who runs it, and its removal: never by force.

Owns which of an image's names are ours to take away. Must not know why an image is not wanted any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import docker

from gateway.docker.client import LONG_SECONDS, SHORT_SECONDS, Client, engine_call, quoted, reason, status


def name(digest: str, ref: str, base_url: str | None = None) -> None:
    """Call the image so unless another is. Raises UNAVAILABLE when the engine does not answer."""
    client = Client(base_url, SHORT_SECONDS)
    try:
        with engine_call("name an image"):
            api = client.api()
            try:
                api.inspect_image(ref)
            except docker.errors.NotFound:
                repository, _, tag = ref.rpartition(":")
                api.tag(digest, repository, tag)
    finally:
        client.close()


def run_images(base_url: str | None = None) -> set[str]:
    """The ids of the images that containers are made from, whoever's, running or not. Raises UNAVAILABLE."""
    client = Client(base_url, SHORT_SECONDS)
    try:
        with engine_call("list the containers"):
            return {str(row["ImageID"]) for row in client.api().containers(all=True)}
    finally:
        client.close()


def remove(digest: str, ours: Collection[str], base_url: str | None = None) -> str | None:
    """Take these names away from the image, and with its last one the image: why it is still there, or None.

    One that somebody calls by another name stays, and so does one that a container or another image is made
    from. Absent is success. Raises UNAVAILABLE when the engine does not answer.
    """
    client = Client(base_url, LONG_SECONDS)
    try:
        with engine_call("remove an image"):
            api = client.api()
            try:
                found = api.inspect_image(digest)
            except docker.errors.NotFound:
                return None
            names = found["RepoTags"] or []
            others = sorted(set(names) - set(ours))
            return f"it is also called {quoted(others[0])}" if others else _remove(api, digest, names, found)
    finally:
        client.close()


def _remove(api: Any, digest: str, names: Sequence[str], found: Mapping[str, Any]) -> str | None:
    """By its id in the end: then the engine looks first whether anything needs it."""
    try:
        # It would not remove by its id what has names in two repositories.
        for each in [*(found["RepoDigests"] or ()), *names[1:]]:
            with suppress(docker.errors.NotFound):
                api.remove_image(each, noprune=True)
        with suppress(docker.errors.NotFound):
            api.remove_image(digest)
    except docker.errors.APIError as error:
        if status(error) != 409:
            raise
        for each in names[1:]:
            repository, _, tag = each.rpartition(":")
            api.tag(digest, repository, tag)
        return quoted(reason(error))
    return None
