"""`gpuadmin image`: what workspaces run.

Owns the command lines, and who is asked whether an image can run here. Must not know how one is built.
"""

from __future__ import annotations

import click

from admin.building import Order
from admin.building import build as build_order
from admin.call import Call, as_json, pass_call
from admin.output import field, listing, say
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion, driver_fault
from gateway.names import parse_user_name

INHERIT = "inherit"

COLUMNS = [
    ("NAME", field("name")),
    ("VERSION", field("version")),
    ("FLAVOUR", field("flavour")),
    ("CHANNEL", field("channel")),
    ("DEFAULT", field("default")),
    ("PINNED BY", field("pinned_by")),
    ("REF", field("ref")),
    ("DIGEST", lambda record: record["digest"][:19]),
]


@click.group()
def image() -> None:
    """Build, add, list and pin workspace images.

    \b
    Example:
      gpuadmin image build pytorch
    """


@image.command("list")
@as_json
@pass_call
def list_(call: Call, as_json: bool) -> None:
    """List image versions, oldest build first, and who runs which.

    \b
    Example:
      gpuadmin image list --json
    """
    default = call.store.default_image()
    pins = call.store.pins()
    names = {user.id: user.name for user in call.store.users()}
    records = [
        {
            "ref": each.ref,
            "name": each.name,
            "version": each.version,
            "flavour": each.flavour,
            "digest": each.digest,
            "registry_digest": each.registry_digest,
            "channel": each.channel,
            "default": each == default,
            "pinned_by": [names[id_] for id_, pin in pins.items() if pin == each and id_ in names],
        }
        for each in call.store.images()
    ]
    listing(records, COLUMNS, as_json)


@image.command()
@click.argument("name", type=click.Choice(["base", "pytorch"]))
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
    """Build an image on this machine's engine; workspaces run it from their next start on.

    The first image built is what people get; choose another with `gpuadmin image pin --default`. Packages
    are fetched by this machine's own pip, with its configuration, and checked against the recipe's lock.

    \b
    Example:
      gpuadmin image build pytorch
      gpuadmin image build pytorch --flavour cpu --find-links /srv/wheels
    """
    order = Order(name, flavour, version, index_url, find_links)
    recorded, built = build_order(call, order, if_absent)
    say(f"{'Built' if built else 'Already here:'} {recorded.ref} ({recorded.digest}).")


@image.command()
@click.argument("ref")
@pass_call
def add(call: Call, ref: str) -> None:
    """Let workspaces run an image that this machine's engine holds already, pulled or loaded.

    It is called as its repository, registry.example.org/lab/vision in the example.

    \b
    Example:
      gpuadmin image add registry.example.org/lab/vision:3
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
    images.check_runner_starts(ref)
    # By its reference alone: an image that was made from one of ours carries that one's labels.
    repository, _, version = ref.rpartition(":")
    name = repository.removeprefix("gpu-gateway/")
    recorded = call.store.add_image(name, version, held.flavour, ref, held.digest, call.actor, call.now)
    say(f"Added {recorded.ref} ({recorded.digest}).")


@image.command()
@click.argument("words", nargs=-1, metavar="[USER] REF")
@click.option("--default", "everybody", is_flag=True, help="For everybody who has no pin of her own.")
@pass_call
def pin(call: Call, words: tuple[str, ...], everybody: bool) -> None:
    """Choose the image version of a user's workspace, or with --default of all that have no pin.

    It applies at the next login when nothing of hers runs, or by `gpuadmin workspace recreate`. With
    --default REF may be an image's name, for always the newest of it; a user's REF "inherit" ends her pin.

    \b
    Example:
      gpuadmin image pin alice gpu-gateway/pytorch:2.9.1-cu128
      gpuadmin image pin --default pytorch
      gpuadmin image pin alice inherit
    """
    if len(words) != 2 - everybody:
        raise PlatformError(
            Code.INVALID, "Say whose image and which: USER REF, or --default REF; see `gpuadmin image list`."
        )
    ref = words[-1]
    if everybody:
        _check_driver(call, _default_of(call, ref), _ids_without_pin(call))
        call.store.pin_default(ref, call.actor, call.now)
        say(f"Workspaces without a pin run {ref} from their next start on.")
        return
    user = call.store.user(parse_user_name(words[0]))
    if ref == INHERIT:
        call.store.pin_image(user.name, None, call.actor, call.now)
        say(f"The workspace of {user.name} has no pin any more.")
        return
    _check_driver(call, call.store.image_version(ref), {user.id})
    call.store.pin_image(user.name, ref, call.actor, call.now)
    say(f"The workspace of {user.name} runs {ref} from its next start on.")


def _default_of(call: Call, ref: str) -> ImageVersion:
    """The version that `ref` of --default means now. Raises NOT_FOUND."""
    return call.store.newest_image(ref) or call.store.image_version(ref)


def _ids_without_pin(call: Call) -> set[int]:
    return {user.id for user in call.store.users()} - set(call.store.pins())


def _check_driver(call: Call, image: ImageVersion, users: set[int]) -> None:
    """Raise NOT_FOUND for an image that the engine lost, CONFLICT when one of `users` could not use GPUs."""
    # Imported here: it brings the Docker client, which listing must not pay for.
    from gateway.docker import images

    held = images.find(image.digest)
    if held is None:
        raise PlatformError(
            Code.NOT_FOUND, f"This machine's engine has {image.ref} no more; build or pull it again."
        )
    live = {lease.user_id for lease in call.store.held_leases() if lease.live}
    if held.min_driver and live & users:
        # Imported here: it loads the driver's library, which most commands do not need.
        from gateway.nvml import NvmlProbe

        fault = driver_fault(image.ref, held.min_driver, NvmlProbe().driver_version())
        if fault is not None:
            raise PlatformError(Code.CONFLICT, fault)
