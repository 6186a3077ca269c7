"""An all-reduce of NCCL over all GPUs of the container."""

import os
import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing


def work(rank: int, size: int, meeting: str) -> None:
    """Give one's number, and get the sum."""
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", init_method="file://" + meeting, rank=rank, world_size=size)
    number = torch.tensor([rank + 1.0], device=f"cuda:{rank}")
    dist.all_reduce(number)
    assert number.item() == size * (size + 1) / 2
    dist.destroy_process_group()


size = int(os.environ["CHECK_GPUS"])
with tempfile.TemporaryDirectory() as folder:
    context = multiprocessing.get_context("fork")
    meeting = os.path.join(folder, "meeting")
    workers = [context.Process(target=work, args=(rank, size, meeting)) for rank in range(size)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
if any(worker.exitcode for worker in workers):
    sys.exit("an all-reduce of NCCL failed")
print(f"{size} GPUs")
