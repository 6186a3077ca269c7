"""`gpuadmin image`: what workspaces run.

Owns the command lines. Must not know how an image is built.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

import gateway
from admin.call import Call, as_json, pass_call
from admin.output import field, listing, progress, say

COLUMNS = [
    ("NAME", field("name")),
    ("VERSION", field("version")),
    ("FLAVOUR", field("flavour")),
    ("CHANNEL", field("channel")),
    ("REF", field("ref")),
    ("DIGEST", lambda record: record["digest"][:19]),
]


@click.group()
def image() -> None:
    """Build and list workspace images.

    \b
    Example:
      gpuadmin image build base
    """


@image.command("list")
@as_json
@pass_call
def list_(call: Call, as_json: bool) -> None:
    """List image versions, oldest build first; workspaces run the last one of their image.

    \b
    Example:
      gpuadmin image list --json
    """
    records = [
        {
            "ref": each.ref,
            "name": each.name,
            "version": each.version,
            "flavour": each.flavour,
            "digest": each.digest,
            "registry_digest": each.registry_digest,
            "channel": each.channel,
        }
        for each in call.store.images()
    ]
    listing(records, COLUMNS, as_json)


@image.command()
@click.argument("name", type=click.Choice(["base"]))
@pass_call
def build(call: Call, name: str) -> None:
    """Build an image on this machine's engine; workspaces run it from their next start on.

    \b
    Example:
      gpuadmin image build base
    """
    # Imported here: it brings the Docker client, which listing must not pay for.
    from gateway.docker import images

    version = f"{call.now:%Y%m%d.%H%M}"
    built = images.build(name, f"gpu-gateway/{name}:{version}", _recipe(name), os.environ, progress)
    recorded = call.store.add_image(
        name, built.version, built.flavour, built.ref, built.digest, call.actor, call.now
    )
    say(f"Built {recorded.ref} ({recorded.digest}).")


def _recipe(name: str) -> Path:
    """The folder of an image's recipe, which stands beside the packages in a checkout."""
    return Path(gateway.__file__).parent.parent / "images" / name
