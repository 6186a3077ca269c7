"""`./dev up` on a new state directory lands in PyTorch: the real recipe, the real wheels, ssh, a notebook."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stories.test_dev import Checkout, a_checkout
from tests.support.near import free_port
from tests.support.stacks import browser, libraries, tools
from tests.support.wheels import write_wheel

_TRAIN = """
import torch
torch.manual_seed(0)
model, inputs = torch.nn.Linear(8, 1), torch.randn(64, 8)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
losses = []
for _ in range(20):
    loss = model(inputs).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(losses[-1] < losses[0], torch.__version__)
"""


_CELL = """\
import os, socket, torch
print(socket.gethostname(), os.readlink("/proc/self/ns/pid"), torch.ones(3).sum().item())"""


@dataclass(frozen=True)
class Lab:
    """A gateway that `./dev up` brought, in `took` seconds, and the command line that it said to type."""

    checkout: Checkout
    said: str
    took: float
    name: str
    ssh: list[str]

    def inside(self, script: str, stdin: bytes = b"") -> str:
        """What a script prints in the container."""
        done = subprocess.run([*self.ssh, script], input=stdin, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Made once for the tests of this module, for the image takes minutes; it goes with its images."""
    folder = tmp_path_factory.mktemp("lab")
    images: list[str] = []
    try:
        with a_checkout(folder) as checkout:
            begun = time.monotonic()
            up = checkout.up()
            took = time.monotonic() - begun
            listed = checkout.dev("run", "gpuadmin", "image", "list", "--json").stdout
            images += re.findall(r"sha256:[0-9a-f]{64}", listed)
            assert up.returncode == 0, up.stderr
            found = re.search(r"^    (ssh -p \d+ (\S+)@localhost)$", up.stdout, re.MULTILINE)
            assert found
            login, name = found.groups()
            known = f"-oUserKnownHostsFile={folder}/known"
            ssh = [*login.split(), "-oBatchMode=yes", "-oStrictHostKeyChecking=accept-new", known]
            yield Lab(checkout, up.stdout, took, name, ssh)
    finally:
        for image in reversed(images):
            subprocess.run(["docker", "image", "rm", "-f", image], capture_output=True)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_first_login_has_pytorch_and_her_packages_stay(
    lab: Lab, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    figure(f"./dev up from no image at all to a gateway with PyTorch for CPUs: {lab.took:.0f} s")
    assert lab.inside("python -c 'import torch'") == ""
    assert lab.inside("python -", _TRAIN.encode()) == "True 2.13.0+cpu\n"
    imports = 'python3 -c "import numpy, pandas, cv2, torch"'
    assert lab.inside(f"bash -lc '{imports}; jupyter lab --version'") != ""
    files = {"small.py": "def main():\n    print('mine')\n"}
    wheel = write_wheel(tmp_path, "small", "1.0", files, command=("small", "small:main"))
    lab.inside(f"cat > {wheel.name}", wheel.read_bytes())
    lab.inside(f"pip install --no-index ./{wheel.name}")
    recreated = lab.checkout.dev("run", "gpuadmin", "workspace", "recreate", lab.name)
    assert recreated.returncode == 0, recreated.stderr
    assert lab.inside("small; bash -lc small; python -c 'import small; small.main()'") == "mine\n" * 3
    again = lab.checkout.up()
    assert (again.returncode, "seeing to" in again.stdout) == (0, False)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(bool(browser.no_chromium()), reason=browser.no_chromium())
def test_a_notebook_runs_a_cell_through_a_forward(lab: Lab) -> None:
    """`ssh -L ... jupyter lab`, as its documentation has it, and the page in a real browser."""
    cell = {"cell_type": "code", "id": "one", "metadata": {}, "outputs": [], "execution_count": None}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = {"cells": [{**cell, "source": _CELL}], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    lab.inside("cat > story.ipynb", json.dumps(notebook).encode())
    port = free_port()
    # A terminal, so that the server ends with its client.
    words = [
        *lab.ssh,
        "-tt",
        "-L",
        f"127.0.0.1:{port}:127.0.0.1:8888",
        "jupyter lab --no-browser --port=8888",
    ]
    picture = tools.FOLDER / "notebook.png"
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            page = [str(tools.python()), libraries.PROGRAMS / "notebook_page.py"]
            url = f"http://127.0.0.1:{port}/lab/tree/story.ipynb?token={token(server.stdout)}"
            shown = subprocess.run(
                [*page, url, picture, r"pid:\[\d+\]"], capture_output=True, text=True, timeout=600
            )
        finally:
            server.kill()
    assert shown.returncode == 0, shown.stderr
    inside = lab.inside("echo $(hostname) $(readlink /proc/self/ns/pid) 3.0")
    assert shown.stdout.strip() == inside.strip()


def token(lines: Iterable[bytes]) -> str:
    """What a server of Jupyter says one must know to come in."""
    for line in lines:
        if found := re.search(rb"http://127\.0\.0\.1:8888/lab\?token=(\w+)", line):
            return found[1].decode()
    raise AssertionError("the server ended without an address")
