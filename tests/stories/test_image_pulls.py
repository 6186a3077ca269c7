"""Somebody arrives while her image is on its way from a registry: on a terminal, and without one."""

from __future__ import annotations

import os
import secrets
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.stories.conftest import a_house, ended
from tests.support.registry import registry, spoiled
from tests.support.terminal import Terminal

# Pushing the base image packs 250 MB, on the one core that there may be.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SIZE = 3 << 20


def test_a_terminal_watches_and_an_editor_is_told_in_time(base_image: str, tmp_path: Path) -> None:
    served = threading.Event()

    def hold(request: str, body: bytes) -> bytes | None:
        if request.startswith("GET") and "/blobs/" in request and len(body) > SIZE:
            served.wait(120)
        return body

    with registry(tmp_path) as site, spoiled(site, hold) as host:
        house = a_house(base_image, {**os.environ, "DOCKER_CONFIG": str(site.docker_config)})
        ref, digest = f"gpu-gateway-test/{secrets.token_hex(4)}:1", ""
        try:
            (tmp_path / "noise").write_bytes(os.urandom(SIZE + 1))
            container = house.docker("create", base_image, "true")
            house.docker("cp", str(tmp_path / "noise"), f"{container}:/opt/noise")
            digest = house.docker("commit", "--change=ENV WHICH=fetched", container, ref)
            house.docker("rm", container)
            house.admin("image", "add", ref, "--no-check")
            house.admin("image", "push", ref, f"{site.host}/lab/vision", seconds=300)
            house.docker("image", "rm", "-f", digest)
            house.start()
            alice = house.add("alice")
            with house.store() as store:
                # As when the engine lost what people run: nobody is given what it has not.
                image, now = store.image_version(ref), datetime.now(UTC)
                store.pin_image("alice", ref, "test", now)
                store.image_pushed(image, image.registry_digest.replace(site.host, host), "test", now)

            # Answered although the registry holds the layer back until the terminal below has seen the bar.
            editor = alice.ssh("true", options=["-T"])
            assert (editor.returncode, editor.stdout) == (75, b"")
            assert f"The image {ref} is being fetched: ".encode() in editor.stderr
            with Terminal(["ssh", "-F", alice.config, "-tt", "gw"], columns=200) as terminal:
                terminal.wait_for(f"the image {ref} is being fetched\r\n", 60)
                terminal.wait_for(r"\rgpu-gateway: \[-*\]   0% .*\x1b\[K", 60)
                served.set()
                terminal.wait_for(r"\r\n", 60)
                terminal.wait_for(f"alice on {ref}", 60)
                terminal.type("echo $WHICH; exit\r")
                terminal.wait_for("fetched\r\n", 60)
            assert house.docker("image", "inspect", "-f", "{{.Id}}", ref) == digest
            assert b"fetched" in alice.ssh("echo $WHICH").stdout
        finally:
            served.set()
            ended(house)
            # By its id: it has the digest of the registry for a name as well.
            if digest:
                house.docker("image", "rm", "-f", digest)
