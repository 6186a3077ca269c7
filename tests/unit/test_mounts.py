"""Datasets and scratch of the site's own: what the config may say, and what a container gets of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gateway.config import Config, load
from gateway.disks import Disk
from gateway.errors import Code, PlatformError
from gateway.folders import WorkspaceFolders, shared
from gateway.mounts import SharedMount, parse_mounts
from gateway.workspaces import Mount, Workspace, container_spec
from tests.unit.test_folders import user
from tests.unit.test_workspaces import ALICE, IMAGE, LIMITS

DATA = SharedMount("/srv/data", "/data", True, ("vision",))
SCRATCH = SharedMount("/srv/scratch", "/scratch", False, (), 5000)


def config(folder: Path, text: str) -> Config:
    (folder / "config.toml").write_text(text)
    return load(folder / "config.toml", environ={})


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(PlatformError) as caught:
        config(folder, text)
    assert caught.value.code is Code.INVALID
    return caught.value.message


def test_mounts_are_read(tmp_path: Path) -> None:
    text = """
        [[mount]]
        source = "/srv/scratch"
        target = "/scratch"
        mode = "rw"
        gid = 5000
        [[mount]]
        source = "/srv/data"
        target = "/data"
        groups = ["vision", "vision"]
    """
    assert config(tmp_path, text).mounts == (DATA, SCRATCH)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"target": "/home/alice/data"}, "hide or lie in /home"),
        ({"target": "/"}, "hide or lie in"),
        ({"target": "/workspace"}, "hide or lie in /workspace"),
        ({"target": "/opt"}, "hide or lie in /opt/gpu-gateway"),
        ({"target": "/opt/gpu-gateway/runner.pyz"}, "hide or lie in /opt/gpu-gateway"),
        ({"target": "/var/tmp"}, "hide or lie in /var"),
        ({"target": "/etc/passwd"}, "hide or lie in /etc"),
        ({"target": "data"}, "absolute"),
        ({"target": "/data/../etc"}, "plain path"),
        ({"source": "/"}, "of this machine"),
        ({"source": "/var/run/docker.sock"}, "show /var/run of this machine"),
        ({"source": "/var"}, "of this machine"),
        ({"source": None}, "absolute"),
        ({"mode": "w"}, '"ro" or "rw"'),
        ({"gid": 0}, "gid must be"),
        ({"gid": True}, "gid must be"),
        ({"groups": "vision"}, "list of names"),
        ({"path": "/x"}, "path is unknown"),
    ],
)
def test_what_may_not_be_mounted(entry: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_mounts([{"source": "/srv/data", "target": "/data", **entry}])


def test_targets_that_hide_each_other_are_refused() -> None:
    entries = [{"source": "/srv/a", "target": target} for target in ("/data", "/data-old", "/data/x")]
    with pytest.raises(ValueError, match="/data and /data/x hide each other"):
        parse_mounts(entries)
    assert len(parse_mounts(entries[:2])) == 2


@pytest.mark.parametrize("source", ["/srv/gpu", "/srv", "/srv/gpu/workspaces/1"])
def test_the_state_directory_is_shown_to_nobody(tmp_path: Path, source: str) -> None:
    text = f'state = "/srv/gpu"\n[[mount]]\nsource = "{source}"\ntarget = "/data"\n'
    assert "would show the state directory /srv/gpu" in refusal(tmp_path, text)


def test_a_mount_gives_nobody_another_users_group(tmp_path: Path) -> None:
    text = '[[mount]]\nsource = "/srv/data"\ntarget = "/data"\ngid = 30007\n'
    assert "which is a user's own" in refusal(tmp_path, text)


def test_what_a_container_gets_is_decided_by_its_users_groups() -> None:
    def spec(*groups: str) -> tuple[tuple[Mount, ...], tuple[int, ...]]:
        made = container_spec(
            Workspace(ALICE, IMAGE, (), LIMITS, Disk(1 << 30), groups=groups),
            state="/state",
            runner="/runner",
            gpu="/gpu",
            env={},
            subnet="10.213.0.56/29",
            command=("run",),
            shared=(DATA, dataclasses.replace(SCRATCH, groups=("vision", "speech"))),
        )
        return made.mounts[9:], made.groups

    data, scratch = Mount("/srv/data", "/data", True), Mount("/srv/scratch", "/scratch", False)
    assert spec("vision") == ((data, scratch), (5000,))
    assert spec("speech", "other") == ((scratch,), (5000,))
    assert spec() == ((), ())


def test_the_groups_of_mounts_have_names(tmp_path: Path) -> None:
    WorkspaceFolders(tmp_path, (DATA, SCRATCH)).prepare(user())
    assert "gid5000:x:5000:" in (tmp_path / "workspaces" / "7" / "etc" / "group").read_text()


def test_what_is_shown_must_be_there_and_no_link(tmp_path: Path) -> None:
    def said(source: Path, code: Code) -> str:
        with pytest.raises(PlatformError) as caught:
            shared.check([SharedMount(str(source), "/data")], None)
        assert caught.value.code is code
        return caught.value.message

    (tmp_path / "real" / "in").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert "mount it, or take its [[mount]] out" in said(tmp_path / "absent", Code.NOT_FOUND)
    assert f"write {tmp_path}/real in" in said(tmp_path / "link", Code.INVALID)
    assert f"write {tmp_path}/real/in in" in said(tmp_path / "link" / "in", Code.INVALID)
    assert "not a directory" in said(tmp_path / "file", Code.INVALID)
    shared.check([SharedMount(str(tmp_path / "real"), "/data")], tmp_path / "file")
    with pytest.raises(PlatformError, match="no file that can be read"):
        shared.check([], tmp_path / "absent")


def test_proxies_and_certificates_reach_workspaces_and_builds(tmp_path: Path) -> None:
    text = """
        [proxy]
        https = "http://proxy.example.org:3128"
        [workspace]
        ca_bundle = "/etc/ssl/site.pem"
        [workspace.env]
        PIP_CERT = "/data/other.pem"
    """
    read = config(tmp_path, text)
    env = read.workspace_env()
    assert env["https_proxy"] == env["HTTPS_PROXY"] == "http://proxy.example.org:3128"
    assert env["no_proxy"] == env["NO_PROXY"] == "localhost,127.0.0.1,::1"
    assert env["SSL_CERT_FILE"] == env["REQUESTS_CA_BUNDLE"] == "/opt/gpu-gateway/ca.pem"
    assert env["PIP_CERT"] == "/data/other.pem"
    assert read.build_env()["GPU_GATEWAY_CA_BUNDLE"] == "/etc/ssl/site.pem"
    assert read.build_env()["https_proxy"] == env["https_proxy"]
    assert "SSL_CERT_FILE" not in config(tmp_path, "").workspace_env()
    assert "proxy: https must be an address" in refusal(tmp_path, '[proxy]\nhttps = "proxy:3128"\n')
    assert "proxy: has http" in refusal(tmp_path, '[proxy]\nftp = "http://x"\n')
