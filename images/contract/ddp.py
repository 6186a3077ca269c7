"""One step of DistributedDataParallel in two processes over gloo."""

import os
import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing


def work(rank: int, meeting: str) -> None:
    """Step once on data of its own; afterwards both have the same weights."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=2)
    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    (model(torch.full((2, 4), rank + 1.0)).square().mean()).backward()
    optimizer.step()
    mine = torch.cat([each.detach().flatten() for each in model.parameters()])
    both = [torch.zeros_like(mine) for _ in range(2)]
    dist.all_gather(both, mine)
    torch.testing.assert_close(both[0], both[1])
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
    sys.exit("a step of DistributedDataParallel in two processes failed")
print("two processes, gloo")
