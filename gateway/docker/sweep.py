"""Removes everything that an installation made in the engine and in the firewall; people's files stay.

Owns `python -m gateway.docker.sweep --instance HEX`, which ends a gateway's traces when it is taken down.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from gateway.docker import containers, networks
from gateway.docker.client import LONG_SECONDS, Client, engine_call
from gateway.docker.firewall import remove_rules
from gateway.docker.naming import instance_filter, workspace_of
from gateway.errors import PlatformError


def remove_all(instance: str, base_url: str | None = None) -> None:
    """Remove the containers, then the networks, then the firewall's rules of `instance`. Absent is success.

    Raises UNAVAILABLE with the first trouble; the rules stay as long as a container may.
    """
    client = Client(base_url, LONG_SECONDS)
    try:
        with engine_call("speak to us"):
            api = client.api()
        for container in containers.listing(api, instance):
            containers.remove(api, instance, container.workspace_id)
        _remove_networks(api, instance)
    finally:
        client.close()
    remove_rules(instance)


def _remove_networks(api: Any, instance: str) -> None:
    with engine_call("list the networks"):
        found = api.networks(filters=instance_filter(instance))
    for network in found:
        workspace_id = workspace_of(network.get("Labels") or {}, instance)
        if workspace_id is not None:
            networks.remove_network(api, workspace_id, instance)


def main() -> int:
    """Sweep the named instance; 75 and one sentence when the engine or the firewall is in the way."""
    parser = argparse.ArgumentParser(prog="gateway.docker.sweep", description=__doc__)
    parser.add_argument("--instance", required=True, help="the installation's four hex digits")
    try:
        remove_all(parser.parse_args().instance)
    except PlatformError as error:
        sys.stderr.write(f"{error.message}\n")
        return 75
    return 0


if __name__ == "__main__":
    sys.exit(main())
