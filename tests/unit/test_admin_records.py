"""gpuadmin on records alone: every verb, its table, its JSON, its refusals and their statuses."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from admin.call import caller
from admin.main import cli
from gateway.certificates import Trust
from gateway.devices import DeviceRequest
from gateway.history import ContainerUse, GpuUse, Tally, Window
from gateway.onetime import digest_of, opens
from gateway.passwords import matches
from gateway.restarts import Restart
from gateway.sqlite.store import Store
from gateway.tables import printable
from tests.support.stores import NOW, add_people, gpu, key_line, stocked

SECURITY_KEY = (
    "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIGtra2tra2tra2tra2tra2tra2tr"
    "a2tra2tra2tra2trAAAABHNzaDo= key"
)

Gpuadmin = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The store that the commands use, with two GPUs in it."""
    with stocked(tmp_path / "state", 2) as opened:
        yield opened


@pytest.fixture
def gpuadmin(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpuadmin:
    monkeypatch.delenv("GPU_GATEWAY_CONFIG", raising=False)
    monkeypatch.setenv("GPU_GATEWAY_STATE", str(tmp_path / "state"))

    def run(*words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(cli, words, input=stdin)

    return run


def done(result: Result) -> str:
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def listed(result: Result) -> list[dict[str, Any]]:
    records = json.loads(done(result))
    assert isinstance(records, list)
    return records


def refused(result: Result, status: int, why: str) -> None:
    assert result.exit_code == status, result.output
    assert why in result.stderr
    assert result.stderr.startswith("gpuadmin: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_people(gpuadmin: Gpuadmin, tmp_path: Path) -> None:
    public = tmp_path / "alice.pub"
    public.write_text(key_line("a", "alice@laptop") + "\n")
    assert done(gpuadmin("user", "add", "alice", "--key", str(public))).startswith(
        "Added alice with uid 30001 and 1"
    )
    done(gpuadmin("user", "add", "bob", "--key", "-", "--uid", "2001", "--gid", "100", stdin=key_line("b")))
    alice, bob = listed(gpuadmin("user", "list", "--json"))
    assert alice.keys() == {
        "id",
        "name",
        "uid",
        "gid",
        "home",
        "enabled",
        "created_at",
        "groups",
        "keys",
        "totp",
        "devices",
    }
    assert (alice["name"], alice["enabled"], len(alice["keys"]), alice["devices"]) == ("alice", True, 1, [])
    assert (bob["uid"], bob["gid"]) == (2001, 100)
    assert alice["created_at"].endswith("Z")
    lines = done(gpuadmin("user", "list")).splitlines()
    assert lines[0].split() == ["NAME", "UID", "ENABLED", "KEYS", "GPUS", "SINCE"]
    assert lines[1].split()[:5] == ["alice", "30001", "yes", "1", "0"]
    done(gpuadmin("user", "disable", "alice"))
    assert listed(gpuadmin("user", "show", "alice", "--json"))[0]["enabled"] is False
    done(gpuadmin("user", "enable", "alice"))
    assert "30001" in done(gpuadmin("user", "show", "alice"))


def test_keys(gpuadmin: Gpuadmin, store: Store, tmp_path: Path) -> None:
    add_people(store, "alice", "bob")
    done(gpuadmin("key", "add", "alice", "-", stdin=f"{key_line('new', 'new one')}\n{key_line('alice')}\n"))
    records = listed(gpuadmin("key", "list", "alice", "--json"))
    assert {record["comment"] for record in records} == {"", "new one"}
    assert len(listed(gpuadmin("key", "list", "--json"))) == 3
    done(gpuadmin("key", "remove", records[0]["fingerprint"]))
    assert len(listed(gpuadmin("key", "list", "--json"))) == 2
    refused(gpuadmin("key", "remove", records[0]["fingerprint"]), 1, "There is no key")
    refused(gpuadmin("key", "add", "alice", "-", stdin="nonsense"), 2, "not a public key line")
    refused(gpuadmin("key", "add", "alice", "/nowhere.pub"), 2, "/nowhere.pub")
    refused(gpuadmin("key", "add", "alice", "/bin/sh"), 2, "not")
    latin = tmp_path / "latin.pub"
    latin.write_bytes(key_line("latin").encode() + b" caf\xe9\n")
    done(gpuadmin("key", "add", "alice", str(latin)))


def test_options_of_keys(gpuadmin: Gpuadmin, store: Store) -> None:
    add_people(store, "alice")
    (plain,) = listed(gpuadmin("key", "list", "alice", "--json"))
    assert (plain["options"], plain["expires_at"]) == ("", None)
    text = 'expiry-time="20270331Z",from="10.0.0.0/8"'
    said = done(
        gpuadmin("key", "add", "alice", "-", stdin=f"{text} {key_line('alice')}\n{key_line('new')}\n")
    )
    assert [line.partition(" ")[2] for line in said.splitlines()] == ["has other options now.", "was added."]
    limited, new = listed(gpuadmin("key", "list", "alice", "--json"))
    assert (limited["fingerprint"], new["options"]) == (plain["fingerprint"], "")
    assert limited["options"] == 'from="10.0.0.0/8",expiry-time="20270331000000Z"'
    assert limited["expires_at"] == "2027-03-31T00:00:00Z"
    assert limited["options"] in done(gpuadmin("key", "list"))
    refused(gpuadmin("key", "add", "alice", "-", stdin=f"restrict {key_line('c')}"), 2, "'restrict' is not")
    assert "was there already" in done(gpuadmin("key", "add", "alice", "-", stdin=key_line("new")))
    (account,) = store.accounts()
    assert [str(options) for options in account.options.values()] == [limited["options"]]


def test_a_key_is_replaced_in_one_step_or_not_at_all(gpuadmin: Gpuadmin, store: Store) -> None:
    add_people(store, "alice", "bob")
    (old,) = listed(gpuadmin("key", "list", "alice", "--json"))
    rotate = ("key", "rotate", "alice", old["fingerprint"], "-")
    refused(gpuadmin(*rotate, stdin=key_line("bob")), 1, "another user's")
    refused(gpuadmin(*rotate, stdin=key_line("alice")), 1, "already")
    refused(gpuadmin(*rotate, stdin=f"{key_line('x')}\n{key_line('y')}"), 2, "one new key")
    refused(gpuadmin("key", "rotate", "bob", old["fingerprint"], "-", stdin=key_line("x")), 1, "of bob")
    assert listed(gpuadmin("key", "list", "alice", "--json")) == [old]
    done(gpuadmin(*rotate, stdin=f"verify-required {SECURITY_KEY}"))
    (new,) = listed(gpuadmin("key", "list", "alice", "--json"))
    assert (new["options"], new["type"]) == ("verify-required", "sk-ssh-ed25519@openssh.com")
    verbs = [row["verb"] for row in store._db.rows("select verb from event order by id desc limit 2")]
    assert sorted(verbs) == ["key add", "key remove"]


def test_authorities(gpuadmin: Gpuadmin, store: Store) -> None:
    assert listed(gpuadmin("ca", "list", "--json")) == []
    done(gpuadmin("ca", "add", "-", stdin=key_line("ca", "the lab")))
    assert "already" in done(gpuadmin("ca", "add", "-", stdin=key_line("ca")))
    refused(gpuadmin("ca", "add", "-", stdin=f'from="10.0.0.1" {key_line("cb")}'), 2, "has no options")
    (shown,) = listed(gpuadmin("ca", "list", "--json"))
    fingerprint = shown["fingerprint"]
    assert (shown["comment"], shown["revoked"]) == ("the lab", [])
    person = "SHA256:" + "x" * 43
    done(gpuadmin("ca", "revoke", fingerprint, "--serial", "7"))
    done(gpuadmin("ca", "revoke", fingerprint, "--id", "alice-laptop"))
    done(gpuadmin("ca", "revoke", fingerprint, "--key", person))
    assert "already" in done(gpuadmin("ca", "revoke", fingerprint, "--serial", "7"))
    refused(gpuadmin("ca", "revoke", fingerprint), 2, "one of --serial")
    refused(gpuadmin("ca", "revoke", fingerprint, "--serial", "7", "--id", "x"), 2, "one of --serial")
    refused(gpuadmin("ca", "revoke", fingerprint, "--serial", "-1"), 2, "--serial")
    refused(gpuadmin("ca", "revoke", fingerprint, "--key", "x.pub"), 2, "no fingerprint")
    refused(gpuadmin("ca", "revoke", "SHA256:no", "--serial", "7"), 1, "no authority")
    names = {("serial", "7"), ("id", "alice-laptop"), ("key", person)}
    assert store.trust().revoked == {(fingerprint, *name) for name in names}
    (shown,) = listed(gpuadmin("ca", "list", "--json"))
    assert {(each["kind"], each["value"]) for each in shown["revoked"]} == names
    done(gpuadmin("ca", "remove", fingerprint))
    assert store.trust() == Trust()
    refused(gpuadmin("ca", "remove", fingerprint), 1, "no authority")


def test_a_one_time_code_is_printed_once_and_kept_nowhere(
    gpuadmin: Gpuadmin, store: Store, tmp_path: Path
) -> None:
    add_people(store, "alice")
    code, words = done(gpuadmin("user", "enrol", "alice", "--for", "2h")).splitlines()
    assert "alice" in words
    (account,) = store.accounts()
    assert account.enrolment is not None
    assert opens(account.enrolment, digest_of(code), datetime.now(UTC) + timedelta(minutes=119))
    assert not opens(account.enrolment, digest_of(code), datetime.now(UTC) + timedelta(minutes=121))
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert code.encode() not in kept
    assert code.replace("-", "").encode() not in kept
    done(gpuadmin("user", "enrol", "alice"))
    assert not opens(store.accounts()[0].enrolment, digest_of(code), datetime.now(UTC))
    refused(gpuadmin("user", "enrol", "alice", "--for", "soon"), 2, "not a duration")
    refused(gpuadmin("user", "enrol", "nobody-here"), 1, "There is no user")
    done(gpuadmin("user", "disable", "alice"))
    refused(gpuadmin("user", "enrol", "alice"), 1, "disabled")


def test_verification_codes(gpuadmin: Gpuadmin, store: Store) -> None:
    add_people(store, "alice")
    address, words = done(gpuadmin("user", "totp", "alice", "on")).splitlines()
    assert address.startswith("otpauth://totp/gpu-gateway:alice?secret=")
    (account,) = store.accounts()
    assert f"secret={account.secret}&" in address
    assert account.secret not in words + repr(account)
    assert listed(gpuadmin("user", "show", "alice", "--json"))[0]["totp"] is True
    refused(gpuadmin("user", "totp", "alice", "on"), 1, "has a secret already")
    refused(gpuadmin("user", "totp", "alice", "perhaps"), 2, "perhaps")
    refused(gpuadmin("user", "totp", "nobody-here", "on"), 1, "There is no user")
    done(gpuadmin("user", "totp", "alice", "off"))
    assert "had no secret" in done(gpuadmin("user", "totp", "alice", "off"))
    assert store.accounts()[0].secret == ""
    done(gpuadmin("group", "add", "vision"))
    done(gpuadmin("group", "join", "vision", "alice"))
    done(gpuadmin("group", "totp", "vision", "on"))
    assert "already" in done(gpuadmin("group", "totp", "vision", "on"))
    assert store.accounts()[0].second_factor
    done(gpuadmin("group", "totp", "vision", "off"))
    assert not store.accounts()[0].second_factor
    refused(gpuadmin("group", "totp", "speech", "on"), 1, "no group")
    told = "".join(str(dict(row)) for row in store._db.rows("select before, after from event"))
    assert account.secret not in told


def test_passwords(gpuadmin: Gpuadmin, store: Store, tmp_path: Path) -> None:
    add_people(store, "alice")
    said = done(gpuadmin("user", "password", "alice", stdin="correct horse 1\n"))
    assert "passwords are off until" in said
    (account,) = store.accounts()
    assert matches(account.password, "correct horse 1")
    assert account.password not in repr(account)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert b"correct horse" not in kept
    refused(gpuadmin("user", "password", "alice", stdin="short\n"), 2, "12 to 256")
    refused(gpuadmin("user", "password", "nobody-here", stdin="correct horse 1\n"), 1, "There is no user")
    done(gpuadmin("user", "password", "alice", "--off"))
    assert "had no password" in done(gpuadmin("user", "password", "alice", "--off"))
    assert store.accounts()[0].password == ""


def test_a_grant_and_what_lists_it(gpuadmin: Gpuadmin, store: Store) -> None:
    add_people(store, "alice")
    assert done(gpuadmin("allocate", "alice", "--gpus", "1", "--for", "8h")).startswith(
        "Lease 1: alice holds 1 GPU"
    )
    (lease,) = listed(gpuadmin("leases", "--json"))
    assert {"id", "user", "devices", "state", "expires_at"} <= lease.keys()
    assert (lease["id"], lease["user"], lease["devices"]) == (1, "alice", [gpu(0).id])
    assert lease["state"] == "granted"
    assert 8 * 3600 - 60 < lease["remaining"] <= 8 * 3600
    row = done(gpuadmin("leases")).splitlines()[1].split()
    assert row[:4] == ["1", "alice", "granted", "0"]
    assert listed(gpuadmin("user", "list", "--json"))[0]["devices"] == [gpu(0).id]
    done(gpuadmin("allocate", "alice", "--device", gpu(1).id))
    assert listed(gpuadmin("leases", "--json"))[1]["devices"] == [gpu(1).id]


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["--gpus", "0"], 2, "--gpus"),
        (["--gpus", "-1"], 2, "--gpus"),
        (["--gpus", "1.5"], 2, "--gpus"),
        (["--gpus", "1", "--for", "8"], 2, "not a duration"),
        (["--gpus", "1", "--for", "0h"], 2, "not a duration"),
        (["--gpus", "1", "--nope"], 2, "--nope"),
        ([], 2, "how many"),
        (["--gpus", "2", "--device", "GPU-99"], 2, "match the devices"),
        (["--gpus", "9"], 1, "may hold 8 GPUs at once and holds 0"),
        (["--gpus", "3"], 1, "the platform has 2"),
        (["--device", "GPU-nope"], 1, "There is no GPU 'GPU-nope'"),
    ],
)
def test_a_grant_that_is_refused_changes_nothing(
    gpuadmin: Gpuadmin, store: Store, words: list[str], status: int, why: str
) -> None:
    add_people(store, "alice")
    refused(gpuadmin("allocate", "alice", *words), status, why)
    assert store.held_leases() == []


def test_when_all_are_held_one_is_told_by_whom_and_until_when(gpuadmin: Gpuadmin, store: Store) -> None:
    add_people(store, "alice", "bob")
    done(gpuadmin("allocate", "alice", "--gpus", "2"))
    refused(gpuadmin("allocate", "bob", "--gpus", "1"), 75, "alice holds GPU 0 and GPU 1 until 20")


def test_a_lease_is_extended(gpuadmin: Gpuadmin, store: Store) -> None:
    add_people(store, "alice")
    done(gpuadmin("allocate", "alice", "--gpus", "1", "--for", "8h"))
    assert done(gpuadmin("extend", "1", "--for", "8h")).startswith("Lease 1 of alice ends 20")
    (lease,) = listed(gpuadmin("leases", "--json"))
    assert 16 * 3600 - 60 < lease["remaining"] <= 16 * 3600
    done(gpuadmin("quota", "set", "alice", "gpu_hours=20/1d"))
    refused(gpuadmin("extend", "1", "--for", "8h"), 1, "8 more do not fit")
    for bad in (["0"], ["-1"], ["x"], ["1", "--for", "8"], ["99999999999999999999"], []):
        refused(gpuadmin("extend", *bad), 2, "")


def test_a_gpu_is_drained(gpuadmin: Gpuadmin, store: Store) -> None:
    add_people(store, "alice")
    done(gpuadmin("allocate", "alice", "--device", gpu(0).id))
    assert "; alice holds it until 20" in done(gpuadmin("gpu", "drain", gpu(0).id, "--reason", "fan\x1b[2J"))
    done(gpuadmin("gpu", "drain", gpu(1).id))
    refused(gpuadmin("allocate", "alice", "--gpus", "1"), 75, "GPU 1 is drained; ask again")
    assert [device.drained for device in store.devices()] == ["fan\x1b[2J", ""]
    assert done(gpuadmin("gpu", "undrain", gpu(1).id)) == f"{gpu(1).id} can be granted again.\n"
    assert done(gpuadmin("gpu", "undrain", gpu(1).id)) == f"{gpu(1).id} was not drained.\n"
    done(gpuadmin("allocate", "alice", "--gpus", "1"))


def test_a_report_of_gpu_hours(gpuadmin: Gpuadmin, store: Store) -> None:
    add_people(store, "alice", "bob")
    now = datetime.now(UTC)
    store.grant("alice", DeviceRequest(1), timedelta(days=30), "root", now - timedelta(hours=30))
    store.grant("bob", DeviceRequest(1), timedelta(days=30), "root", now - timedelta(hours=3))
    alice, bob = listed(gpuadmin("report", "--json"))
    assert (alice["user"], alice["gpu_seconds"] // 60, alice["leases"]) == ("alice", 30 * 60, 1)
    assert bob["gpu_seconds"] // 60 == 180
    assert listed(gpuadmin("report", "--since", "1d", "--json"))[0]["gpu_seconds"] == 24 * 3600
    assert [line.split() for line in done(gpuadmin("report")).splitlines()] == [
        ["USER", "GPU-HOURS", "LEASES", "USED", "BUSY", "SEEN"],
        ["alice", "30", "1", "-", "-", "0%"],
        ["bob", "3", "1", "-", "-", "0%"],
    ]


def test_a_report_of_what_was_used(gpuadmin: Gpuadmin, store: Store, tmp_path: Path) -> None:
    """By user and by group, as table, JSON, CSV and picture, which all say the same."""
    add_people(store, "alice", "bob")
    store.add_group("vision", "root", NOW)
    store.join("vision", ["alice"], "root", NOW)
    now = datetime.now(UTC)
    begin = now - timedelta(hours=1)
    one = store.grant("alice", DeviceRequest(1, (gpu(0).id,)), timedelta(hours=2), "root", begin)
    two = store.grant("bob", DeviceRequest(1, (gpu(1).id,)), timedelta(hours=2), "root", begin)
    for turn in range(6):
        uses = (
            GpuUse(gpu(0).id, one.id, 10, 5, Tally(10, 500, 100)),
            GpuUse(gpu(1).id, two.id, 10),
            GpuUse(gpu(1).id, None, 10, 9, Tally(10, 900, 90)),
        )
        consumed = (ContainerUse(1, 10, 60_000_000),)
        store.keep_history(Window(begin + turn * timedelta(minutes=5), 300, 10, uses, consumed), 99)
    alice, bob = listed(gpuadmin("report", "--json"))
    assert (alice["used_gpu_seconds"], alice["busy"], alice["cpu_seconds"]) == (900, 0.5, 360)
    assert (bob["used_gpu_seconds"], bob["busy"], bob["cpu_seconds"]) == (None, None, 0)
    assert 0.49 < alice["seen"] <= 0.5
    assert done(gpuadmin("report")).splitlines()[1].split() == ["alice", "1", "1", "0.2", "50%", "50%"]
    groups = listed(gpuadmin("report", "--group-by", "group", "--json"))
    assert [(group["group"], group["used_gpu_seconds"]) for group in groups] == [
        (None, None),
        ("vision", 900),
    ]
    rows = list(csv.DictReader(io.StringIO(done(gpuadmin("report", "--csv")))))
    assert [(row["user"], row["used_gpu_seconds"], row["busy"]) for row in rows] == [
        ("alice", "900", "0.5"),
        ("bob", "", ""),
    ]
    half = (begin + timedelta(minutes=10)).isoformat()
    (alice, _) = listed(gpuadmin("report", "--from", begin.isoformat(), "--to", half, "--json"))
    assert (alice["gpu_seconds"], alice["used_gpu_seconds"], alice["seen"]) == (600, 300, 1.0)
    drawn = gpuadmin("report", "--svg", str(tmp_path / "gpus.svg"))
    assert (drawn.exit_code, drawn.stderr) == (0, f"Drew {tmp_path / 'gpus.svg'}.\n")
    assert "<title>alice, lease 1: " in (tmp_path / "gpus.svg").read_text()


def test_a_report_of_no_time(gpuadmin: Gpuadmin, tmp_path: Path) -> None:
    refused(gpuadmin("report", "--since", "1"), 2, "not a duration")
    refused(gpuadmin("report", "--from", "yesterday"), 2, "is no moment")
    refused(gpuadmin("report", "--from", "9999-01-01"), 2, "would end before it begins")
    refused(gpuadmin("report", "--from", "2026-11-02", "--to", "2026-11-01"), 2, "earlier --from")
    refused(gpuadmin("report", "--since", "1d", "--to", "0001-01-01"), 2, "earlier --from")
    assert listed(gpuadmin("report", "--from", "0001-01-01", "--json")) == []
    refused(gpuadmin("report", "--since", "1d", "--from", "2026-11-01"), 2, "Either --since or --from")
    refused(gpuadmin("report", "--json", "--csv"), 2, "Either --json or --csv")
    refused(gpuadmin("report", "--svg", str(tmp_path / "no" / "gpus.svg")), 1, "give another --svg")


def test_quotas(gpuadmin: Gpuadmin, store: Store) -> None:
    add_people(store, "alice")
    done(gpuadmin("quota", "set", "alice", "gpus=2"))
    done(gpuadmin("quota", "set", "--default", "gpus=3"))
    default, alice = listed(gpuadmin("quota", "show", "--json"))
    assert (default["user"], default["gpus"], alice["user"], alice["gpus"]) == (None, 3, "alice", 2)
    assert (alice["lease"], alice["pids"]) == (86400, 4096)
    assert listed(gpuadmin("quota", "show", "alice", "--json")) == [alice]
    assert "(default)" in done(gpuadmin("quota", "show"))


def test_a_groups_quotas(gpuadmin: Gpuadmin, store: Store) -> None:
    done(gpuadmin("group", "add", "vision"))
    done(gpuadmin("user", "add", "alice", "--group", "vision"))
    assert done(gpuadmin("quota", "set", "--group", "vision", "gpus=4", "gpu_hours=9/7d", "memory=2G")) == (
        "Set gpus=4 gpu_hours=9/7d memory=2G for the group vision.\n"
    )
    (alice,) = listed(gpuadmin("quota", "show", "alice", "--json"))
    assert (alice["gpus"], alice["memory"], alice["shm"]) == (4, 2 << 30, 1 << 30)
    assert alice["gpu_hours"] == {"gpu_seconds": 32400, "window": 604800}
    assert "group vision  4     -      9/7d" in done(gpuadmin("quota", "show", "--group", "vision"))
    (vision,) = listed(gpuadmin("group", "list", "--json"))
    assert (vision["members"], vision["sets"]["gpus"]) == (["alice"], 4)
    assert listed(gpuadmin("user", "show", "alice", "--json"))[0]["groups"] == ["vision"]
    refused(gpuadmin("allocate", "alice", "--gpus", "1", "--for", "10h"), 1, "GPU-hours in 7d")
    refused(gpuadmin("group", "remove", "vision"), 1, "alice would lose")
    assert done(gpuadmin("group", "leave", "vision", "alice")) == "alice is not in vision any more.\n"
    assert done(gpuadmin("group", "join", "vision", "alice", "alice")) == "alice is in vision.\n"
    done(gpuadmin("group", "leave", "vision", "alice"))
    done(gpuadmin("group", "remove", "vision"))


def test_a_quota_is_taken_away_again(gpuadmin: Gpuadmin, store: Store) -> None:
    add_people(store, "alice")
    assert done(gpuadmin("quota", "set", "alice", "gpus=inherit", "cpus=1.5")) == (
        "Set gpus=inherit cpus=1.5 for alice.\n"
    )
    (alice,) = listed(gpuadmin("quota", "show", "alice", "--json"))
    assert (alice["gpus"], alice["cpus"], alice["gpu_hours"]) == (1, 1.5, None)


@pytest.mark.parametrize(
    "words",
    [
        ["alice", "--default", "gpus=1"],
        ["alice", "--group", "vision", "gpus=1"],
        ["--default", "--group", "vision", "gpus=1"],
        ["alice", "gpus=1", "gpus=2"],
        ["alice", "gpus=1", "memory=1X"],
        ["alice"],
        ["gpus=1"],
        ["alice", "gpus=x"],
        ["alice", "disk=1"],
        ["--default"],
        ["alice", "gpus=1", "x"],
    ],
)
def test_a_quota_that_cannot_be_read(gpuadmin: Gpuadmin, store: Store, words: list[str]) -> None:
    add_people(store, "alice")
    assert gpuadmin("quota", "set", *words).exit_code == 2
    assert store.quota("alice")["gpus"] == 8


def test_lists_of_nothing(gpuadmin: Gpuadmin) -> None:
    for words in (
        "user list",
        "group list",
        "key list",
        "leases",
        "report",
        "image list",
        "workspace list",
        "session list",
    ):
        assert listed(gpuadmin(*words.split(), "--json")) == []
        assert len(done(gpuadmin(*words.split())).splitlines()) == 1


def test_images_and_workspaces(gpuadmin: Gpuadmin, store: Store) -> None:
    add_people(store, "alice")
    assert listed(gpuadmin("workspace", "list", "--json"))[0]["image"] is None
    store.add_image("base", "1", "cpu", "gpu-gateway/base:1", "sha256:abc", "root", NOW)
    (image,) = listed(gpuadmin("image", "list", "--json"))
    assert image == {
        "ref": "gpu-gateway/base:1",
        "name": "base",
        "version": "1",
        "flavour": "cpu",
        "digest": "sha256:abc",
        "registry_digest": None,
        "channel": "stable",
        "default": True,
        "canary": None,
        "pinned_by": [],
        "pinned_by_groups": [],
    }
    (workspace,) = listed(gpuadmin("workspace", "list", "--json"))
    assert (workspace["user"], workspace["image"], workspace["connections"]) == (
        "alice",
        "gpu-gateway/base:1",
        0,
    )
    assert workspace["restarts_at"] is None
    store.announce_restart(Restart(1, (gpu(0).id,), NOW, NOW + timedelta(minutes=10)), NOW)
    (workspace,) = listed(gpuadmin("workspace", "show", "alice", "--json"))
    assert workspace["restarts_at"] == "2026-11-23T15:10:00Z"


@pytest.mark.parametrize(
    "words",
    [
        "user show dave",
        "user disable dave",
        "user remove dave",
        "allocate dave --gpus 1",
        "release dave",
        "release 7",
        "extend 7",
        "gpu drain GPU-nope",
        "gpu undrain GPU-nope",
        "gpu forget GPU-nope",
        "quota show dave",
        "quota show --group sound",
        "quota set --group sound gpus=1",
        "group remove sound",
        "group join sound dave",
        "group leave sound dave",
        "user add carol --group sound",
        "quota set dave gpus=1",
        "workspace recreate dave",
        "workspace show dave",
        "workspace start dave",
        "workspace stop dave",
        "workspace remove dave",
        "workspace hand-over dave alice",
        "session kill c1",
        "key list dave",
    ],
)
def test_what_is_not_there_is_status_1(gpuadmin: Gpuadmin, words: str) -> None:
    refused(gpuadmin(*words.split()), 1, "see: gpuadmin")


@pytest.mark.parametrize("name", ["Alice", "root", "../x", "a\x1b[2Jb", ""])
def test_a_name_that_cannot_be_one_is_status_2(gpuadmin: Gpuadmin, name: str) -> None:
    result = gpuadmin("user", "add", name)
    refused(result, 2, "The name")
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize("name", ["Vision", "all", "a b", ""])
def test_a_group_that_cannot_be_one_is_status_2(gpuadmin: Gpuadmin, name: str) -> None:
    refused(gpuadmin("group", "add", name), 2, "The name")


@pytest.mark.parametrize("words", ["nope", "user nope", "image demote", "reserv", "leases --nope", "--nope"])
def test_an_unknown_verb_is_status_2(gpuadmin: Gpuadmin, words: str) -> None:
    refused(gpuadmin(*words.split()), 2, "No such")


def test_what_was_typed_is_told_back_without_its_control_characters(gpuadmin: Gpuadmin) -> None:
    refused(gpuadmin("no\x1b[2J\nverb"), 2, r"no\x1b[2J")
    refused(gpuadmin("--config", "/no\x1b[2J\nfile", "leases"), 1, r"/no\x1b[2J file")


def test_no_verb_shows_what_there_is() -> None:
    result = CliRunner().invoke(cli, [])
    assert result.exit_code == 2
    assert "allocate" in result.stderr


def test_foreign_text_cannot_move_the_cursor(gpuadmin: Gpuadmin, store: Store) -> None:
    hostile = "\x1b[2J\x9b5A\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe\N{LINE SEPARATOR}李"
    done(gpuadmin("user", "add", "alice", "--key", "-", stdin=key_line("a", hostile)))
    table = done(gpuadmin("key", "list"))
    assert r"\x1b[2J\x9b5A\u202egpj.exe\u2028李" in table
    assert printable(table.replace("\n", "")) == table.replace("\n", "")
    assert listed(gpuadmin("key", "list", "--json"))[0]["comment"] == hostile


def test_an_unforeseen_error_is_a_reference_and_the_log_has_the_rest(
    gpuadmin: Gpuadmin, store: Store, tmp_path: Path
) -> None:
    # A table that is not there is nothing that any code expects.
    with store._db.write():
        store._db.change("alter table image_version rename to lost")
    result = gpuadmin("image", "list")
    refused(result, 1, "Internal error (reference ")
    assert "Traceback" not in result.output
    (line,) = (tmp_path / "state" / "gpuadmin.log").read_text().splitlines()
    logged = json.loads(line)
    assert logged["reference"] in result.stderr
    assert "no such table" in logged["traceback"]


def test_a_damaged_database_says_how_to_restore_it(gpuadmin: Gpuadmin, store: Store, tmp_path: Path) -> None:
    store.close()
    (tmp_path / "state" / "gateway.db").write_bytes(b"x" * 8192)
    refused(gpuadmin("leases"), 75, "is damaged; stop the gateway")


def test_the_caller_is_the_account_and_who_became_it() -> None:
    assert caller(0, {}) == "root"
    assert caller(0, {"SUDO_USER": "alice"}) == "root (sudo: alice)"
    assert caller(4294967, {"SUDO_USER": "alice"}) == "uid 4294967"


def test_a_home_of_the_sites_is_looked_at(gpuadmin: Gpuadmin, store: Store, tmp_path: Path) -> None:
    (tmp_path / "hers").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "hers")
    for home, why in ((tmp_path / "link", "is a link"), (tmp_path / "hers", "belongs to the uid 0")):
        refused(gpuadmin("user", "add", "dora", "--uid", "2001", "--home", str(home)), 2, why)
        people = f"name,uid,home\ndora,2001,{home}\n"
        result = gpuadmin("user", "add", "--from", "-", stdin=people)
        assert (result.exit_code, why in result.stderr) == (2, True)
    assert store.users() == []
