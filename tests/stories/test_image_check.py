"""`gpuadmin image check`: a gateway, a user and a workspace for one image, of which nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.docker.naming import WORKSPACE
from tests.stories.conftest import a_pool
from tests.support.derived import Derive, derived
from tests.support.house import House, wait_for

SECONDS = 1200
SHELL_ROWS = ("tools", "account", "places", "rights", "python")


@dataclass(frozen=True)
class Site:
    """An installation whose gateway does not run; checks need none."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What its gpuadmin finds."""
        return {
            **os.environ,
            "GPU_GATEWAY_STATE": str(self.folder / "state"),
            "GPU_GATEWAY_CONFIG": str(self.folder / "config.toml"),
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`gpuadmin image WORDS`, left running."""
        return subprocess.Popen(
            [sys.executable, "-c", "from admin.main import main; main()", "image", *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def image(self, *words: str) -> tuple[int, str, str]:
        """The same to its end: status, stdout, stderr."""
        with self.start(*words) as process:
            said, complained = process.communicate(timeout=SECONDS)
            return process.returncode, said, complained

    def rows(self, ref: str) -> dict[str, tuple[str, str]]:
        """What a check says: each row's result and detail."""
        _, said, complained = self.image("check", ref, "--json")
        assert said, complained
        return {each["row"]: (each["result"], each["detail"]) for each in json.loads(said)}

    def left(self) -> list[Path]:
        """What checks have left in the state directory."""
        return list((self.folder / "state").glob("trials"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "config.toml").write_text(
        f'[network]\npool = "{a_pool()}"\n[workspace.env]\nSITE = "told"\n[metrics]\nlisten = "127.0.0.1:1"\n'
    )
    return Site(tmp_path)


@pytest.fixture
def derive() -> Iterator[Derive]:
    with derived() as maker:
        yield maker


def failing(rows: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {row: detail for row, (result, detail) in rows.items() if result == "failed"}


def test_the_base_image_passes_what_applies_to_it_and_nothing_is_left(site: Site, base_image: str) -> None:
    status, said, told = site.image("check", base_image, "--json")
    rows = {each["row"]: each["result"] for each in json.loads(said)}
    assert status == 0
    assert {row for row, result in rows.items() if result == "passed"} == set(SHELL_ROWS)
    assert set(rows.values()) == {"passed", "does not apply"}
    assert "torch: does not apply" in told.splitlines()
    assert site.left() == []


def test_an_image_that_lacks_something_is_not_added_and_everything_missing_is_said(
    site: Site, base_image: str, derive: Derive
) -> None:
    ref = derive(base_image, "rm /usr/bin/flock /usr/bin/xauth; chmod u+s /usr/bin/tail")
    status, _, told = site.image("add", ref)
    last = told.splitlines()[-1]
    assert (status, "tools (missing: flock xauth)" in last) == (1, True), told
    assert "rights (gives rights: /usr/bin/tail)" in last
    assert json.loads(site.image("list", "--json")[1]) == []
    assert site.image("add", "--no-check", ref)[0] == 0
    assert [image["ref"] for image in json.loads(site.image("list", "--json")[1])] == [ref]


@pytest.mark.slow
def test_a_check_that_is_killed_leaves_nothing_either(site: Site, base_image: str, derive: Derive) -> None:
    # Its login shell reads a pipe that nobody writes to, so that the check never gets further.
    ref = derive(base_image, "mkfifo /etc/nothing; sed -i '1i . /etc/nothing' /etc/bash.bashrc")
    of_it = ["docker", "ps", "-aq", "--filter", f"ancestor={ref}", "--filter", f"label={WORKSPACE}"]
    with site.start("check", ref) as process:
        wait_for(lambda: subprocess.run(of_it, capture_output=True, check=True).stdout, "its container")
        process.send_signal(signal.SIGKILL)
        process.communicate()
    wait_for(lambda: not list(site.folder.glob("state/trials/*")), "the end of its gateway")
    assert subprocess.run(of_it, capture_output=True, check=True).stdout == b""
    assert site.image("check", base_image)[0] == 0
    assert site.left() == []


@pytest.mark.slow
def test_a_gpu_that_nobody_may_be_given_is_tried_beside_a_gateway_that_runs(lab: House) -> None:
    gpu = lab.listed("gpu", "list")[0]["id"]
    for unfit, sentence in ((gpu, f"first run `gpuadmin gpu drain {gpu}`"), ("GPU-none", "no GPU GPU-none")):
        refused = lab.admin("image", "check", lab.image, "--gpu", unfit, status=1).stderr
        assert sentence in refused.splitlines()[-1]
    lab.admin("gpu", "drain", gpu)
    rows = {row["row"]: row for row in lab.listed("image", "check", lab.image, "--gpu", gpu)}
    assert rows["gpu"]["result"] == "passed", rows["gpu"]
    assert rows["matmul"]["result"] == "does not apply"
    assert lab.listed("leases") == []


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize(
    ("row", "script", "change", "detail"),
    [
        ("tools", "rm /usr/bin/flock", "", "missing: flock"),
        ("account", "sed -i 's/^passwd:.*/passwd: db/' /etc/nsswitch.conf", "", "getent knows no account"),
        ("places", "sed -i '1i HOME=/nowhere' /etc/bash.bashrc", "", "/nowhere cannot be written"),
        ("rights", "chmod g+s /usr/bin/tail", "", "gives rights: /usr/bin/tail"),
        ("python", "true", "LABEL io.gpu-gateway.python=3.9.1", "its label says 3.9.1"),
    ],
)
def test_an_image_that_is_broken_for_a_row_fails_that_row_alone(
    site: Site, base_image: str, derive: Derive, row: str, script: str, change: str, detail: str
) -> None:
    failed = failing(site.rows(derive(base_image, script, *filter(None, [change]))))
    assert set(failed) == {row}
    assert detail in failed[row]
