"""A site whose proxy looks into TLS: builds and workspaces get their packages through it, and trust it.

The proxy is on another machine, for a workspace reaches no address of its own host. The names of the site's
mirrors exist nowhere but in the proxy, so that nothing can come from elsewhere.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from urllib.parse import unquote

import pytest
from click.testing import CliRunner

from admin.main import cli
from tests.stories.conftest import a_house, ended
from tests.support.elsewhere import Elsewhere, elsewhere
from tests.support.house import House
from tests.support.inspecting_proxy import Authority, InspectingProxy, inspecting_proxy
from tests.support.package_index import package_index
from tests.support.recipe import Recipe, docker

_SETTINGS = """
[proxy]
http = "{proxy}"
https = "{proxy}"
[mirrors]
apt = "https://debian.example.org/debian"
apt_security = "http://security.example.org/updates"
pip = "https://pypi.example.org/simple"
[workspace]
ca_bundle = "{bundle}"
"""
_PYPI = "https://pypi.example.org/"
_PIP = "gpu-gateway/pytorch:9.1-cpu"
_WINS = re.compile(r"(https?|no|all)_proxy$|PIP_|GPU_GATEWAY_|SSL_CERT_|REQUESTS_CA_|CURL_CA_", re.IGNORECASE)
"""What the environment of a machine may say of the same things; then it would win over the config."""


@pytest.fixture
def site() -> Iterator[Path]:
    """A folder that every account can look into: apt asks as one of its own."""
    with tempfile.TemporaryDirectory(prefix="site-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def away() -> Iterator[Elsewhere]:
    """Where the proxy is."""
    with elsewhere() as made:
        yield made


@pytest.fixture
def recipe(tmp_path: Path, base_image: str) -> Iterator[Recipe]:
    """A small recipe of wheels; its image is removed."""
    made = Recipe(tmp_path, base_image)
    yield made
    docker("image", "rm", "-f", _PIP, check=False)
    assert made.traces() == []


@contextmanager
def _proxy(site: Path, away: Elsewhere, leads: Mapping[str, str]) -> Iterator[tuple[InspectingProxy, str]]:
    """The site's proxy, and the config that says so."""
    authority = Authority(site)
    with inspecting_proxy(away.listener(), authority, leads) as proxy:
        yield proxy, _SETTINGS.format(proxy=proxy.url, bundle=authority.bundle)


@contextmanager
def _house(image: str, settings: str) -> Iterator[House]:
    """A gateway of the site, not started yet."""
    environment = {name: value for name, value in os.environ.items() if not _WINS.match(name)}
    house = a_house(image, environment, settings)
    try:
        yield house
    finally:
        ended(house)


@pytest.mark.slow
def test_wheels_for_an_image_and_for_a_workspace(
    site: Path, away: Elsewhere, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip fetches an image's wheels on the host, and a user's own in her container; so does curl."""
    (recipe.folder / "images").mkdir()
    (recipe.folder / "images" / "pytorch").symlink_to(recipe.recipe)
    monkeypatch.setattr("admin.building.RECIPES", recipe.folder / "images")
    for name in filter(_WINS.match, list(os.environ)):
        monkeypatch.delenv(name)
    for name in ("PIP_CONFIG_FILE", "PIP_RETRIES", "GPU_GATEWAY_PYTHON", "TMPDIR"):
        monkeypatch.setenv(name, recipe.environment()[name])
    with (
        package_index(recipe.wheels) as index,
        _proxy(site, away, {_PYPI: index.url.removesuffix("simple")}) as (proxy, settings),
        _house(recipe.base, settings) as house,
    ):
        words = ["--config", house.environment["GPU_GATEWAY_CONFIG"], "--state", str(house.state)]
        built = CliRunner().invoke(cli, [*words, "image", "build", "pytorch", "--flavour", "cpu"])
        assert built.exit_code == 0, built.stderr
        wheels = {f"{_PYPI}wheels/{wheel.name}" for wheel in recipe.wheels.iterdir()}
        assert len(wheels) == 2
        assert wheels <= set(proxy.asked)
        del proxy.asked[:]
        house.start()
        alice = house.add("alice")
        script = "python3 -m venv /tmp/v && /tmp/v/bin/pip install -q tiny && /tmp/v/bin/python -c"
        used = alice.ssh(f"{script} 'import tiny; print(tiny.answer())'")
        assert used.stdout == b"42\n", used
        assert wheels & set(proxy.asked) == {f"{_PYPI}wheels/tiny-1.0-py3-none-any.whl"}
        page = alice.ssh(f"curl -sS {_PYPI}simple/tiny/")
        assert b"tiny-1.0-py3-none-any.whl" in page.stdout, page
        # Who does not trust the site's authority gets nothing, so that it is what made the others work.
        strange = alice.ssh(f"curl -sS --cacert /etc/ssl/certs/ca-certificates.crt {_PYPI}")
        assert (strange.returncode, b"certificate" in strange.stderr) == (60, True), strange


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_base_image_from_the_sites_mirrors(
    site: Path, away: Elsewhere, base_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every package of the image came from a mirror of the config, one with TLS and one without."""
    own = os.environ.get("GPU_GATEWAY_APT_MIRROR", "http://deb.debian.org/debian").rstrip("/")
    security = os.environ.get("GPU_GATEWAY_APT_SECURITY_MIRROR", f"{own}-security").rstrip("/")
    asked_by_apt = ["apt-config", "dump", "--format", "%v", "Acquire::http::Proxy"]
    if through := subprocess.run(asked_by_apt, capture_output=True, text=True, check=True).stdout:
        monkeypatch.setenv("http_proxy", through)
    leads = {
        "https://debian.example.org/debian/": f"{own}/",
        "http://security.example.org/updates/": f"{security}/",
    }
    with _proxy(site, away, leads) as (proxy, settings), _house(base_image, settings) as house:
        command = [sys.executable, "-c", "from admin.main import main; main()", "image", "build", "base"]
        subprocess.run(command, env=house.environment, check=True, timeout=500)
        built = house.listed("image", "list")[-1]["ref"]
        try:
            words = ["dpkg-query", "-W", "-f", "${Package}_${Version}_${Architecture}\n"]
            held = set(docker("run", "--rm", built, *words).splitlines())
        finally:
            docker("image", "rm", built)
        names = [unquote(PurePath(address).name) for address in proxy.asked]
        came = {name.removesuffix(".deb") for name in names if name.endswith(".deb")}
        # The file's name leaves the epoch of a version out.
        assert {re.sub("_[0-9]+:", "_", each) for each in held} <= came
        for beginning, suite in zip(leads, ("bookworm", "bookworm-security"), strict=True):
            assert f"{beginning}dists/{suite}/InRelease" in proxy.asked
