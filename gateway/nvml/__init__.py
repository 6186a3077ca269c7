"""NVIDIA's management library: the only folder that knows pynvml.

Its modules: library (opening it, and what its errors mean here), hardware (what a GPU is), slices (what MIG
made of one), use (who does what there), probe (all of that, of the whole machine), events (the errors of GPUs
as they happen).
"""

from gateway.nvml.events import Xid, XidWatch
from gateway.nvml.probe import Look, NvmlProbe

__all__ = ["Look", "NvmlProbe", "Xid", "XidWatch"]
