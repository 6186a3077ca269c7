"""gpuadmin install, into a root directory of its own; what it writes is understood by who reads it."""

from __future__ import annotations

import os
import pwd
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import admin.install
from admin.install import UNDO, refuse_foreign
from admin.main import cli
from gateway import config, privileges
from gateway.errors import PlatformError
from tests.conftest import ROOT

UNIT = "etc/systemd/system/gpu-gateway.service"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The bare root directory of a machine without our accounts."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tmp_path / "etc" / "group").write_text("root:x:0:\n")
    for name in ("shadow", "gshadow"):
        (tmp_path / "etc" / name).write_text(
            "root:*::\n" if name == "gshadow" else "root:*:19000:0:99999:7:::\n"
        )
    return tmp_path


def install(root: Path) -> Result:
    return CliRunner().invoke(cli, ["install", "--root", str(root)])


@pytest.fixture(autouse=True)
def whoever_owns_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """`./dev test` runs as root in a checkout that is its caller's."""
    if ROOT.stat().st_uid != 0:
        monkeypatch.setattr(admin.install, "refuse_foreign", lambda *_: None)


def lines(path: Path) -> dict[str, list[str]]:
    """An account file by name."""
    return {line.split(":")[0]: line.split(":") for line in path.read_text().splitlines()}


def test_it_makes_accounts_files_and_links_and_says_how_to_undo_it(root: Path) -> None:
    done = install(root)
    assert done.exit_code == 0, done.output
    account = lines(root / "etc/passwd")["gpu-gateway"]
    groups = lines(root / "etc/group")
    assert 0 < int(account[2]) < 1000
    assert account[3] == groups["gpu-gateway"][2]
    assert account[5:] == ["/nonexistent", "/usr/sbin/nologin"]
    operators = int(groups["gpu-operators"][2])
    for path, mode in (("etc/gpu-gateway/config.toml", 0o640), ("var/lib/gpu-gateway", 0o750)):
        seen = (root / path).stat()
        assert (stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid) == (mode, 0, operators)
    assert os.readlink(root / "usr/local/bin/gpuadmin").endswith("/gpuadmin")
    assert UNDO in done.output
    made = [path.relative_to(root) for path in root.rglob("*gpu*")]
    assert {str(path) for path in made if not path.is_dir()} <= set(re.findall(r"/(\S+)", UNDO)) | {
        "etc/gpu-gateway/config.toml",
        "var/lib/gpu-gateway",
    }


def test_a_second_time_changes_nothing_and_an_operators_config_stays(root: Path) -> None:
    install(root)
    (root / "etc/gpu-gateway/config.toml").write_text('state = "/srv/gpu"\n')
    (root / UNIT).write_text("something old\n")
    again = install(root)
    assert again.exit_code == 0, again.output
    assert f"replaced /{UNIT}" in again.output
    assert "ReadWritePaths=/srv/gpu /run\n" in (root / UNIT).read_text()
    assert (root / "etc/gpu-gateway/config.toml").read_text() == 'state = "/srv/gpu"\n'
    third = install(root).output
    assert not re.search(r"^(made|wrote|replaced|linked)", third, re.MULTILINE), third


def test_a_program_that_is_not_ours_is_left(root: Path) -> None:
    (root / "usr/local/bin").mkdir(parents=True)
    (root / "usr/local/bin/gpuadmin").write_text("somebody's\n")
    assert "left /usr/local/bin/gpuadmin alone" in install(root).output
    assert (root / "usr/local/bin/gpuadmin").read_text() == "somebody's\n"


@pytest.mark.parametrize(("uid", "mode"), [(1000, 0o755), (0, 0o757)])
def test_root_runs_nothing_that_somebody_else_writes(tmp_path: Path, uid: int, mode: int) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    os.chown(theirs, uid, uid)
    theirs.chmod(mode)
    refuse_foreign(ours)
    with pytest.raises(PlatformError, match=f"^{theirs} does not belong to root alone"):
        refuse_foreign(ours, theirs)


def test_it_needs_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(root.rglob("*"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    refused = CliRunner().invoke(cli, ["install", "--root", str(root)])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "sudo gpuadmin install" in refused.stderr
    assert sorted(root.rglob("*")) == before


def test_a_failure_is_one_sentence(root: Path) -> None:
    (root / "etc/systemd").write_text("not a directory\n")
    failed = install(root)
    assert failed.exit_code == 75
    assert failed.stderr.count("\n") == 1
    (root / "etc/group").unlink()
    assert install(root).exit_code == 75


def test_a_reader_that_goes_away_gets_no_sentence(root: Path) -> None:
    """As `gpuadmin install | head -1` does."""
    ours, theirs = os.pipe()
    os.close(ours)
    program = (
        "import admin.install, admin.main; admin.install.refuse_foreign = lambda *_: None; admin.main.main()"
    )
    command = [sys.executable, "-c", program, "install", "--root", root]
    with open(theirs, "wb") as gone:
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "")


def test_systemd_understands_the_unit(root: Path) -> None:
    """Every directive is known and has a value that systemd takes."""
    install(root)
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", root / UNIT], capture_output=True, text=True, timeout=60
    )
    complaints = [line for line in checked.stderr.splitlines() if str(root) in line or "gpu-gateway" in line]
    assert complaints == []


def test_the_service_may_open_the_gpus(root: Path) -> None:
    """None of what makes systemd 249 to 257 close devices, or hide them, is in the unit (systemd.exec(5))."""
    install(root)
    unit = (root / UNIT).read_text()
    closing = r"^(PrivateDevices|ProtectClock|DevicePolicy|DeviceAllow|RootImage|LoadCredentialEncrypted)="
    assert re.findall(closing, unit, re.MULTILINE) == []


def test_the_template_of_the_config_shows_the_defaults(tmp_path: Path) -> None:
    """As it is, and with every key in force, it parses; keys that are defaults show them."""
    text = (ROOT / "deploy" / "config.toml").read_text()
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert config.load(path, environ={}) == config.Config()
    path.write_text(re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE))
    loaded, default = config.load(path, environ={}), config.Config()
    for name in ("listen", "state", "uids", "pool", "metrics", "passwords", "checkpoint"):
        assert getattr(loaded, name) == getattr(default, name)
    assert loaded.manage
    assert loaded.env
    assert loaded.mirrors.apt
    assert loaded.mirrors.pip
    assert "\n#passwords = false\n" in text
    assert '\n#checkpoint = "10m"\n' in text


@pytest.mark.parametrize(("numbers", "given"), [((998, 997), (998, 997)), (None, (29_999, 29_999))])
def test_workers_are_the_systems_account(
    numbers: tuple[int, int] | None, given: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> pwd.struct_passwd:
        if numbers is None:
            raise KeyError(name)
        return pwd.struct_passwd((name, "x", *numbers, "", "/", "/bin/false"))

    monkeypatch.setattr(pwd, "getpwnam", find)
    assert privileges.worker_identity() == given


def test_workers_are_never_root(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pwd.struct_passwd(("gpu-gateway", "x", 0, 5, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: entry)
    with pytest.raises(PlatformError, match="root's"):
        privileges.worker_identity()
