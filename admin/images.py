"""`gpuadmin image`: what workspaces can run.

Owns the group and what brings versions into it; who runs which is rolling.py's. Must not know how an image is
built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from admin.building import Order
from admin.building import build as build_order
from admin.call import Call, as_json, pass_call
from admin.checking import check, refuse, tried
from admin.output import field, listing, say
from admin.registry import pull, push
from admin.rolling import pin, promote, prune, retire, rollback
from gateway.channels import Channel
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion
from gateway.rollout import Rollout

COLUMNS = [
    ("NAME", field("name")),
    ("VERSION", field("version")),
    ("FLAVOUR", field("flavour")),
    ("CHANNEL", field("channel")),
    ("DEFAULT", field("default")),
    ("CANARY", field("canary")),
    ("PINNED BY", lambda record: [*record["pinned_by"], *_groups(record["pinned_by_groups"])]),
    ("REF", field("ref")),
    ("DIGEST", lambda record: record["digest"][:19]),
]


@click.group()
def image() -> None:
    """Build, check, add and list workspace images, and choose who runs which version.

    \b
    Example:
      gpuadmin image build pytorch
    """


image.add_command(check)


@image.command("list")
@as_json
@pass_call
def list_(call: Call, as_json: bool) -> None:
    """List image versions, oldest build first, and who runs which.

    \b
    Example:
      gpuadmin image list --json
    """
    plan = call.store.rollout()
    names = {user.id: user.name for user in call.store.users()}
    groups = {group.id: group.name for group in call.store.groups()}
    records = [
        {
            "ref": each.ref,
            "name": each.name,
            "version": each.version,
            "flavour": each.flavour,
            "digest": each.digest,
            "registry_digest": each.registry_digest,
            "channel": each.channel,
            "default": each == plan.default,
            "canary": _canary(plan, each, groups),
            "pinned_by": [names[id_] for id_, pin in plan.own.items() if pin == each and id_ in names],
            "pinned_by_groups": [groups[id_] for id_, pin in plan.groups.items() if pin == each],
        }
        for each in call.store.images()
    ]
    listing(records, COLUMNS, as_json)


@image.command()
@click.argument("name", type=click.Choice(["base", "base-cc", "pytorch"]))
@click.option("--flavour", help="cpu, or a CUDA such as cu128; default: what this machine's GPUs can use.")
@click.option("--version", help="A version of the recipe, such as 2.9.1-cu128 or 2.9.1.")
@click.option("--index-url", metavar="URL", help="Ask this package index too.")
@click.option(
    "--find-links",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, resolve_path=True),
    help="Take wheels from this folder too.",
)
@click.option("--if-absent", is_flag=True, help="Build nothing when this machine has it already.")
@pass_call
def build(
    call: Call,
    name: str,
    flavour: str | None,
    version: str | None,
    index_url: str | None,
    find_links: str | None,
    if_absent: bool,
) -> None:
    """Build an image on this machine's engine.

    The first version of an image is stable at once, and the first image is what people get; a later version
    is a candidate until `gpuadmin image promote`. Packages are fetched by this machine's own pip, with its
    configuration, and checked against the recipe's lock.

    \b
    Example:
      gpuadmin image build pytorch
      gpuadmin image build pytorch --flavour cpu --find-links /srv/wheels
    """
    order = Order(name, flavour, version, index_url, find_links)
    recorded, built = build_order(call, order, if_absent)
    say(f"{'Built' if built else 'Already here:'} {recorded.ref} ({recorded.digest}).{_and_now(recorded)}")


@image.command()
@click.argument("ref")
@click.option(
    "--no-check", "unchecked", is_flag=True, help="Try only that the platform's program starts in it."
)
@pass_call
def add(call: Call, ref: str, unchecked: bool) -> None:
    """Let workspaces run an image that this machine's engine holds already, pulled or loaded.

    It is tried first, as by `gpuadmin image check`, and refused with all that it lacks. It is called as its
    repository, registry.example.org/lab/vision in the example.

    \b
    Example:
      gpuadmin image add registry.example.org/lab/vision:3
      gpuadmin image add registry.example.org/lab/tiny:1 --no-check
    """
    # Imported here: it brings the Docker client, which listing must not pay for.
    from gateway.docker import images

    if ":" not in ref.rpartition("/")[2] or "@" in ref:
        raise PlatformError(Code.INVALID, f"{ref!r} is not NAME:VERSION; write for example lab/vision:3.")
    held = images.find(ref)
    if held is None:
        raise PlatformError(
            Code.NOT_FOUND, f"This machine's engine has no image {ref}; first run: docker pull {ref}"
        )
    if unchecked:
        images.check_runner_starts(ref)
    else:
        refuse(ref, tried(call, held))
    # By its reference alone: an image that was made from one of ours carries that one's labels.
    repository, _, version = ref.rpartition(":")
    name = repository.removeprefix("gpu-gateway/")
    recorded = call.store.add_image(name, version, held.flavour, ref, held.digest, call.actor, call.now)
    say(f"Added {recorded.ref} ({recorded.digest}).{_and_now(recorded)}")


def _and_now(image: ImageVersion) -> str:
    """What is left to do before people get it."""
    if image.channel is not Channel.CANDIDATE:
        return ""
    return f" It is a candidate; give it to people with: gpuadmin image promote {image.ref}"


def _canary(plan: Rollout, image: ImageVersion, groups: Mapping[int, str]) -> str | None:
    """`20%` or `group vision` for a version that is offered to these."""
    canary = plan.canaries.get(image.name)
    if canary is None or canary.image != image:
        return None
    return f"{canary.percent}%" if canary.group is None else _groups([groups[canary.group]])[0]


def _groups(names: Sequence[str]) -> list[str]:
    return [f"group {name}" for name in names]


for each in (pin, promote, rollback, retire, push, pull, prune):
    image.add_command(each)
