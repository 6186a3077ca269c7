"""That torch is there, and the one that the label says."""

import os
import sys

import torch

said, found = os.environ.get("CHECK_TORCH", ""), str(torch.__version__)
if said not in ("", found, found.partition("+")[0]):
    sys.exit(f"its label says torch {said}, it is {found}")
print(found)
