"""Images to and from a real registry, which may be away, slow, full, closed, or serve something else."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from click.testing import CliRunner

from admin.main import cli
from gateway.docker import images, keeping, registry
from gateway.docker.backend import DockerBackend
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion
from gateway.references import Reference
from gateway.transfers import Transfer
from tests.support.docker_world import docker
from tests.support.registry import PASSWORD, Registry, spoiled
from tests.support.registry import registry as started
from tests.support.stores import NOW, add_people, open_store

SIZE = 3 << 20
MINUTE = timedelta(minutes=1)
Make = Callable[[], str]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A program that needs nothing else in its image and says yes to whatever it is asked."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "yes.c").write_text("int main(void) { return 0; }\n")
    subprocess.run(["cc", "-static", "-o", folder / "sh", folder / "yes.c"], check=True)
    return (folder / "sh").read_bytes()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with started(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture(autouse=True)
def lets_in(site: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(site.docker_config))


@pytest.fixture
def make(shell: bytes) -> Iterator[Make]:
    """Makes small images, each another one, that the platform's program could start in; they are removed."""
    made: list[str] = []

    def image() -> str:
        packed = BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for path, content in (("bin/sh", shell), ("noise", secrets.token_bytes(SIZE))):
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(content), 0o755
                tar.addfile(entry, BytesIO(content))
        done = subprocess.run(
            ["docker", "import", "-"], input=packed.getvalue(), capture_output=True, check=True
        )
        made.append(done.stdout.decode().strip())
        return made[-1]

    yield image
    for digest in made:
        docker("image", "rm", "-f", digest, check=False)


def quiet(transfer: Transfer) -> None:
    """Nobody listens."""


def pushed(site: Registry, digest: str) -> Reference:
    """Where it can be fetched; this engine has it no more."""
    place = Reference(f"{site.host}/lab/{secrets.token_hex(4)}", tag="1")
    found = registry.push(digest, place, quiet)
    docker("image", "rm", "-f", digest)
    return found


def test_what_was_pushed_is_fetched_by_its_digest(site: Registry, make: Make) -> None:
    digest, heard = make(), list[Transfer]()
    place = Reference(f"{site.host}/lab/vision", tag="2.9")
    found = registry.push(digest, place, heard.append)
    assert found.repository == place.repository
    assert (heard[-1].done, heard[-1].whole) == (heard[-1].total, True)
    assert heard[-1].total > SIZE
    assert registry.resolve(place) == found
    docker("image", "rm", "-f", digest)
    heard.clear()
    assert registry.fetch(found, heard.append, expected=digest) == digest
    assert any(each.arrived and each.total > SIZE for each in heard)
    # Again, and nothing comes over the line.
    assert registry.fetch(found, quiet, expected=digest) == digest


def other_manifest(request: str, body: bytes) -> bytes | None:
    return body.replace(b"layers", b"layerz") if "/manifests/sha256:" in request else body


def other_layer(request: str, body: bytes) -> bytes | None:
    return body[:-1] + bytes([body[-1] ^ 1]) if "/blobs/" in request and len(body) > SIZE else body


def never(request: str, body: bytes) -> bytes | None:
    return None if "/blobs/" in request and len(body) > SIZE else body


def as_it_is(request: str, body: bytes) -> bytes | None:
    return body


@pytest.mark.parametrize(
    ("spoil", "code", "why"),
    [
        (other_manifest, Code.UNAVAILABLE, "manifest verification failed"),
        (other_layer, Code.UNAVAILABLE, "layer verification failed"),
        (never, Code.UNAVAILABLE, "has sent nothing of .* for 2 seconds"),
    ],
)
def test_a_registry_that_serves_something_else_or_nothing(
    site: Registry,
    make: Make,
    spoil: Callable[[str, bytes], bytes | None],
    code: Code,
    why: str,
) -> None:
    place = pushed(site, make())
    with spoiled(site, spoil) as host:
        before = keeping_all()
        asked = Reference(place.repository.replace(site.host, host), digest=place.digest)
        with pytest.raises(PlatformError, match=why) as caught:
            registry.fetch(asked, quiet, stalled=2)
    assert caught.value.code is code
    assert "nothing was changed" in caught.value.message
    assert keeping_all() == before
    # The same from the registry itself, as a proof that it was the way there.
    registry.fetch(place, quiet)


def keeping_all() -> list[str]:
    """What the engine holds, half-made images included, of these tests' registries."""
    rows = docker("image", "ls", "-a", "--digests", "--format", "{{.Repository}}@{{.Digest}} {{.ID}}").stdout
    return sorted(row for row in rows.splitlines() if row.startswith("127.0.0.1:"))


def test_an_image_that_is_not_what_was_promised(site: Registry, make: Make) -> None:
    place, before = pushed(site, make()), keeping_all()
    promised = "sha256:" + "1" * 64
    with pytest.raises(PlatformError, match="which was promised; nothing was changed") as caught:
        registry.fetch(place, quiet, expected=promised)
    assert caught.value.code is Code.CONFLICT
    assert keeping_all() == before


def test_a_registry_that_is_away_closed_or_has_no_such_image(
    site: Registry, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    digest = make()
    place, before = pushed(site, digest), keeping_all()
    away = Reference("127.0.0.1:1/lab/x", digest=place.digest)
    absent = Reference(f"{site.host}/lab/absent", digest=place.digest)
    other, gone = make(), Reference("127.0.0.1:1/lab/x", tag="1")
    # With a name of its own, for an image's last name is not taken away.
    keeping.name(other, f"gpu-gateway-test/{secrets.token_hex(4)}:1")
    for act, code, why in (
        (lambda: registry.fetch(away, quiet), Code.UNAVAILABLE, "connection refused"),
        (lambda: registry.resolve(gone), Code.UNAVAILABLE, "connection refused"),
        (lambda: registry.push(other, gone, quiet), Code.UNAVAILABLE, "connection refused"),
        (lambda: registry.fetch(absent, quiet), Code.NOT_FOUND, "or not for us"),
        (lambda: registry.resolve(Reference(place.repository, tag="9")), Code.NOT_FOUND, "manifest unknown"),
    ):
        with pytest.raises(PlatformError, match=why) as caught:
            act()
        assert (caught.value.code, "docker login" in caught.value.message) == (code, True)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(PlatformError, match=r"no basic auth credentials.*docker login") as caught:
        registry.fetch(place, quiet)
    with pytest.raises(PlatformError, match=r"no basic auth credentials.*docker login") as caught:
        registry.push(other, Reference(place.repository, tag="2"), quiet)
    assert keeping_all() == before


async def test_a_backend_fetches_in_the_background(site: Registry, make: Make) -> None:
    digest, ref = make(), f"gpu-gateway-test/{secrets.token_hex(4)}:1"
    place, heard = pushed(site, digest), list[Transfer]()
    image = ImageVersion(1, ref, "x", "1", "cpu", digest, registry_digest=str(place))
    backend = DockerBackend("0000", "10.214.0.0/20")
    try:
        assert not await backend.holds(digest)
        await backend.fetch(image, heard.append)
        assert heard[-1].arrived
        assert await backend.holds(digest)
        assert docker("image", "inspect", "-f", "{{.Id}}", ref).stdout.strip() == digest
        docker("image", "rm", "-f", digest)
        # Given up half-way: the engine holds nothing of it, and the loop is not held up.
        with spoiled(site, never) as host:
            docker("image", "rm", "-f", digest, check=False)
            away = replace(image, registry_digest=str(place).replace(site.host, host))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await backend.fetch(away, heard.append)
            assert not await backend.holds(digest)
    finally:
        await backend.close()


@pytest.mark.slow
def test_a_registry_that_is_full(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine tries five times and waits in between, so it takes more than a minute."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=True)
    try:
        with started(tmp_path) as full:
            monkeypatch.setenv("DOCKER_CONFIG", str(full.docker_config))
            before, place = keeping_all(), Reference(f"{full.host}/lab/x", tag="1")
            digest = make()
            docker("tag", digest, "gpu-gateway-test/full:1")
            with pytest.raises(PlatformError, match=r"the transfer of .* failed") as caught:
                registry.push(digest, place, quiet)
            assert caught.value.code is Code.UNAVAILABLE
            assert keeping_all() == before
            with pytest.raises(PlatformError, match="manifest unknown"):
                registry.resolve(place)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_the_commands_push_prune_and_fetch_again(
    site: Registry, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GPU_GATEWAY_CONFIG", raising=False)
    monkeypatch.setenv("GPU_GATEWAY_STATE", str(tmp_path / "state"))
    said: list[str] = []

    def gpuadmin(*words: str, status: int = 0) -> str:
        result = CliRunner().invoke(cli, ["image", *words])
        said.append(result.output)
        assert result.exit_code == status, (words, result.output)
        return result.stdout if status == 0 else result.stderr

    def held(ref: str) -> bool:
        return images.find(ref) is not None

    name = f"gpu-gateway-test/{secrets.token_hex(4)}"
    refs, digests = [f"{name}:{number}" for number in range(1, 7)], [make() for _ in range(6)]
    place = f"{site.host}/lab/{secrets.token_hex(4)}"
    with closing(open_store(tmp_path / "state")) as store:
        add_people(store, "alice")
        for number, (ref, digest) in enumerate(zip(refs, digests, strict=True), 1):
            docker("tag", digest, ref)
            store.add_image(name, str(number), "cpu", ref, digest, "test", NOW + number * MINUTE)
    gpuadmin("push", refs[0], place)
    (record,) = [each for each in json.loads(gpuadmin("list", "--json")) if each["ref"] == refs[0]]
    assert record["registry_digest"].startswith(f"{place}@sha256:")
    gpuadmin("promote", refs[1])
    gpuadmin("pin", "alice", refs[2])
    docker("tag", digests[4], f"{name}:operators-own")
    stranger = make()
    docker("tag", stranger, f"{name}:strange")
    ran = docker("create", digests[3], "/bin/sh").stdout.strip()
    try:
        # The first is what a rollback goes back to, the second stable, the third pinned, the fourth run.
        assert gpuadmin("prune", "--keep", "1") == (
            f"Retired {refs[4]} ({digests[4][:19]}), but left it in the engine: "
            f"it is also called {name}:operators-own.\n"
        )
        assert [held(ref) for ref in refs] == [True] * 6
        gpuadmin("promote", refs[5])
        gpuadmin("promote", refs[1])
    finally:
        docker("rm", ran)
    docker("rmi", f"{name}:operators-own")
    left = gpuadmin("prune", "--keep", "1", "--reason", "a full disk").splitlines()
    assert left == [f"Removed {refs[n]} ({digests[n][:19]})." for n in (0, 3, 4)]
    assert [held(digest) for digest in (*digests, stranger)] == [False, True, True, False, False, True, True]

    assert "There is no" not in gpuadmin("pull", refs[0])
    assert (held(digests[0]), held(refs[0])) == (True, True)
    docker("image", "rm", "-f", digests[0])
    fetched = gpuadmin("pull", f"{place}:1", "--name", name, "--reason", "the new node")
    assert fetched.endswith(f"a candidate version of {name}.\n")
    assert held(f"{place}:1")
    with spoiled(site, other_layer) as host:
        docker("image", "rm", "-f", digests[0])
        before = gpuadmin("list", "--json")
        wrong = gpuadmin("pull", f"{place.replace(site.host, host)}:1", status=75)
        assert "layer verification failed" in wrong
        assert gpuadmin("list", "--json") == before
    assert "is neither a version" in gpuadmin("pull", "vision", status=2)
    assert "is no place in a registry" in gpuadmin("push", refs[1], "vision", status=2)
    assert "There is no image" in gpuadmin("push", "vision:1", place, status=1)
    assert PASSWORD not in "".join(said)


def test_a_name_is_given_to_what_has_none(make: Make) -> None:
    first, second, ref = make(), make(), f"gpu-gateway-test/{secrets.token_hex(4)}:1"
    keeping.name(first, ref)
    keeping.name(second, ref)
    held = images.find(ref)
    assert held is not None
    assert held.digest == first
    assert keeping.remove("sha256:" + "0" * 64, ()) is None
