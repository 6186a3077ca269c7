"""The configuration: every default works, and one error lists every bad key."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from gateway.config import Config, Listen, load, parse_listen, this_machine
from gateway.errors import Code, PlatformError
from gateway.users import UidRange


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    config = load(written(tmp_path, ""), environ={})
    assert config == Config()
    assert config.state == Path("/var/lib/gpu-gateway")
    assert str(config.listen) == "0.0.0.0:2222"
    assert config.workers == this_machine().cores >= 1
    assert config.pool == IPv4Network("10.213.0.0/16")
    assert (config.uids, config.manage, config.env) == (UidRange(30000, 59999), None, ())


def test_every_key(tmp_path: Path) -> None:
    text = """
        state = "/srv/gpu"
        listen = "[::1]:22"
        workers = 3
        [network]
        pool = "192.168.0.0/16"
        [uids]
        first = 70000
        last = 80000
        [gpus]
        manage = ["GPU-1"]
        [leases]
        checkpoint = "90m"
        [disk]
        enforcer = "image"
        [workspace.env]
        HF_HOME = "/workspace/hf"
        A = ""
    """
    assert load(written(tmp_path, text), environ={}) == Config(
        state=Path("/srv/gpu"),
        listen=Listen("::1", 22),
        workers=3,
        pool=IPv4Network("192.168.0.0/16"),
        uids=UidRange(70000, 80000),
        manage=("GPU-1",),
        checkpoint=timedelta(minutes=90),
        disk_images=True,
        env=(("A", ""), ("HF_HOME", "/workspace/hf")),
    )


def test_one_error_lists_every_bad_key(tmp_path: Path) -> None:
    text = """
        lisen = "0.0.0.0:22"
        listen = "22"
        workers = 0
        surprise = {}
        [network]
        pool = "8.8.8.0/24"
        mtu = 9000
        [uids]
        first = 5
        [gpus]
        manage = "all"
        [workspace.env]
        NVIDIA_VISIBLE_DEVICES = "all"
        [[mount]]
        source = "/data"
    """
    with pytest.raises(PlatformError) as caught:
        load(written(tmp_path, text), environ={})
    assert caught.value.code is Code.INVALID
    for key in (
        "lisen: unknown",
        "listen: ",
        "workers: ",
        "surprise: unknown",
        "network.pool: ",
        "network.mtu: unknown",
        "uids: ",
        "gpus.manage: ",
        "workspace.env: NVIDIA_VISIBLE_DEVICES",
        "mount: target must be",
    ):
        assert key in caught.value.message, key
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "setting", ["first = 65000\nlast = 66000", "first = 2000\nlast = 2000", 'first = "1"\nlast = 2']
)
def test_uids_leave_nobody_alone(tmp_path: Path, setting: str) -> None:
    with pytest.raises(PlatformError, match="uids"):
        load(written(tmp_path, f"[uids]\n{setting}\n"), environ={})


@pytest.mark.parametrize("name", ["LD_PRELOAD", "HOME", "A B", "", "A=B", "GPU_GATEWAY_STATE"])
def test_some_variables_are_the_platforms(tmp_path: Path, name: str) -> None:
    with pytest.raises(PlatformError, match="cannot be set"):
        load(written(tmp_path, f'[workspace.env]\n"{name}" = "x"\n'), environ={})


def test_where_it_comes_from(tmp_path: Path) -> None:
    path = written(tmp_path, 'state = "/from/file"')
    environ = {"GPU_GATEWAY_CONFIG": str(path)}
    assert load(environ=environ).state == Path("/from/file")
    environ["GPU_GATEWAY_STATE"] = "/from/environ"
    assert load(environ=environ).state == Path("/from/environ")
    assert load(state=Path("/from/option"), environ=environ).state == Path("/from/option")


def test_a_named_file_must_be_there_and_be_toml(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="There is no config file"):
        load(tmp_path / "absent", environ={})
    with pytest.raises(PlatformError, match="not TOML"):
        load(written(tmp_path, "listen ="), environ={})
    with pytest.raises(PlatformError, match="cannot be read"):
        load(tmp_path, environ={})


@pytest.mark.parametrize("text", ["0.0.0.0:2222", "localhost:0", "[::]:22", "gpu-1.lab:65535"])
def test_listen(text: str) -> None:
    assert str(parse_listen(text)) == text


@pytest.mark.parametrize(
    "text", ["", "2222", ":2222", "::1:22", "[::1]", "[1.2.3.4]:22", "h:65536", "h:-1", "h:²"]
)
def test_bad_listen(text: str) -> None:
    with pytest.raises(PlatformError, match="HOST:PORT"):
        parse_listen(text)


def test_mirrors_reach_workspaces_and_builds_as_each_reads_them(tmp_path: Path) -> None:
    text = """
        [mirrors]
        apt = "http://deb.example.org/debian"
        pip = "http://pypi.example.org:8080/simple"
    """
    config = load(written(tmp_path, text), environ={})
    assert config.workspace_env() == {
        "PIP_INDEX_URL": "http://pypi.example.org:8080/simple",
        "PIP_TRUSTED_HOST": "pypi.example.org:8080",
        "UV_DEFAULT_INDEX": "http://pypi.example.org:8080/simple",
    }
    assert config.build_env() == {
        "GPU_GATEWAY_APT_MIRROR": "http://deb.example.org/debian",
        "GPU_GATEWAY_PIP_INDEX_URL": "http://pypi.example.org:8080/simple",
    }


def test_a_mirror_with_tls_is_trusted_by_its_certificate(tmp_path: Path) -> None:
    text = """
        [mirrors]
        apt_security = "https://deb.example.org/security"
        pip = "https://pypi.example.org/simple"
        [workspace.env]
        UV_DEFAULT_INDEX = "https://other.example.org/simple"
    """
    config = load(written(tmp_path, text), environ={})
    assert config.workspace_env() == {
        "PIP_INDEX_URL": "https://pypi.example.org/simple",
        "UV_DEFAULT_INDEX": "https://other.example.org/simple",
    }
    assert config.build_env()["GPU_GATEWAY_APT_SECURITY_MIRROR"] == "https://deb.example.org/security"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ('conda = "https://x.example.org"', "mirrors: has apt, apt_security and pip, and nothing else"),
        ('pip = "pypi.example.org"', "mirrors: pip must be an address such as https://"),
        ('apt = "file:///srv/debian"', "mirrors: apt must be an address such as http://"),
        ("pip = 3", "mirrors: pip must be an address"),
        ('pip = "https://me:secret@pypi.example.org/simple"', "mirrors: pip must hold no password"),
        ('apt = "http://deb.example.org/a b"', "mirrors: apt must be an address"),
    ],
)
def test_bad_mirrors(tmp_path: Path, setting: str, says: str) -> None:
    with pytest.raises(PlatformError) as caught:
        load(written(tmp_path, f"[mirrors]\n{setting}\n"), environ={})
    assert says in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("length", ['"0m"', '"2d"', '"ten"', "600"])
def test_programs_get_a_minute_to_a_day_to_save_their_work(tmp_path: Path, length: str) -> None:
    """Nobody else gets the GPUs meanwhile."""
    assert Config().checkpoint == timedelta(minutes=10)
    with pytest.raises(PlatformError, match=r"leases\.checkpoint: "):
        load(written(tmp_path, f"[leases]\ncheckpoint = {length}\n"), environ={})
