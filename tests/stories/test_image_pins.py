"""Which image a workspace runs: added, pinned, and refused when the GPUs' driver is too old for it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from tests.support.house import House, wait_for
from tests.support.nvidia import state

WHICH = "echo $WHICH"


@pytest.fixture
def make(lab: House, base_image: str) -> Iterator[Callable[[str, str], str]]:
    """Makes images that tell which they are, with a label that asks for a driver; they are removed."""
    made: list[str] = []

    def image(which: str, min_driver: str) -> str:
        container = lab.docker("create", base_image, "true")
        ref = f"gpu-gateway-test/{which}:{secrets.token_hex(4)}"
        change = [f"ENV WHICH={which}", f"LABEL io.gpu-gateway.min-driver={min_driver}"]
        lab.docker("commit", *(f"--change={each}" for each in change), container, ref)
        lab.docker("rm", container)
        made.append(ref)
        return ref

    yield image
    lab.close()
    for ref in made:
        lab.docker("image", "rm", "-f", ref)


def test_an_added_image_is_run_by_whom_it_is_pinned_for(lab: House, make: Callable[[str, str], str]) -> None:
    alice, bob = lab.add("alice"), lab.add("bob")
    good, too_new = make("good", state.DRIVER), make("new", "999.1")
    assert lab.admin("image", "pin", "alice", good, status=1).stderr.endswith("see: gpuadmin image list\n")
    for ref in (good, too_new):
        assert lab.admin("image", "add", "--no-check", ref).stdout.startswith(f"Added {ref} (sha256:")
    # The first image of the installation stays the default.
    assert alice.ssh(WHICH).stdout == b"\n"
    lab.admin("image", "pin", "alice", good)
    assert alice.ssh(WHICH).stdout == b"good\n"
    assert bob.ssh(WHICH).stdout == b"\n"
    shown = {image["ref"]: (image["default"], image["pinned_by"]) for image in lab.listed("image", "list")}
    assert (shown[good], shown[lab.image]) == ((False, ["alice"]), (True, []))

    lab.admin("image", "pin", "--default", good)
    assert bob.ssh(WHICH).stdout == b"good\n"
    lab.admin("image", "pin", "alice", lab.image)
    lab.admin("image", "pin", "--default", too_new.rpartition(":")[0])
    assert (alice.ssh(WHICH).stdout, bob.ssh(WHICH).stdout) == (b"\n", b"new\n")
    lab.admin("image", "pin", "alice", "inherit")
    assert alice.ssh(WHICH).stdout == b"new\n"
    lab.admin("image", "pin", "--default", lab.image)


def test_a_pin_waits_while_she_works(lab: House, make: Callable[[str, str], str]) -> None:
    carol, good = lab.add("carol"), make("good", "")
    lab.admin("image", "add", "--no-check", good)
    with carol.start("echo here; cat") as working:
        assert working.stdout is not None
        assert working.stdin is not None
        assert working.stdout.readline() == b"here\n"
        lab.admin("image", "pin", "carol", good)
        assert carol.ssh(WHICH).stdout == b"\n"
        working.stdin.close()
        working.wait(60)
    assert wait_for(lambda: carol.ssh(WHICH).stdout.strip(), "the pinned image") == b"good"


def test_gpus_are_refused_to_an_image_that_needs_a_newer_driver(
    lab: House, make: Callable[[str, str], str]
) -> None:
    dora, harmless, too_new = lab.add("dora"), make("new", ""), make("new", "999.1")
    for ref in (harmless, too_new):
        lab.admin("image", "add", "--no-check", ref)
    sentence = f"The image {too_new} needs NVIDIA's driver 999.1 or newer to use GPUs, and this machine has "
    lab.admin("allocate", "dora", "--gpus", "1")
    assert dora.ssh("nvidia-smi -L").stdout.count(b"GPU-") == 1
    for whom in ("dora", "--default"):
        refused = lab.admin("image", "pin", whom, too_new, status=1).stderr
        assert refused.startswith(f"gpuadmin: {sentence}{state.DRIVER};"), refused
    lab.admin("image", "pin", "--default", harmless.rpartition(":")[0])
    lab.admin("group", "add", "vision")
    lab.admin("group", "join", "vision", "dora")
    for words in (["promote"], ["promote", "--group", "vision"], ["pin", "--group", "vision"]):
        refused = lab.admin("image", *words, too_new, status=1).stderr
        assert refused.startswith(f"gpuadmin: {sentence}{state.DRIVER};"), (words, refused)
    lab.admin("image", "pin", "--default", lab.image)
    lab.admin("release", "dora")
    # Without GPUs it runs, and the gate is at the start of a container that would have them.
    lab.admin("image", "pin", "dora", too_new)
    assert dora.ssh(WHICH).stdout == b"new\n"
    lab.admin("allocate", "dora", "--gpus", "1")
    login = dora.ssh(WHICH)
    assert login.returncode != 0
    assert sentence.encode() in login.stderr
    (lease,) = [lease for lease in lab.listed("leases") if lease["user"] == "dora"]
    assert sentence in lease["problem"]
    lab.admin("image", "pin", "dora", "inherit")
    assert dora.ssh("nvidia-smi -L").stdout.count(b"GPU-") == 1


def test_what_cannot_be_added_or_pinned_is_told(lab: House) -> None:
    lab.add("erin")
    empty = f"gpu-gateway-test/{secrets.token_hex(4)}:1"
    archive = lab.folder / "empty.tar"
    archive.write_bytes(bytes(10240))
    lab.docker("import", str(archive), empty)
    try:
        assert "/usr/bin/python3" in lab.admin("image", "add", empty, status=1).stderr
        assert lab.docker("ps", "-aq", "--filter", f"ancestor={empty}") == ""
    finally:
        lab.docker("image", "rm", empty)
    absent = "gpu-gateway-test/absent:1"
    assert f"docker pull {absent}" in lab.admin("image", "add", absent, status=1).stderr
    for words in (["add", "nameless"], ["pin"], ["pin", "erin"], ["pin", "erin", "x:1", "y:1"]):
        assert lab.admin("image", *words, status=2).stderr.count("\n") == 1
    assert "no user 'mallory'" in lab.admin("image", "pin", "mallory", "inherit", status=1).stderr
    for words in (["--flavour", "cu128"], ["--version", "1"]):
        assert "Debian packages alone" in lab.admin("image", "build", "base", *words, status=2).stderr
    assert "2.13.0-cpu" in lab.admin("image", "build", "pytorch", "--flavour", "cu1", status=1).stderr


def test_without_a_flavour_it_is_the_one_for_this_machine(
    lab: House, make: Callable[[str, str], str]
) -> None:
    """Two versions are recorded as if they had been built; which of them is found tells the choice."""
    versions = ("2.9.1-cu128", "2.13.0-cpu")
    with lab.store() as store:
        for version in versions:
            digest = lab.docker("image", "inspect", "-f", "{{.Id}}", make(version, ""))
            ref, flavour = f"gpu-gateway/pytorch:{version}", version.rpartition("-")[2]
            store.add_image("pytorch", version, flavour, ref, digest, "test", datetime.now(UTC))
    words = ("image", "build", "pytorch", "--if-absent")
    assert "pytorch:2.9.1-cu128 (" in lab.admin(*words).stdout
    assert "pytorch:2.13.0-cpu (" in lab.admin(*words, "--flavour", "cpu").stdout
    broken = lab.folder / "broken"
    state.write(broken, state.gpus(1), driver="470.1")
    lab.environment["NVML_STAND_IN_STATE"] = str(broken)
    try:
        assert "pytorch:2.13.0-cpu (" in lab.admin(*words).stdout
        state.write(broken, state.gpus(1), fails=9)
        answered = lab.admin(*words)
    finally:
        del lab.environment["NVML_STAND_IN_STATE"]
    assert "pytorch:2.13.0-cpu (" in answered.stdout
    assert "chosen as for a machine without GPUs" in answered.stderr
