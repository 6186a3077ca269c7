"""Workspaces as labs have them: datasets by group, certificates and proxies, homes of the site's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import GpuEngine
from tests.stories.conftest import a_house, ended
from tests.support.house import House
from tests.support.nvidia.state import gpus

_SETTINGS = """
[proxy]
https = "http://proxy.example.org:3128"
[mirrors]
pip = "http://pypi.example.org/simple"
[workspace]
ca_bundle = "{site}/ca.pem"
[workspace.env]
HF_HOME = "/scratch/hf"
[[mount]]
source = "{site}/scratch"
target = "/scratch"
mode = "rw"
gid = 5000
[[mount]]
source = "{site}/data"
target = "/data"
groups = ["vision"]
"""


@pytest.fixture
def site() -> Iterator[Path]:
    """What a lab has on its servers: a dataset, scratch space of group 5000, and its own certificates."""
    folder = Path(tempfile.mkdtemp(prefix="site-"))
    folder.chmod(0o755)
    (folder / "data").mkdir()
    (folder / "data" / "set").write_text("numbers\n")
    (folder / "scratch").mkdir()
    os.chown(folder / "scratch", 0, 5000)
    (folder / "scratch").chmod(0o2770)
    (folder / "ca.pem").write_text("of the site\n")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def lab(site: Path, base_image: str) -> Iterator[House]:
    """A running gateway of that lab."""
    house = a_house(base_image, settings=_SETTINGS.format(site=site))
    try:
        house.start()
        yield house
    finally:
        ended(house)


def test_a_lab(lab: House, site: Path) -> None:
    """Who is in a group sees its data; scratch is everybody's to write; the environment is the site's."""
    alice, bob = lab.add("alice"), lab.add("bob")
    lab.admin("group", "add", "vision")
    lab.admin("group", "join", "vision", "alice")
    said = alice.ssh("cat /data/set; touch /data/mine; id -Gn; echo mine > /scratch/alice; env")
    assert said.stdout.startswith(b"numbers\nalice gid5000\n"), said
    assert b"Read-only file system" in said.stderr
    made = (site / "scratch" / "alice").stat()
    assert (made.st_gid, made.st_uid) == (5000, 30001), "made by a program that the runner started"
    env = said.stdout.decode().splitlines()
    for line in (
        "HF_HOME=/scratch/hf",
        "https_proxy=http://proxy.example.org:3128",
        "SSL_CERT_FILE=/opt/gpu-gateway/ca.pem",
    ):
        assert line in env
    told = alice.ssh("python3 -m venv /tmp/venv && /tmp/venv/bin/pip config list").stdout.decode()
    assert ":env:.index-url='http://pypi.example.org/simple'" in told, "pip itself reads it"
    assert alice.ssh("cat $SSL_CERT_FILE").stdout == b"of the site\n"
    assert bob.ssh("ls -d /data; cat /scratch/alice").stdout == b"mine\n"
    # What disappears while the gateway runs keeps her out with a sentence, and leaves no half-made container.
    lab.admin("workspace", "stop", "alice")
    (site / "data").rename(site / "moved")
    refused = alice.ssh("true")
    assert refused.returncode == 75, refused
    assert f"{site}/data".encode() in refused.stderr
    assert len(lab.containers()) == 1
    # At the start of the gateway it is one sentence, too.
    lab.stop()
    command = [sys.executable, "-m", "gateway.main", "serve", "--listen=127.0.0.1:0"]
    failed = subprocess.run(command, env=lab.environment, capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1
    assert failed.stderr.strip().splitlines()[-1] == (
        f"gpu-gateway: The directory {site}/data that is to be shown as /data cannot be seen "
        "(No such file or directory); mount it, or take its [[mount]] out of the config."
    )
    # Nor does it keep an operator from ending what runs.
    lab.admin("workspace", "stop", "bob")
    assert lab.containers() == []


def test_only_listed_devices_are_ours(gpu_engine: GpuEngine, base_image: str) -> None:
    """Two of four GPUs are somebody else's: neither a grant nor a container gets them."""
    ours = [gpu.uuid for gpu in gpus(4)][1:3]
    house = a_house(base_image, gpu_engine.environment, settings=f"[gpus]\nmanage = {json.dumps(ours)}\n")
    try:
        assert sorted(gpu["id"] for gpu in house.listed("gpu", "list")) == sorted(ours), "no gateway runs yet"
        house.start()
        alice = house.add("alice")
        house.admin("quota", "set", "alice", "gpus=4")
        assert "the platform has 2" in house.admin("allocate", "alice", "--gpus", "3", status=1).stderr
        other = gpus(4)[0].uuid
        house.admin("allocate", "alice", "--gpus", "1", "--device", other, status=1)
        house.admin("allocate", "alice", "--gpus", "2")
        assert sorted(gpu["id"] for gpu in house.listed("gpu", "list")) == sorted(ours)
        shown = alice.ssh("nvidia-smi -L; ls /dev | grep -c '^nvidia[0-9]'").stdout.decode()
        assert [each in shown for each in ours] == [True, True]
        assert shown.endswith("\n2\n")
    finally:
        ended(house)
