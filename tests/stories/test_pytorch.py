"""`./dev up` on a new state directory lands in PyTorch: the real recipe, the real wheels, ssh, a notebook."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stories.test_dev import Checkout, a_checkout
from tests.support.derived import derived
from tests.support.house import wait_for
from tests.support.near import free_port
from tests.support.stacks import browser, libraries, tools
from tests.support.wheels import write_wheel

EXAMPLES = Path(__file__).resolve().parents[2] / "images" / "examples"
_PACKAGES = "/usr/local/lib/python3.11/dist-packages"
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
    image: str = "gpu-gateway/pytorch:2.13.0-cpu"

    def inside(self, script: str, stdin: bytes = b"") -> str:
        """What a script prints in the container."""
        done = subprocess.run([*self.ssh, script], input=stdin, capture_output=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def rows(self, image: str) -> dict[str, tuple[str, str]]:
        """What `gpuadmin image check` says of each row: its result and a detail."""
        done = self.checkout.dev("run", "gpuadmin", "image", "check", image, "--json")
        assert done.stdout, done.stderr
        return {each["row"]: (each["result"], each["detail"]) for each in json.loads(done.stdout)}


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


def fetched(url: str) -> bytes:
    """The page at `url`; nothing when there is none, or not yet."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            page: bytes = answer.read()
            return page
    except OSError:
        return b""


def _broken(module: str, name: str) -> str:
    """A script after which a function of a module of torch raises."""
    text = f"def _broken(*given, **named):\n    raise RuntimeError('broken')\n\n\n{name} = _broken\n"
    return f"printf %s {shlex.quote(text)} >>{_PACKAGES}/torch/{module}"


def token(lines: Iterable[bytes]) -> str:
    """What a server of Jupyter says one must know to come in."""
    for line in lines:
        if found := re.search(rb"http://127\.0\.0\.1:8888/lab\?token=(\w+)", line):
            return found[1].decode()
    raise AssertionError("the server ended without an address")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_notebook_server_survives_its_session_and_is_found_again(lab: Lab) -> None:
    """`gpu jupyter`, twice, and its page through the forward that it names."""
    said = lab.inside("gpu jupyter")
    forward, url = re.findall(r"^    (\S.*)$", said, re.MULTILINE)
    port, secret = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/lab\?token=(\w+)", url).groups()  # type: ignore[union-attr]
    assert forward == f"ssh -N -L {port}:127.0.0.1:{port} -p {lab.checkout.port} {lab.name}@127.0.0.1"
    assert lab.inside("gpu jupyter; pgrep -xc jupyter-lab") == f"{said}1\n"
    assert secret not in lab.inside("ps -ww -e -o args")
    near = free_port()
    with subprocess.Popen([*lab.ssh, "-N", "-L", f"127.0.0.1:{near}:127.0.0.1:{port}"]) as tunnel:
        try:
            page = wait_for(lambda: fetched(f"http://127.0.0.1:{near}/lab?token={secret}"), "the page")
            assert b"jupyter-config-data" in page
            assert not fetched(f"http://127.0.0.1:{near}/api/contents?token=other")
        finally:
            tunnel.terminate()
    assert lab.inside("gpu jupyter --stop") == "JupyterLab is ending.\n"
    lab.inside("while pgrep -x jupyter-lab >/dev/null; do sleep 0.2; done")
    assert lab.inside("gpu jupyter --stop 2>&1; :") == "gpu: No JupyterLab of gpu jupyter runs.\n"


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", ["single_gpu", "amp", "ddp", "fsdp"])
def test_an_example_says_what_it_should(lab: Lab, name: str) -> None:
    """Called as its own text has it, in the folder where the image has it."""
    lines = (EXAMPLES / f"{name}.py").read_text().splitlines()
    (line,) = [line.strip() for line in lines if line.endswith(f" {name}.py")]
    said = lab.inside(f"cd /opt/image/examples && OMP_NUM_THREADS=1 {line}")
    assert said == (EXAMPLES / f"{name}.expected").read_text()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_image_stands_alone(lab: Lab, tmp_path: Path) -> None:
    """Plain `docker run`, without the platform and without a GPU."""
    tmp_path.chmod(0o777)
    port = free_port()
    words = [
        "docker",
        "run",
        "--rm",
        "-p",
        f"127.0.0.1:{port}:8888",
        "-v",
        f"{tmp_path}:/workspace",
        lab.image,
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            assert server.stdout is not None
            secret = token(server.stdout)
            api = f"http://127.0.0.1:{port}/api/contents?token={secret}"
            assert wait_for(lambda: fetched(api), "its answer")
            made = urllib.request.Request(api, data=b'{"type": "file"}', method="POST")
            with urllib.request.urlopen(made, timeout=60) as answer:
                assert answer.status == 201
        finally:
            server.terminate()
            server.communicate()
    assert [(path.name, path.stat().st_uid) for path in tmp_path.glob("untitled*")] == [("untitled", 1000)]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_image_passes_all_that_is_asked_of_it(lab: Lab, figure: Callable[[str], None]) -> None:
    begun = time.monotonic()
    rows = lab.rows(lab.image)
    figure(f"the check of the PyTorch image for CPUs: {time.monotonic() - begun:.0f} s")
    needless = {row for row, (result, _) in rows.items() if result == "does not apply"}
    assert needless == {"arches", "gpu", "matmul", "amp", "nccl"}
    assert {row: said for row, said in rows.items() if row not in needless and said[0] != "passed"} == {}


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("scripts", "changes", "details"),
    [
        (
            [
                "touch /usr/lib/python3.11/EXTERNALLY-MANAGED",
                "rm /usr/bin/g++ /usr/local/bin/jupyter-lab",
                _broken("nn/parallel/distributed.py", "DistributedDataParallel._pre_forward"),
            ],
            ["LABEL io.gpu-gateway.cuda=12.8"],
            {
                "pip install": "error: externally-managed",
                "cuda": "its label says CUDA 12.8, torch has none",
                "compile": "no C++ compiler",
                "ddp": "two processes failed",
                "jupyter": "jupyter lab ended at once",
            },
        ),
        (
            [
                "rm /usr/local/bin/tensorboard",
                _broken("amp/autocast_mode.py", "autocast.__enter__"),
                _broken("utils/data/_utils/worker.py", "_worker_loop"),
                _broken("distributed/fsdp/_fully_shard/_fsdp_state.py", "FSDPState._pre_forward"),
            ],
            ["LABEL io.gpu-gateway.arches=9.0"],
            {
                "tensorboard": "there is no program tensorboard",
                "bf16": "broken",
                "loader": "exited unexpectedly",
                "fsdp": "a step of FSDP",
                "arches": "torch is not built for 9.0",
            },
        ),
        (["true"], ["LABEL io.gpu-gateway.torch=2.9.1"], {"torch": "its label says torch 2.9.1"}),
    ],
)
def test_an_image_that_is_broken_for_rows_fails_these_rows_alone(
    lab: Lab, scripts: list[str], changes: list[str], details: dict[str, str]
) -> None:
    """Several at once, for each check of it takes a minute; every row of it is in one of them."""
    with derived() as derive:
        rows = lab.rows(derive(lab.image, "; ".join(scripts), *changes))
    failed = {name: said for name, (result, said) in rows.items() if result == "failed"}
    assert set(failed) == set(details)
    assert {row: said for row, said in failed.items() if details[row] not in said} == {}
