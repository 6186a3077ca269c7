"""What the image must be able to do, asked at its build by a uid without an account and without a GPU.

Owns the questions: `smoke.py TORCH CUDA`, CUDA empty for a torch without it. Ends with 1 at the first
that is not answered.
"""

import importlib
import subprocess
import sys

import cv2
import matplotlib
import numpy
import pandas
import scipy
import sklearn
import tensorboard
import torch

wanted, cuda = sys.argv[1:3]
assert torch.__version__.partition("+")[0] == wanted, torch.__version__
assert (torch.version.cuda or "") == cuda, torch.version.cuda
assert torch.cuda._is_compiled() == bool(cuda)
assert not cuda or torch.backends.cudnn.version(), "torch has no cuDNN"
if cuda:
    # Of the same release, else they do not load at all. There is no build of them for CPUs.
    importlib.import_module("torchvision")
    importlib.import_module("torchaudio")

# One step of training, whose loss must fall, with bfloat16 as people use it.
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
inputs = torch.from_numpy(pandas.DataFrame(numpy.eye(4, dtype="float32")).to_numpy())


def step() -> float:
    """Train once; the loss before it."""
    with torch.amp.autocast("cpu", dtype=torch.bfloat16):
        loss = (model(inputs) - 1).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss)


first = step()
assert step() < first
assert cv2.resize(numpy.zeros((4, 4), "uint8"), (2, 2)).shape == (2, 2)
subprocess.run(["jupyter", "lab", "--version"], check=True)
names = (torch, numpy, pandas, scipy, sklearn, matplotlib, tensorboard, cv2)
sys.stdout.write(", ".join(f"{each.__name__} {each.__version__}" for each in names) + "\n")
