"""`gpuadmin image push` and `pull`: versions to a registry, and from it to this machine.

Owns the command lines, what is recorded of a transfer, and how it is followed. Must not know the engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from admin.call import Call, pass_call
from admin.output import progress, say
from admin.rolling import with_reason
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion
from gateway.references import Reference, parse_repository
from gateway.transfers import Transfer, bar, words

_TELL_EVERY = 5.0


@click.command()
@click.argument("ref")
@click.argument("target", metavar="HOST/NAME")
@with_reason
@pass_call
def push(call: Call, ref: str, target: str, reason: str) -> None:
    """Push a version to a registry, from where it can be fetched by its digest from then on.

    Its tag there is its version. A password is taken from root's `docker login`, never from a command line.

    \b
    Example:
      gpuadmin image push gpu-gateway/pytorch:2.9.1-cu128 registry.example.org/gpu/pytorch
    """
    # Imported here: it brings the Docker client, which listing must not pay for.
    from gateway.docker import images, registry

    image, place = call.store.image_version(ref), parse_repository(target)
    if images.find(image.digest) is None:
        raise PlatformError(
            Code.NOT_FOUND, f"This machine's engine has {image.ref} no more; build or pull it again."
        )
    tagged = Reference(place.repository, tag=image.version)
    pushed = registry.push(image.digest, tagged, follower(f"pushing {tagged}"))
    call.store.image_pushed(image, str(pushed), call.actor, call.now, reason)
    say(f"Pushed {image.ref} as {pushed}.")


@click.command()
@click.argument("ref")
@click.option("--name", metavar="NAME", help="What to call the image; default: its name in the registry.")
@with_reason
@pass_call
def pull(call: Call, ref: str, name: str | None, reason: str) -> None:
    """Fetch a version from a registry, apart from anybody's login; nobody runs it before it is promoted.

    REF is HOST/NAME with a tag or a digest, or a version of the list that was pushed once. A tag is resolved
    to its digest first, which is what is fetched, checked and recorded; a new version is a candidate. A
    password is taken from root's `docker login`.

    \b
    Example:
      gpuadmin image pull registry.example.org/gpu/pytorch:2.9.1-cu128
      gpuadmin image pull gpu-gateway/pytorch:2.9.1-cu128
    """
    known = next((each for each in reversed(call.store.images()) if each.ref == ref), None)
    if known is not None and known.registry_digest is not None:
        fetch_again(known, follower(f"fetching {known.ref}"))
        say(f"Fetched {known.ref} ({known.digest}).")
        return
    asked = Reference.parse(ref)
    if asked is None or not (asked.tag or asked.digest):
        raise PlatformError(
            Code.INVALID,
            f"{ref!r} is neither a version that was pushed once nor HOST/NAME with a tag or a digest; "
            "see gpuadmin image list.",
        )
    recorded = _fetch_new(call, asked, name, reason)
    say(f"Fetched {recorded.ref} ({recorded.digest}), a {recorded.channel} version of {recorded.name}.")


def fetch_again(image: ImageVersion, told: Callable[[Transfer], None]) -> None:
    """Have the engine hold a recorded version again, under its name when that names nothing else.

    Raises what registry.fetch does.
    """
    # Imported here: see `push`.
    from gateway.docker import keeping, registry

    place = Reference.parse(image.registry_digest or "")
    assert place is not None
    registry.fetch(place, told, expected=image.digest)
    keeping.name(image.digest, image.ref)


def _fetch_new(call: Call, asked: Reference, name: str | None, reason: str) -> ImageVersion:
    # Imported here: see `push`.
    from gateway.docker import images, keeping, registry

    place = registry.resolve(asked)
    digest = registry.fetch(place, follower(f"fetching {asked}"))
    try:
        images.check_runner_starts(digest)
    except PlatformError:
        if all(each.digest != digest for each in call.store.images()):
            keeping.remove(digest, ())
        raise
    found = images.find(digest)
    assert found is not None
    # By what was asked for alone: an image that was made from one of ours carries that one's labels.
    version = asked.tag or place.digest.removeprefix("sha256:")[:12]
    ref = f"{asked.repository}:{version}"
    keeping.name(digest, ref)
    called = name or asked.repository.rpartition("/")[2]
    return call.store.add_image(
        called,
        version,
        found.flavour,
        ref,
        digest,
        call.actor,
        call.now,
        registry_digest=str(place),
        reason=reason,
    )


def follower(doing: str) -> Callable[[Transfer], None]:
    """Tells on stderr how far a transfer is, every five seconds."""
    begun = told = time.monotonic()

    def follow(transfer: Transfer) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _TELL_EVERY:
            told = now
            progress(f"{doing}: {bar(transfer)} {words(transfer, now - begun)}")

    return follow
