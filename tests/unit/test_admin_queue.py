"""`gpuadmin allocate --queue` and `why`, and what `leases` and `release` make of who waits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from admin.main import cli
from gateway.idleness import Idle, Step
from gateway.sqlite.store import Store
from tests.support.stores import stocked

Gpuadmin = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with stocked(tmp_path / "state", 2, "alice", "bob") as opened:
        yield opened


@pytest.fixture
def gpuadmin(store: Store, tmp_path: Path) -> Gpuadmin:
    # A pool of its own: another installation on this machine may have the default one.
    config = tmp_path / "config.toml"
    config.write_text('[network]\npool = "10.197.65.0/24"\n')
    words = ["--config", str(config), "--state", str(tmp_path / "state")]
    return lambda *more: CliRunner().invoke(cli, [*words, *more])


@pytest.fixture
def full(gpuadmin: Gpuadmin) -> Gpuadmin:
    """alice holds both GPUs for an hour."""
    assert done(gpuadmin("allocate", "alice", "--gpus", "2", "--for", "1h")).startswith("Lease 1: ")
    return gpuadmin


def done(result: Result) -> str:
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_what_is_free_is_granted_and_nobody_waits(gpuadmin: Gpuadmin) -> None:
    assert done(gpuadmin("allocate", "bob", "--gpus", "1", "--queue")).startswith(
        "Lease 1: bob holds 1 GPU ("
    )


def test_a_place_in_the_queue_and_why(full: Gpuadmin) -> None:
    said = done(full("allocate", "bob", "--gpus", "1", "--for", "8h", "--queue"))
    assert said.startswith("Request 2: bob waits for 1 GPU as number 1 in the queue; it may begin at 20")
    first, *lines = done(full("why", "bob")).splitlines()
    assert first.startswith("Request 2 of bob, 1 GPU for 8h, is number 1 of 1; it may begin at 20")
    assert "  priority 0" in lines
    assert lines[-1].startswith(
        "  waits: 1 GPU is wanted and 0 are free: alice holds GPU 0 and GPU 1 until 20"
    )
    assert done(full("why", "2")) == "\n".join([first, *lines]) + "\n"
    (record,) = json.loads(done(full("why", "bob", "--json")))
    assert {key: record[key] for key in ("request", "user", "gpus", "place")} == {
        "request": 2,
        "user": "bob",
        "gpus": 1,
        "place": 1,
    }
    assert datetime.fromisoformat(record["begins_at"]) > datetime.now(UTC)


def test_leases_shows_the_queue_below_what_is_held(full: Gpuadmin) -> None:
    done(full("allocate", "bob", "--gpus", "2", "--queue"))
    held, queued = json.loads(done(full("leases", "--json")))
    assert (held["state"], held["gpus"]) == ("granted", 2)
    assert (queued["id"], queued["user"], queued["devices"], queued["gpus"]) == (2, "bob", [], 2)
    assert (queued["state"], queued["expires_at"]) == ("queued", None)
    assert "2 wanted" in done(full("leases"))


def test_who_waits_is_released_by_either_name(full: Gpuadmin) -> None:
    for target in ("bob", "3"):
        done(full("allocate", "bob", "--gpus", "1", "--queue"))
        result = full("release", target)
        assert (result.exit_code, result.stdout) == (0, f"Released {target}.\n")
        assert [each["user"] for each in json.loads(done(full("leases", "--json")))] == ["alice"]


def test_where_somebody_who_waits_for_nothing_would_stand(full: Gpuadmin) -> None:
    first, second, *_ = done(full("why", "bob")).splitlines()
    assert first == "bob waits for nothing; a request for one GPU would be number 1:"
    assert second.startswith("  it may begin at 20")
    assert full("release", "alice").exit_code == 0
    assert done(full("why", "bob")) == "bob waits for nothing; one GPU for her would be granted now.\n"


def test_without_the_queue_it_is_refused_and_nothing_changes(full: Gpuadmin) -> None:
    result = full("allocate", "bob", "--gpus", "1")
    assert (result.exit_code, result.stdout) == (75, "")
    assert "alice holds GPU 0 and GPU 1 until" in result.stderr
    assert len(json.loads(done(full("leases", "--json")))) == 1


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["why", "dave"], 1, "There is no user 'dave'"),
        (["why", "17"], 1, "No request 17 waits"),
        (["why", "1"], 1, "No request 1 waits"),
        (["why", "Not A Name"], 2, "'Not A Name'"),
        (["allocate", "bob", "--gpus", "3", "--queue"], 1, "3 GPUs are wanted and the platform has 2"),
        (["allocate", "bob", "--gpus", "1", "--model", "B200", "--queue"], 1, "of the model 'B200'"),
        (["allocate", "bob", "--gpus", "1", "--device", "GPU-1", "--queue"], 1, "There is no GPU 'GPU-1'"),
        (["allocate", "bob", "--gpus", "0", "--queue"], 2, "0 is not in the range"),
    ],
)
def test_refusals(full: Gpuadmin, words: list[str], status: int, why: str) -> None:
    before = done(full("leases", "--json"))
    result = full(*words)
    assert (result.exit_code, result.stdout) == (status, "")
    assert why in result.stderr
    assert len(json.loads(done(full("leases", "--json")))) == len(json.loads(before))


def test_a_reservation_is_made_listed_and_cancelled(gpuadmin: Gpuadmin) -> None:
    said = done(
        gpuadmin("reserve", "add", "bob", "--gpus", "1", "--from", "2035-03-01T09:00+01:00", "--for", "8h")
    )
    assert said.startswith("Reservation 1: bob has 1 GPU (")
    assert said.endswith("from 2035-03-01 08:00 UTC until 2035-03-01 16:00 UTC.\n")
    (record,) = json.loads(done(gpuadmin("reserve", "list", "--json")))
    assert (record["user"], record["begins_at"], record["ends_at"]) == (
        "bob",
        "2035-03-01T08:00:00Z",
        "2035-03-01T16:00:00Z",
    )
    assert done(gpuadmin("reserve", "cancel", "1")) == "Cancelled reservation 1 of bob.\n"
    assert json.loads(done(gpuadmin("reserve", "list", "--json"))) == []


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["add", "bob", "--gpus", "1", "--from", "tomorrow", "--for", "8h"], 2, "'tomorrow' is no moment"),
        (["add", "bob", "--gpus", "1", "--from", "2020-01-01T00:00", "--for", "8h"], 1, "from now on"),
        (["add", "bob", "--gpus", "1", "--from", "0001-01-01T00:00+14:00", "--for", "8h"], 2, "is no moment"),
        (["add", "bob", "--gpus", "1", "--from", "2035-01-01T00:00", "--for", "1.5h"], 2, "not a duration"),
        (["add", "bob", "--from", "2035-01-01T00:00", "--for", "8h"], 2, "Say how many"),
        (["cancel", "7"], 1, "There is no reservation 7"),
    ],
)
def test_refused_reservations(gpuadmin: Gpuadmin, words: list[str], status: int, why: str) -> None:
    result = gpuadmin("reserve", *words)
    assert (result.exit_code, result.stdout) == (status, "")
    assert why in result.stderr
    assert json.loads(done(gpuadmin("reserve", "list", "--json"))) == []


def test_what_is_idle_is_said_with_its_lease_and_why(full: Gpuadmin, store: Store) -> None:
    """Of a lease that no container showed, and of a workspace without GPUs, nothing is said there."""
    now = datetime.now(UTC)
    store.set_idle(1, Idle(Step.WARNED, now, True), now)
    assert [lease["idle"] for lease in json.loads(done(full("leases", "--json")))] == [None]
    store.shown([1], now)
    (lease,) = json.loads(done(full("leases", "--json")))
    assert lease["idle"].startswith("idle: its container is stopped at 20")
    assert "unless something works there" in done(full("leases"))
    first, *_ = done(full("why", "alice")).splitlines()
    assert first.startswith("The workspace of alice is idle: its container is stopped at 20")
    gpus = json.loads(done(full("gpu", "list", "--json")))
    assert [gpu["idle"] for gpu in gpus] == [lease["idle"]] * 2
    store.set_idle(1, Idle(Step.HELD, now, True), now)
    assert "its GPUs are released at 20" in done(full("leases"))
    store.set_idle(1, Idle(Step.WARNED, now, False), now)
    assert [lease["idle"] for lease in json.loads(done(full("leases", "--json")))] == [None]
    assert done(full("why", "alice", "--json")) == "[]\n"
