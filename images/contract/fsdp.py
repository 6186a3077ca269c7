"""One step of FSDP in two processes over gloo: each holds half of the weights."""

import os
import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


def work(rank: int, meeting: str) -> None:
    """Step once; the gradient is a shard as well."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=2)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.full((2, 8), rank + 1.0)).square().mean().backward()
    optimizer.step()
    held = sum(each.to_local().numel() for each in model.parameters())
    assert held * 2 == 8 * 8 + 8 + 8 * 2 + 2, held
    dist.destroy_process_group()


with tempfile.TemporaryDirectory() as folder:
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=work, args=(rank, os.path.join(folder, "meeting"))) for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
if any(worker.exitcode for worker in workers):
    sys.exit("a step of FSDP in two processes failed")
print("two processes, gloo")
