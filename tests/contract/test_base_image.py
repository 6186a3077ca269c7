"""What people and editors find in the base image, asked in a container as the platform runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

RECIPE = Path(__file__).resolve().parents[2] / "images" / "base" / "build.sh"

PROGRAMS = """
    awk base64 bash cat cp curl cut date dirname find flock free getconf getent git grep gunzip gzip head
    id kill less ln locale ls mkdir mkfifo mktemp mv nohup pgrep pkill ps python3 readlink realpath rm rsync
    scp script sed setsid sftp sh sha256sum sleep sort ssh ssh-add ssh-agent ssh-keygen stty tail tar tee
    timeout tmux top touch tr tty uname uptime vi wc wget xauth xz
""".split()


def inside(image: str, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `script` as a uid that no file of the image knows, on a read-only root, without rights."""
    return subprocess.run(
        ["docker", "run", "--rm", "--read-only", "--tmpfs", "/run", "--network", "none"]
        + ["--user", "54321:54321", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        + [*options, image, "/bin/bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_holds_the_programs_that_shells_and_editors_need(base_image: str) -> None:
    names = " ".join(PROGRAMS)
    done = inside(base_image, f"for p in {names}; do command -v $p >/dev/null || echo $p; done")
    assert (done.returncode, done.stdout) == (0, "")
    served = inside(base_image, "test -x /usr/lib/openssh/sftp-server && ls /usr/lib/*/libstdc++.so.6")
    assert served.returncode == 0, served.stderr


def test_gives_nobody_rights_and_serves_no_logins(base_image: str) -> None:
    found = inside(base_image, "find / -xdev -type f -perm /6000 2>/dev/null; command -v sudo sshd")
    assert found.stdout == ""


@pytest.mark.parametrize("name", ["C.UTF-8", "en_US.UTF-8", "zh_CN.UTF-8"])
def test_knows_the_locale(base_image: str, name: str) -> None:
    done = inside(
        base_image,
        "locale charmap; python3 -c 'import locale; locale.setlocale(locale.LC_ALL)'",
        f"-eLC_ALL={name}",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "UTF-8\n", "")


def test_a_home_can_be_mounted_on_the_read_only_root(base_image: str) -> None:
    done = inside(
        base_image, "cd && touch here && pwd; touch /etc/x", "--tmpfs=/home/ada:uid=54321", "-eHOME=/home/ada"
    )
    assert done.stdout == "/home/ada\n"
    assert "Read-only file system" in done.stderr


def test_shows_no_gpu_by_default_and_speaks_utf8(base_image: str) -> None:
    done = inside(base_image, 'echo "$NVIDIA_VISIBLE_DEVICES $LANG"')
    assert done.stdout == "void C.UTF-8\n"


def test_keeps_nothing_of_the_build(base_image: str) -> None:
    traces = "cat /etc/machine-id; grep -rhi -e proxy -e retries /etc/apt"
    assert inside(base_image, f"{traces}; find /var/lib/apt/lists /var/log -type f -size +0").stdout == ""
    mirrors = inside(base_image, "grep -rh ^deb /etc/apt | cut -d' ' -f3 | sort -u").stdout
    assert mirrors == "http://deb.debian.org/debian\nhttp://deb.debian.org/debian-security\n"


def test_is_labelled_with_its_version_and_its_recipe(base_image: str) -> None:
    shown = ["docker", "image", "inspect", "-f", "{{json .Config.Labels}}", base_image]
    labels = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    revision = subprocess.run(
        [RECIPE, "--revision"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert '"org.opencontainers.image.version":"dev"' in labels
    assert f'"org.opencontainers.image.revision":"{revision}"' in labels


@pytest.mark.parametrize(
    ("ref", "environment", "status", "sentence"),
    [
        ("base", {}, 2, "'base' is not NAME:VERSION"),
        ("base:", {}, 2, "'base:' is not NAME:VERSION"),
        ("site:5000/base", {}, 2, "is not NAME:VERSION"),
        (
            "base:1",
            {"DOCKER_HOST": "unix:///nowhere.sock"},
            1,
            "No Docker engine answers at unix:///nowhere.sock",
        ),
        ("base:1", {"GPU_GATEWAY_CA_BUNDLE": "/nowhere.pem"}, 1, "The CA bundle /nowhere.pem cannot be read"),
        (
            "base:1",
            {"GPU_GATEWAY_APT_MIRROR": "http://me:secret@127.0.0.1:1/debian"},
            1,
            "from http://127.0.0.1:1/debian;",
        ),
    ],
)
def test_a_build_that_cannot_be_says_why_in_its_last_line(
    ref: str, environment: dict[str, str], status: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([RECIPE, ref], capture_output=True, text=True, timeout=60)
    assert done.returncode == status
    assert sentence in done.stderr.splitlines()[-1]
    assert "secret" not in done.stdout + done.stderr.splitlines()[-1]


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_a_build_that_is_cut_short_leaves_nothing(tmp_path: Path, how: str) -> None:
    """Somebody ends it, or the kernel kills what it runs for want of memory: all that it made is gone."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = {"GPU_GATEWAY_APT_MIRROR": f"http://127.0.0.1:{silent.getsockname()[1]}/debian"}
        build = subprocess.Popen(
            [RECIPE, "base:1"],
            env={**os.environ, **mirror, "no_proxy": "127.0.0.1", "TMPDIR": str(tmp_path)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        silent.settimeout(60)
        asked, _ = silent.accept()
        with asked:
            assert list(tmp_path.iterdir()) != []
            if how == "ended":
                os.killpg(build.pid, signal.SIGTERM)
            else:
                for pid in group(build.pid) - {build.pid}:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            assert build.wait(60) != 0
            asked.settimeout(60)
            while asked.recv(65536):
                pass
    assert list(tmp_path.iterdir()) == []


def group(leader: int) -> set[int]:
    """The pids of a process group."""
    listed = subprocess.run(["pgrep", "-g", str(leader)], capture_output=True, text=True, check=True)
    return {int(pid) for pid in listed.stdout.split()}
