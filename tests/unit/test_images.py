"""Which version of an image is built and run, and with which driver."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from gateway.channels import Channel
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion, choose, driver_fault, driver_runs, named, releases, stable

ROOT = Path(__file__).resolve().parents[2]
KNOWN = releases(tomllib.loads((ROOT / "images" / "pytorch" / "versions.toml").read_text()))


@pytest.mark.parametrize(
    ("needs", "has", "runs"),
    [
        ("", None, True),
        ("525.60.13", None, False),
        ("525.60.13", "525.60.13", True),
        ("525.60.13", "550.54.15", True),
        ("525.60.13", "525.60.9", False),
        # As numbers, not as text.
        ("525.60.13", "1000.1", True),
        ("580", "580.65.06", True),
        ("525.60.13", "garbage", False),
    ],
)
def test_a_driver_runs_what_asks_for_no_newer_one(needs: str, has: str | None, runs: bool) -> None:
    assert driver_runs(needs, has) is runs


def test_a_driver_that_is_too_old_is_told_with_both_versions() -> None:
    assert driver_fault("x:1", "580", "580.1") is None
    fault = driver_fault("x:1", "580.65", "550.54.15") or ""
    assert "x:1 needs NVIDIA's driver 580.65 or newer" in fault
    assert "has 550.54.15;" in fault
    assert "has none;" in (driver_fault("x:1", "580.65", None) or "")


@pytest.mark.parametrize(
    ("flavour", "version", "driver", "chosen"),
    [
        (None, None, "550.54.15", "2.9.1-cu128"),
        (None, None, "470.1", "2.13.0-cpu"),
        (None, None, None, "2.13.0-cpu"),
        ("cpu", None, "550.54.15", "2.13.0-cpu"),
        # For another machine.
        ("cu128", None, None, "2.9.1-cu128"),
        (None, "2.9.1", None, "2.9.1-cu128"),
        (None, "2.13.0-cpu", "550.54.15", "2.13.0-cpu"),
    ],
)
def test_the_flavour_is_what_the_machine_can_use_unless_one_is_asked_for(
    flavour: str | None, version: str | None, driver: str | None, chosen: str
) -> None:
    assert choose(KNOWN, flavour, version, driver).version == chosen


@pytest.mark.parametrize(("flavour", "version"), [("cu999", None), ("cpu", "2.9.1"), (None, "1.0")])
def test_a_version_that_there_is_not_is_answered_with_those_that_there_are(
    flavour: str | None, version: str | None
) -> None:
    with pytest.raises(PlatformError, match=r"2\.9\.1-cu128, 2\.13\.0-cpu\.$") as caught:
        choose(KNOWN, flavour, version, "550.54.15")
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize("release", KNOWN, ids=lambda release: release.version)
def test_a_lock_file_holds_its_torch_with_a_hash_and_says_nothing_of_where_it_was_made(release) -> None:  # type: ignore[no-untyped-def]
    folder = ROOT / "images" / "pytorch"
    facts = tomllib.loads((folder / "versions.toml").read_text())[release.version]
    lock = (folder / facts["lock"]).read_text()
    lines = [line for line in lock.splitlines() if line and not line.startswith(("#", " "))]
    assert all("==" in line and line.endswith("\\") for line in lines)
    assert any(line.startswith((f"torch=={release.torch} ", f"torch=={release.torch}+")) for line in lines)
    assert not any(trace in lock for trace in ("://", "--find-links", "--index-url", "-e ", " @ "))
    assert release.version == f"{release.torch}-{release.flavour}"
    wanted = [
        *(folder / "wanted").read_text().splitlines(),
        *(("torchvision", "torchaudio") if "cuda" in facts else ()),
    ]
    for name in wanted:
        assert name.startswith("#") or f"\n{name}==" in f"\n{lock}", name
    # It names what it is built on, which is a recipe as well, with the compiler that torch.compile calls.
    assert "g++" in (ROOT / "images" / release.base / "packages").read_text()
    if "cuda" in facts:
        assert f"\nnvidia-nccl-cu12=={facts['nccl']} " in lock
        assert f"\nnvidia-cudnn-cu12=={facts['cudnn']}." in lock


def test_the_image_with_a_compiler_is_another_one_than_base_and_leaves_no_copy_of_its_recipe(
    tmp_path: Path,
) -> None:
    told = [
        subprocess.run(
            [ROOT / "images" / name / "build.sh", "--revision"],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in ("base", "base-cc")
    ]
    assert told[0] != told[1] != ""
    assert list(tmp_path.iterdir()) == []


def test_a_version_is_found_by_its_last_build_or_by_a_digest() -> None:
    made = [
        ImageVersion(number, "x:1", "x", "1", "cpu", f"sha256:{number:064x}", channel)
        for number, channel in enumerate((Channel.STABLE, Channel.CANDIDATE))
    ]
    assert stable(made, "x") == made[0]
    assert stable(made, "y") is None
    assert named(made, "x:1") == made[1]
    assert named(made, f"sha256:{0:064x}") == made[0]
    # So short a piece means many.
    assert named(made, "sha256:0") is named(made, "x:2") is None
