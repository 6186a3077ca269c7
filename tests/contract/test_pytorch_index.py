"""Images from the site's own package indexes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from admin.main import cli
from tests.support.package_index import PackageIndex, package_index
from tests.support.recipe import Recipe, docker
from tests.support.stores import NOW, open_store

REF = "gpu-gateway/pytorch:9.1-cpu"


@pytest.fixture
def recipe(tmp_path: Path, base_image: str) -> Iterator[Recipe]:
    """A small recipe; its image is removed."""
    made = Recipe(tmp_path, base_image)
    yield made
    docker("image", "rm", "-f", made.ref, REF, check=False)
    assert made.traces() == []


@pytest.fixture
def indexes(recipe: Recipe) -> Iterator[list[PackageIndex]]:
    """Two: of the recipe's wheels the first holds pip and the second the rest, and no other place any."""
    with ExitStack() as stack:
        made = []
        for name, pattern in (("first", "pip-*"), ("second", "tiny-*")):
            (recipe.folder / name).mkdir()
            for wheel in recipe.wheels.glob(pattern):
                wheel.rename(recipe.folder / name / wheel.name)
            made.append(stack.enter_context(package_index(recipe.folder / name)))
        yield made


def test_an_image_from_the_mirror_of_the_config_and_one_index_more(
    recipe: Recipe, indexes: list[PackageIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither has TLS nor an address that pip trusts by itself; the hashes of the lock file are enough."""
    mirror, other = indexes
    state, config = recipe.folder / "state", recipe.folder / "config.toml"
    config.write_text(f'[mirrors]\npip = "{mirror.url}"\n')
    (recipe.folder / "images").mkdir()
    (recipe.folder / "images" / "pytorch").symlink_to(recipe.recipe)
    monkeypatch.setattr("admin.building.RECIPES", recipe.folder / "images")
    for name, value in recipe.environment(GPU_GATEWAY_PIP_FIND_LINKS="").items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GPU_GATEWAY_PIP_INDEX_URL")
    with closing(open_store(state)) as store:
        digest = docker("image", "inspect", "-f", "{{.Id}}", recipe.base)
        store.add_image("base", "1", "cpu", recipe.base, digest, "test", NOW)
        words = ["--config", str(config), "--state", str(state), "image", "build", "pytorch"]
        built = CliRunner().invoke(cli, [*words, "--flavour", "cpu", "--index-url", other.url])
        assert built.exit_code == 0, built.stderr
        assert [image.ref for image in store.images()] == [recipe.base, REF]
    assert any(path.startswith("/wheels/pip-") for path in mirror.asked)
    assert [path for path in other.asked if path.endswith(".whl")] == ["/wheels/tiny-1.0-py3-none-any.whl"]
    assert docker("run", "--rm", REF, "python3", "-c", "import tiny; print(tiny.answer())") == "42"
