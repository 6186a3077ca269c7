"""The CUDA, cuDNN and NCCL of torch's wheel, as the labels say. None of it needs a GPU."""

import os
import sys

import torch


def cudnn() -> str:
    """`9.10.2`; the wheel has 91002, and 8907 for 8.9.7."""
    number = torch.backends.cudnn.version() if torch.version.cuda else None
    if not number:
        return ""
    size = 10000 if number >= 90000 else 1000
    return f"{number // size}.{number % size // 100}.{number % 100}"


def nccl() -> str:
    """`2.27.5`."""
    return ".".join(map(str, torch.cuda.nccl.version())) if torch.version.cuda else ""


found = {"CUDA": torch.version.cuda or "", "CUDNN": cudnn(), "NCCL": nccl()}
for name, value in found.items():
    said = os.environ.get(f"CHECK_{name}")
    if said is not None and said != value:
        sys.exit(f"its label says {name} {said or 'none'}, torch has {value or 'none'}")
print(", ".join(f"{name} {value}" for name, value in found.items() if value) or "none, for CPUs")
