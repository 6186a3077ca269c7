"""`gpuadmin image build base`, on the real engine and with the real recipe."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from admin.main import cli
from tests.support.disks import small_disk
from tests.support.stores import NOW, add_people, open_store


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_built_image_is_what_workspaces_run(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    with closing(open_store(Path(state))) as store:
        add_people(store, "alice")
        result = CliRunner().invoke(cli, ["--state", state, "image", "build", "base"])
        assert result.exit_code == 0, result.output
        listed = CliRunner().invoke(cli, ["--state", state, "image", "list", "--json"])
        (image,) = json.loads(listed.stdout)
        try:
            shown = subprocess.run(
                ["docker", "image", "inspect", "-f", "{{.Id}}", image["ref"]],
                capture_output=True,
                text=True,
                check=True,
            )
            assert shown.stdout.strip() == image["digest"] == store.workspace(1).image.digest
            assert image["ref"] == f"gpu-gateway/base:{image['version']}"
            assert image["ref"] in result.stdout
            assert "installing Debian" in result.stderr
        finally:
            subprocess.run(["docker", "image", "rm", image["ref"]], check=True, capture_output=True)


def test_an_image_without_a_recipe_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["--state", str(tmp_path / "state"), "image", "build", "nope"])
    assert result.exit_code == 2
    assert "base" in result.stderr


def test_what_the_config_says_of_the_site_reaches_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "images" / "base" / "build.sh"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(
        '#!/bin/sh\necho "by $https_proxy with $GPU_GATEWAY_CA_BUNDLE from $GPU_GATEWAY_APT_MIRROR"; exit 1\n'
    )
    recipe.chmod(0o755)
    config = tmp_path / "config.toml"
    config.write_text(
        '[proxy]\nhttps = "http://proxy.example.org:3128"\n[workspace]\nca_bundle = "/etc/ssl/site.pem"\n'
        '[mirrors]\napt = "http://deb.example.org/debian"\n'
    )
    monkeypatch.setattr("admin.building.RECIPES", tmp_path / "images")
    for name in ("https_proxy", "GPU_GATEWAY_CA_BUNDLE", "GPU_GATEWAY_APT_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    words = ["--config", str(config), "--state", str(tmp_path / "state"), "image", "build", "base"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 75
    said = "by http://proxy.example.org:3128 with /etc/ssl/site.pem from http://"
    assert f"{said}deb.example.org/debian" in result.stderr
    monkeypatch.setenv("GPU_GATEWAY_APT_MIRROR", "http://other.example.org/debian")
    assert f"{said}other.example.org/debian" in CliRunner().invoke(cli, words).stderr


def test_the_sites_certificates_reach_the_recipe(tmp_path: Path, base_image: str) -> None:
    """Seen by what the recipe says of a bundle that is not there."""
    config, state = tmp_path / "config.toml", tmp_path / "state"
    config.write_text('[workspace]\nca_bundle = "/nowhere/site.pem"\n')
    with closing(open_store(state)) as store:
        digest = subprocess.run(
            ["docker", "image", "inspect", "-f", "{{.Id}}", base_image],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        store.add_image("base-cc", "1", "cpu", base_image, digest, "test", NOW)
    options = ["--config", str(config), "--state", str(state)]
    result = CliRunner().invoke(cli, [*options, "image", "build", "pytorch", "--flavour", "cpu"])
    assert result.exit_code == 75
    assert "The CA bundle /nowhere/site.pem cannot be read" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("after", "says"),
    [
        ("echo 'The mirror is not reachable.'", "a disk is full; make room in {disk} and where the engine"),
        ("echo 'The disk of the site is full.'", "The disk of the site is full."),
    ],
)
def test_a_full_disk_is_what_a_recipe_failed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str, says: str
) -> None:
    """A recipe that fills its disk, and one that says itself which it was; nothing is recorded."""
    recipe, state = tmp_path / "images" / "base" / "build.sh", tmp_path / "state"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(
        f'#!/bin/sh\ncat /dev/zero >"$TMPDIR/root" || {{ rm "$TMPDIR/root"; {after}; exit 1; }}\n'
    )
    recipe.chmod(0o755)
    monkeypatch.setattr("admin.building.RECIPES", tmp_path / "images")
    with small_disk(tmp_path, 4) as disk, closing(open_store(state)) as store:
        monkeypatch.setenv("TMPDIR", str(disk))
        result = CliRunner().invoke(cli, ["--state", str(state), "image", "build", "base"])
        assert result.exit_code == 75
        said = result.stderr.splitlines()[-1]
        assert f"could not be built: {says.format(disk=disk)}" in said
        assert store.images() == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_debians_packages_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real recipe, where apt says beforehand that it will not fit."""
    state = tmp_path / "state"
    with small_disk(tmp_path, 160) as disk, closing(open_store(state)) as store:
        monkeypatch.setenv("TMPDIR", str(disk))
        result = CliRunner().invoke(cli, ["--state", str(state), "image", "build", "base"])
        assert result.exit_code == 75
        assert f"could not be built: a disk is full; make room in {disk}" in result.stderr.splitlines()[-1]
        assert store.images() == []
        assert [path.name for path in disk.iterdir()] == ["lost+found"]
