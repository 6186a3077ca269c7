"""MIG slices: each person has hers and sees no other, and her lease outlives the slice's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.house import House, Person, wait_for
from tests.support.nvidia import state

MACHINE = state.gpus(4)
PARENT = MACHINE[3]
FIRST, SECOND = (f"{PARENT.uuid}/1g.10gb@{place}" for place in (0, 4))
Divide = Callable[..., None]


@pytest.fixture
def divide(lab: House) -> Iterator[Divide]:
    """Makes the last of the four GPUs one with MIG on and these slices; returns when the gateway knows."""
    file = Path(lab.environment["LD_LIBRARY_PATH"]) / "state"

    def make(*slices: state.Slice) -> None:
        state.write(file, [*MACHINE[:3], replace(PARENT, mig=1, slices=slices)])
        wanted = {each.uuid for each in slices}
        wait_for(lambda: {uuid for uuid, gone in known(lab).items() if not gone} == wanted, "the slices")

    yield make
    state.write(file, MACHINE)


def known(lab: House) -> dict[str, bool]:
    """The slices that were ever seen, by their UUIDs, and whether each is lost."""
    ids = [gpu["id"] for gpu in lab.listed("gpu", "list") if gpu["profile"]]
    shown = [lab.listed("gpu", "show", id_)[0] for id_ in ids]
    return {slice_["uuid"]: slice_["state"] == "lost" for slice_ in shown}


def seen(person: Person) -> list[str]:
    """What NVIDIA's tool shows her, in her container."""
    done = person.ssh("nvidia-smi -L")
    assert done.returncode == 0, done.stderr
    return [line.strip() for line in done.stdout.decode().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_have_a_slice_each_and_a_third_a_gpu_and_nobody_sees_more_than_hers(
    lab: House, divide: Divide
) -> None:
    """The slices are made anew under other names, as a boot does: who holds one has the new one."""
    slices = (
        state.Slice(f"MIG-{name}", gi=gi, start=at)
        for name, gi, at in zip("abc", (7, 8, 9), (0, 4, 6), strict=True)
    )
    divide(*slices)
    alice, bob, carol = lab.add("alice"), lab.add("bob"), lab.add("carol")
    asked = alice.ssh("gpu request --mig 1g.10gb")
    assert (asked.returncode, asked.stderr) == (0, b"")
    assert b"you hold GPU 3/1g.10gb@0 (NVIDIA H100 80GB HBM3) until" in asked.stdout
    lab.admin("allocate", "bob", "--mig", "1g.10gb", "--for", "2h")
    lab.admin("allocate", "carol", "--gpus", "1")
    mig = "MIG 1g.10gb     Device  0: (UUID: {})"
    whole = f"GPU 0: {PARENT.model} (UUID: {PARENT.uuid})"
    assert seen(alice) == [whole, mig.format("MIG-a")]
    assert seen(bob) == [whole, mig.format("MIG-b")]
    assert seen(carol) == [f"GPU 0: {MACHINE[0].model} (UUID: {MACHINE[0].uuid})"]
    # Nor are nodes of others there: those of the GPU, and of her slice's two instances.
    nodes = alice.ssh("ls /dev /dev/nvidia-caps | grep nvidia").stdout.split()
    assert [node for node in nodes if node.startswith(b"nvidia-cap") and node != b"nvidia-caps"] == [
        b"nvidia-cap471",
        b"nvidia-cap472",
    ]
    # A second one would be no use to her, though it is free; inside it is refused in the same words.
    refused = alice.ssh("sh -c 'gpu request --mig 1g.10gb'")
    assert refused.returncode == 75
    assert b"alice holds a MIG slice, and nobody has two" in refused.stderr
    leases = {lease["user"]: lease for lease in lab.listed("leases")}
    assert (leases["alice"]["devices"], leases["bob"]["devices"]) == ([FIRST], [SECOND])

    divide()
    wait_for(lambda: all(lease["problem"] for lease in slices_held(lab)), "the loss of both")
    divide(state.Slice("MIG-new-b", gi=3, start=4), state.Slice("MIG-new-a", gi=5, start=0))
    wait_for(lambda: not any(lease["problem"] for lease in slices_held(lab)), "their return")
    assert {lease["id"]: lease["devices"] for lease in slices_held(lab)} == {
        leases["alice"]["id"]: [FIRST],
        leases["bob"]["id"]: [SECOND],
    }
    wait_for(lambda: seen(alice) == [whole, mig.format("MIG-new-a")], "alice's new container")
    wait_for(lambda: seen(bob) == [whole, mig.format("MIG-new-b")], "bob's new container")


def slices_held(lab: House) -> list[dict[str, object]]:
    return [lease for lease in lab.listed("leases") if lease["profile"]]
