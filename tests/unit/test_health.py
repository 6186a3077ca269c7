"""The health of GPUs: what is seen of one decides its state, and what ends a quarantine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway import health
from gateway.devices import Cause, Device, Health, Occupation, Process, Quarantine
from gateway.health import APPLICATION_XIDS, HARDWARE_XIDS, IS_LOST, RESET_REQUIRED, Signs
from tests.support.stores import gpu

WELL = Signs(uncorrected=0, row_pending=False, row_failed=False, page_pending=False, recovery=0)
BOOT = "boot-1 550.54.15"
NEXT = "boot-2 550.54.15"


def judged(signs: Signs, known: Device | None = None, era: str = BOOT) -> Device:
    return health.judge(known, gpu(0), signs, era)


def test_a_gpu_that_is_well_or_tells_nothing_is_healthy() -> None:
    for signs in (WELL, Signs()):
        device = judged(signs)
        assert (device.state, device.reason, device.problem) == (Health.HEALTHY, None, None)


@pytest.mark.parametrize(
    ("sign", "state", "said"),
    [
        ({"uncorrected": 1}, Health.QUARANTINED, "an uncorrectable memory error"),
        ({"uncorrected": 7}, Health.QUARANTINED, "uncorrectable memory errors (7 since"),
        ({"row_failed": True}, Health.QUARANTINED, "could not be replaced"),
        ({"row_pending": True}, Health.DEGRADED, "at the next reset"),
        ({"page_pending": True}, Health.DEGRADED, "at the next reset"),
        ({"recovery": 1}, Health.QUARANTINED, "asks for a reset of the GPU"),
        ({"recovery": 2}, Health.QUARANTINED, "asks for a reboot"),
        ({"recovery": 3}, Health.DEGRADED, "programs on several GPUs"),
        ({"recovery": 4}, Health.QUARANTINED, "asks for a reset of the GPU"),
        ({"recovery": 6}, Health.QUARANTINED, "reset of the bus"),
        ({"recovery": 99}, Health.HEALTHY, ""),
        ({"error": RESET_REQUIRED}, Health.QUARANTINED, "must be reset"),
        ({"error": IS_LOST}, Health.LOST, "fell off the bus"),
        ({"row_pending": True, "uncorrected": 1}, Health.QUARANTINED, "an uncorrectable memory error"),
        ({"error": IS_LOST, "recovery": 1}, Health.LOST, "fell off the bus"),
    ],
)
def test_each_sign_has_its_state_and_says_why(sign: dict[str, int], state: Health, said: str) -> None:
    device = judged(replace(WELL, **sign))  # type: ignore[arg-type]
    assert device.state is state
    assert said in (device.reason or "")
    assert (device.problem is None) == (state in (Health.HEALTHY, Health.DEGRADED))


def test_xids_of_programs_are_notes_and_those_of_the_hardware_quarantine() -> None:
    assert {number for number in range(200) if health.of_xid(number).health is Health.QUARANTINED} == {
        *(48, 63, 64, 74, 79, 92, 94, 95, 119, 120)
    }
    assert {13, 31, 43, 45, 68, 109} == APPLICATION_XIDS
    assert not APPLICATION_XIDS & set(HARDWARE_XIDS)
    assert health.of_xid(31).text == "Xid 31: a program's fault"
    assert health.of_xid(79).text == "Xid 79: it fell off the bus"
    assert "xid-errors" in health.of_xid(999).text


def test_a_quarantine_by_a_sign_ends_with_the_sign() -> None:
    sick = judged(replace(WELL, uncorrected=2))
    assert judged(replace(WELL, uncorrected=2), sick).state is Health.QUARANTINED
    assert judged(WELL, sick) == judged(WELL)


def test_a_quarantine_by_an_xid_lasts_until_another_boot_or_driver() -> None:
    sick = health.quarantined(gpu(0), Quarantine("Xid 79", Cause.XID, BOOT))
    assert judged(WELL, sick).problem == "Xid 79"
    for era in (NEXT, "boot-1 570.1"):
        assert judged(WELL, sick, era) == judged(WELL)
        assert judged(replace(WELL, row_failed=True), sick, era).state is Health.QUARANTINED


def test_a_lost_gpu_that_comes_back_is_in_the_quarantine_that_it_was_in() -> None:
    sick = health.quarantined(gpu(0), Quarantine("Xid 79", Cause.XID, BOOT))
    lost = health.judge(sick, None, Signs(), BOOT)
    assert (lost.state, lost.problem) == (Health.LOST, "not seen by the driver")
    assert judged(WELL, lost).problem == "Xid 79"
    assert judged(WELL, lost, NEXT).state is Health.HEALTHY


def test_a_gpu_that_does_not_answer_says_how() -> None:
    assert (
        health.judge(gpu(0), None, Signs(error=IS_LOST), BOOT).problem == "it fell off the bus (GPU is lost)"
    )
    assert health.judge(gpu(0), None, Signs(error=999), BOOT).problem == "it does not answer (NVML error 999)"


def test_what_was_drained_stays_so_whatever_is_seen() -> None:
    drained = replace(gpu(0), drained="fan")
    assert (judged(WELL, drained).state, judged(WELL, drained).reason) == (Health.DRAINED, "fan")
    assert judged(replace(WELL, uncorrected=1), drained).state is Health.QUARANTINED
    assert judged(replace(WELL, uncorrected=1), drained).drained == "fan"


def test_one_that_must_be_reset_keeps_the_memory_that_is_known() -> None:
    seen = replace(gpu(0), memory=0)
    assert health.judge(gpu(0), seen, Signs(error=RESET_REQUIRED), BOOT).memory == gpu(0).memory


def test_a_use_quarantines_until_it_ends_and_gives_way_to_worse() -> None:
    busy = health.used(judged(WELL), "in use by process 7", BOOT)
    assert (busy.state, busy.problem) == (Health.QUARANTINED, "in use by process 7")
    assert judged(WELL, busy, NEXT).problem == "in use by process 7"
    assert health.used(judged(WELL, busy), None, BOOT) == judged(WELL)
    assert not health.ended_by_hand(busy)
    worse = health.quarantined(busy, Quarantine("Xid 48", Cause.XID, BOOT))
    assert worse.problem == "Xid 48"
    assert health.used(worse, None, BOOT) == worse == health.used(worse, "in use by process 7", BOOT)
    assert judged(replace(WELL, row_failed=True), busy).problem == "a broken memory row could not be replaced"


def test_clean_is_without_processes_and_without_memory() -> None:
    mib = 1 << 20
    assert health.dirty(Occupation("GPU-1", 0)) is None
    assert health.dirty(Occupation("GPU-1", 512 * mib)) is None
    assert health.dirty(Occupation("GPU-1", None)) is None
    assert health.dirty(Occupation("GPU-1", 513 * mib)) == "513 MiB of its memory are in use by no process"
    two = Occupation("GPU-1", 900 * mib, (Process(7, 1), Process(9, None)))
    assert health.dirty(two) == "in use by process 7, process 9"
    assert health.dirty(two, lambda process: f"p{process.pid}") == "in use by process 7 (p7), process 9 (p9)"
    many = Occupation("GPU-1", 0, tuple(Process(pid, None) for pid in range(1, 6)))
    assert health.dirty(many) == "in use by process 1, process 2, process 3 and 2 more"


def test_the_sick_are_chosen_last() -> None:
    assert health.rank(judged(WELL)) < health.rank(judged(replace(WELL, row_pending=True)))
