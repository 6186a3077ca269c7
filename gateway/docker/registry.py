"""Images to and from a registry, over the engine, which keeps to the digest that it was asked for.

Owns the two transfers, what they leave behind when they fail, which is nothing, and the sentences for that.
Who may use a registry is said by the files of `docker login`, which the SDK reads and hands to the engine: no
secret is in an argument or a log. Must not know who runs an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import docker
import requests
import urllib3

from gateway.docker.client import Client, engine_call, quoted, reason, status
from gateway.errors import Code, PlatformError
from gateway.references import Reference
from gateway.transfers import Tally, Transfer

STALLED_SECONDS = 120.0
"""After so long without a word a transfer is given up; the engine ends one whose caller is gone."""

Told = Callable[[Transfer], None]
"""Hears how far it is, often; what it raises ends the transfer."""


def resolve(reference: Reference, base_url: str | None = None) -> Reference:
    """The same image by its digest, which the registry is asked for. Raises as `fetch` does."""
    if reference.digest:
        return reference
    client = Client(base_url, STALLED_SECONDS, _Bounded)
    try:
        with _transfer(reference, "ask for", STALLED_SECONDS):
            found = client.api().inspect_distribution(str(reference))
            return Reference(reference.repository, digest=str(found["Descriptor"]["digest"]))
    finally:
        client.close()


def fetch(
    reference: Reference,
    told: Told,
    *,
    expected: str | None = None,
    base_url: str | None = None,
    stalled: float = STALLED_SECONDS,
) -> str:
    """Have the engine fetch an image by its digest; its image id, which must be `expected` if that is given.

    Blocking, for minutes. The engine checks every byte against the digest. Raises NOT_FOUND when the registry
    has no such image or does not give it to us, UNAVAILABLE when it is away, silent for `stalled` seconds or
    serves something else than the digest, and when a disk is full; CONFLICT when it is not `expected`. After
    each of them the engine holds what it held before.
    """
    client = Client(base_url, stalled, _Bounded)
    try:
        with _transfer(reference, "fetch", stalled):
            api = client.api()
            held = _id(api, str(reference))
            _follow(api.pull(reference.repository, tag=reference.digest, stream=True, decode=True), told)
            came = str(api.inspect_image(str(reference))["Id"])
            if expected is not None and came != expected and held is None:
                api.remove_image(str(reference), noprune=False)
    finally:
        client.close()
    if expected is not None and came != expected:
        raise PlatformError(
            Code.CONFLICT,
            f"{reference} is the image {came[:19]} and not {expected[:19]}, which was promised; nothing was "
            "changed, so ask who pushed it",
        )
    return came


def push(
    digest: str,
    target: Reference,
    told: Told,
    *,
    base_url: str | None = None,
    stalled: float = STALLED_SECONDS,
) -> Reference:
    """Push the image with this id as `target`, which has a tag: the same by the digest that it has there.

    The tag stays in the engine, beside the image's others, unless it fails. Raises as `fetch` does.
    """
    client = Client(base_url, stalled, _Bounded)
    try:
        with _transfer(target, "push to", stalled):
            api = client.api()
            before = _id(api, str(target))
            api.tag(digest, target.repository, target.tag)
            try:
                pushed = _follow(api.push(target.repository, tag=target.tag, stream=True, decode=True), told)
            except BaseException:
                _put_back(api, target, before)
                raise
            return Reference(target.repository, digest=pushed)
    finally:
        client.close()


def _put_back(api: Any, target: Reference, before: str | None) -> None:
    """Have a tag name what it named before; the first failure is the one to report."""
    with suppress(docker.errors.DockerException, requests.exceptions.RequestException, OSError):
        if before is not None:
            api.tag(before, target.repository, target.tag)
        elif len(api.inspect_image(str(target))["RepoTags"]) > 1:
            # An image's last tag would take the image along.
            api.remove_image(str(target), noprune=True)


def _id(api: Any, ref: str) -> str | None:
    try:
        return str(api.inspect_image(ref)["Id"])
    except docker.errors.NotFound:
        return None


def _follow(stream: Iterator[Any], told: Told) -> str:
    """Read a transfer to its end: the digest that a push tells, else nothing. Raises _Failed."""
    tally, digest = Tally(), ""
    try:
        for line in stream:
            if "error" in line:
                raise _Failed(str(line["error"]))
            digest = (line.get("aux") or {}).get("Digest", digest)
            told(tally.hear(line))
    finally:
        # The engine stops what nobody listens to.
        stream.close()  # type: ignore[attr-defined]
    return digest


class _Bounded(docker.APIClient):  # type: ignore[misc]
    """The SDK (7.2) waits for ever for the next word of a transfer; this waits as long as for all else."""

    def request(self, *words: Any, **options: Any) -> Any:
        """Of requests.Session: every request of the SDK comes by here."""
        return super().request(*words, **{**options, "timeout": options.get("timeout") or self.timeout})


class _Failed(Exception):
    """The engine told in the middle of a transfer that it failed, and why."""


@contextmanager
def _transfer(reference: Reference, doing: str, stalled: float) -> Iterator[None]:
    """Turn what can go wrong between engine and registry into sentences. Told apart by type and status."""
    with engine_call(f"{doing} {reference}"):
        try:
            yield
        except docker.errors.APIError as error:
            raise _fault(reference, reason(error), status(error)) from error
        except _Failed as error:
            raise _fault(reference, str(error), 0) from error
        except (TimeoutError, urllib3.exceptions.ReadTimeoutError, requests.exceptions.ReadTimeout) as error:
            raise PlatformError(
                Code.UNAVAILABLE,
                f"the registry {reference.host} has sent nothing of {reference} for {stalled:.0f} seconds; "
                "nothing was changed, so look at the registry and try again",
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError("the engine hung up") from error


def _fault(reference: Reference, why: str, code: int) -> PlatformError:
    if code in (401, 403, 404):
        return PlatformError(
            Code.NOT_FOUND,
            f"the registry {reference.host} has no {reference}, or not for us ({quoted(why)}); nothing was "
            f"changed, so look at its name, or run as root: docker login {reference.host}",
        )
    return PlatformError(
        Code.UNAVAILABLE,
        f"the transfer of {reference} failed ({quoted(why)}); nothing was changed, so look at the registry "
        f"{reference.host}, or run as root: docker login {reference.host}",
    )
