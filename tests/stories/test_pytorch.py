"""`./dev up` on a new state directory lands in PyTorch: the real recipe, the real wheels, ssh."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

# `checkout` is a fixture.
from tests.stories.test_dev import Checkout, checkout
from tests.support.wheels import write_wheel

__all__ = ["checkout"]

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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_first_login_has_pytorch_and_her_packages_stay(
    checkout: Checkout,
    tmp_path: Path,
) -> None:
    begun = time.monotonic()
    up = checkout.up()
    took = time.monotonic() - begun
    images: list[str] = []
    try:
        assert up.returncode == 0, up.stderr
        assert took < 360
        images += re.findall(
            r"sha256:[0-9a-f]{64}", checkout.dev("run", "gpuadmin", "image", "list", "--json").stdout
        )
        found = re.search(r"^    (ssh -p \d+ (\S+)@localhost)$", up.stdout, re.MULTILINE)
        assert found
        login, name = found.groups()
        known = f"-oUserKnownHostsFile={tmp_path}/known"
        ssh = [*login.split(), "-oBatchMode=yes", "-oStrictHostKeyChecking=accept-new", known]

        def inside(script: str, stdin: bytes = b"") -> str:
            done = subprocess.run([*ssh, script], input=stdin, capture_output=True, timeout=120)
            assert done.returncode == 0, done.stderr
            return done.stdout.decode()

        assert inside("python -c 'import torch'") == ""
        assert inside("python -", _TRAIN.encode()) == "True 2.13.0+cpu\n"
        assert (
            inside("bash -lc 'python3 -c \"import numpy, pandas, cv2, torch\"; jupyter lab --version'") != ""
        )
        files = {"small.py": "def main():\n    print('mine')\n"}
        wheel = write_wheel(tmp_path, "small", "1.0", files, command=("small", "small:main"))
        inside(f"cat > {wheel.name}", wheel.read_bytes())
        inside(f"pip install --no-index ./{wheel.name}")
        recreated = checkout.dev("run", "gpuadmin", "workspace", "recreate", name)
        assert recreated.returncode == 0, recreated.stderr
        assert inside("small; bash -lc small; python -c 'import small; small.main()'") == "mine\n" * 3
        again = checkout.up()
        assert (again.returncode, "seeing to" in again.stdout) == (0, False)
    finally:
        checkout.dev("down")
        for image in reversed(images):
            subprocess.run(["docker", "image", "rm", "-f", image], capture_output=True)
