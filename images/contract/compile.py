"""torch.compile of a small function: it calls the image's C++ compiler."""

import shutil
import sys

import torch

if not shutil.which("g++"):
    sys.exit("there is no C++ compiler (g++), which torch.compile calls")


def function(x: torch.Tensor) -> torch.Tensor:
    """Something to fuse."""
    return torch.sin(x) ** 2 + torch.cos(x) ** 2


x = torch.randn(1000)
torch.testing.assert_close(torch.compile(function)(x), torch.ones(1000))
print("fused and right")
