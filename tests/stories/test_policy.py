"""Who gets a GPU that becomes free: every term of the order decides for somebody, and the small pass the big.

One gateway for all, whose time passes when a test says so. Without a term one of these tests fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import GpuEngine
from tests.stories.conftest import a_house, ended
from tests.support.house import House, wait_for
from tests.support.nvidia import state
from tests.support.settable import Clock, a_clock

FIRST, SECOND, *OTHERS = (gpu.uuid for gpu in state.gpus(4))
HOLDER = "hugo"
HELD = ("granted", "active", "warned")
pytestmark = pytest.mark.slow


@dataclass
class Lab:
    """A gateway on which the first GPU alone is granted, and people without a history."""

    house: House
    clock: Clock
    people: int = 0

    def add(self, *quotas: str) -> str:
        """Somebody who holds nothing, and never did: her name."""
        self.people += 1
        name = f"person{self.people}"
        self.house.admin("user", "add", name)
        if quotas:
            self.house.admin("quota", "set", name, *quotas)
        return name

    def hold(self, device: str, name: str = HOLDER) -> None:
        """Somebody has this GPU for a month."""
        self.house.admin("allocate", name, "--device", device, "--for", "30d")

    def ask(self, name: str, *words: str) -> bool:
        """Somebody asks for a GPU; False when she waits for it."""
        said = self.house.admin("allocate", name, "--gpus", "1", *words, "--queue").stdout
        assert said.startswith(("Lease ", "Request "))
        return said.startswith("Lease ")

    def states(self) -> dict[str, str]:
        """How each person's lease or request stands, in the order of the queue."""
        return {lease["user"]: lease["state"] for lease in self.house.listed("leases")}

    def next(self) -> str:
        """The holder gives her GPU back: who has it then."""
        self.house.admin("release", HOLDER)

        def holders() -> list[str]:
            return [name for name, state in self.states().items() if state in HELD]

        (name,) = wait_for(holders, "the next holder")
        return str(name)


@pytest.fixture(scope="module")
def gateway(gpu_engine: GpuEngine, base_image: str) -> Iterator[Lab]:
    with a_clock() as clock:
        house = a_house(base_image, {**gpu_engine.environment, **clock.environment})
        try:
            house.start()
            wait_for(lambda: len(house.listed("gpu", "list")) == 4, "the inventory")
            house.admin("user", "add", HOLDER)
            for device in (SECOND, *OTHERS):
                house.admin("gpu", "drain", device)
            yield Lab(house, clock)
        finally:
            ended(house)


@pytest.fixture
def lab(gateway: Lab) -> Iterator[Lab]:
    before = gateway.people
    yield gateway
    for number in range(before, gateway.people):
        gateway.house.admin("user", "remove", f"person{number + 1}")
    for lease in gateway.house.listed("leases"):
        gateway.house.admin("release", str(lease["id"]))
    wait_for(lambda: not gateway.states(), "nobody's leases")


@pytest.fixture
def both(lab: Lab) -> Iterator[None]:
    """The second GPU is granted too."""
    lab.house.admin("gpu", "undrain", SECOND)
    yield
    lab.house.admin("gpu", "drain", SECOND)


def test_who_is_within_her_quota_comes_before_who_is_above(lab: Lab) -> None:
    lab.hold(FIRST)
    earlier, within = lab.add(), lab.add()
    lab.ask(earlier, "--preemptible")
    lab.ask(within)
    assert lab.next() == within


def test_whose_reservation_has_begun_comes_first_for_any_gpu(lab: Lab, both: None) -> None:
    """The one that was kept for her is out of order by then."""
    reserved, earlier = lab.add(), lab.add()
    begin = datetime.now(UTC) + lab.clock.passed + timedelta(minutes=30)
    when = ("--from", begin.isoformat(timespec="minutes"), "--for", "8h")
    lab.house.admin("reserve", "add", reserved, "--device", SECOND, *when)
    lab.house.admin("gpu", "drain", SECOND)
    lab.hold(FIRST)
    lab.ask(earlier)
    lab.clock.let_pass(timedelta(minutes=31))
    wait_for(lambda: lab.states().get(reserved) == "queued", "her request")
    assert lab.next() == reserved


def test_who_has_waited_for_a_week_comes_before_every_priority(lab: Lab) -> None:
    lab.hold(FIRST)
    patient, urgent = lab.add(), lab.add("priority=9")
    lab.ask(patient)
    lab.clock.let_pass(timedelta(days=7))
    lab.ask(urgent)
    assert lab.next() == patient


def test_the_higher_priority_comes_first(lab: Lab) -> None:
    lab.hold(FIRST)
    earlier, urgent = lab.add(), lab.add("priority=9")
    lab.ask(earlier)
    lab.ask(urgent)
    assert lab.next() == urgent


def test_who_held_less_lately_comes_first(lab: Lab) -> None:
    """What counts is what was held, by whomever it was granted and whether it was used or not."""
    busy, fresh = lab.add(), lab.add()
    lab.hold(FIRST, busy)
    lab.clock.let_pass(timedelta(hours=2))
    lab.house.admin("release", busy)
    lab.hold(FIRST)
    lab.ask(busy)
    lab.ask(fresh)
    assert lab.next() == fresh


def test_who_asked_first_comes_first_and_reads_why(lab: Lab) -> None:
    lab.hold(FIRST)
    earlier, later = lab.add(), lab.add()
    lab.ask(earlier)
    lab.clock.let_pass(timedelta(hours=1))
    lab.ask(later)
    (place,) = lab.house.listed("why", earlier)
    assert (place["place"], place["terms"][-1]) == (1, "asked 1h ago")
    assert [name for name in lab.states() if name != HOLDER] == [earlier, later]
    assert lab.next() == earlier


def test_a_small_request_passes_a_big_one_that_it_does_not_delay(lab: Lab, both: None) -> None:
    """It is over before the holder is; one that would not be waits."""
    big, long, short = lab.add("gpus=2"), lab.add(), lab.add()
    lab.house.admin("allocate", HOLDER, "--device", FIRST, "--for", "8h")
    assert "number 1" in lab.house.admin("allocate", big, "--gpus", "2", "--queue").stdout
    assert not lab.ask(long, "--for", "24h")
    assert lab.ask(short, "--for", "2h")
    assert lab.states() == {HOLDER: "granted", short: "granted", big: "queued", long: "queued"}
