"""The gateway within the bounds of its systemd unit: capabilities, no new privileges, a read-only system."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.stories.conftest import a_house, ended
from tests.support.house import House, wait_for

UNIT = (ROOT / "deploy" / "gpu-gateway.service").read_text()

# What ProtectSystem=strict, ReadWritePaths and PrivateTmp do, where the first process is not systemd.
# This house lies in /tmp, so the private one is /var/tmp.
READ_ONLY = """\
set -e
mount --bind "$1" "$1"
mount --bind /run /run
mount -t tmpfs none /var/tmp
mount -o remount,bind,ro /
shift
exec "$@"
"""


@pytest.fixture
def house(base_image: str) -> Iterator[House]:
    """A started gateway that has what the unit leaves it."""
    kept = re.findall(r"^CapabilityBoundingSet=(.*)$", UNIT, re.MULTILINE)[0].split()
    bounds = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in kept)])
    house = a_house(base_image)
    house.launcher = (
        *("unshare", "--mount", "--", "sh", "-c", READ_ONLY, "sh", str(house.folder)),
        *("setpriv", "--no-new-privs", f"--bounding-set={bounds}", "--inh-caps=-all", "--"),
    )
    try:
        house.start()
        yield house
    finally:
        ended(house)


def test_a_day_within_the_bounds_of_the_unit(house: House) -> None:
    """Log in, be granted nothing one has not, make anew, remove with the files: nothing needs more."""
    assert house.process is not None
    broker = Path(f"/proc/{house.process.pid}")
    status = dict(line.split(":\t") for line in (broker / "status").read_text().splitlines() if ":\t" in line)
    assert status["NoNewPrivs"].strip() == "1"
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) != 0
    assert not int(status["CapEff"], 16) >> 21 & 1, "CAP_SYS_ADMIN"
    root = next(line for line in (broker / "mountinfo").read_text().splitlines() if line.split()[4] == "/")
    assert root.split()[5].startswith("ro")
    alice = house.add("alice")
    assert alice.ssh("echo kept > mine; id -u").stdout.strip().isdigit()
    for pid in house.workers_pids():
        capabilities = re.findall(r"^CapEff:\t(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        assert int(capabilities[0], 16) == 0
    house.admin("workspace", "recreate", "alice")
    assert alice.ssh("cat mine").stdout == b"kept\n"
    house.admin("user", "remove", "alice")
    wait_for(lambda: not house.containers(), "the end of her container")
    assert not [event for event in house.events() if event["event"] in ("internal_error", "work_failed")]
