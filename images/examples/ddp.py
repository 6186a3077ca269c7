"""Train on several GPUs of one machine, a process each that holds the whole model (DistributedDataParallel).

    torchrun --standalone --nproc-per-node=2 ddp.py

Without GPUs the processes share the CPU.
"""

import os
import sys

import torch
import torch.distributed as dist
from single_gpu import data
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler


def main() -> None:
    """Train for a few rounds; the first process tells how well it went."""
    rank = int(os.environ["LOCAL_RANK"])
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Linear(16, 1).to(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    sampler = DistributedSampler(data(), shuffle=False)
    for epoch in range(5):
        total = torch.zeros(1, device=device)
        batches = DataLoader(data(), batch_size=64 // dist.get_world_size(), sampler=sampler)
        for inputs, targets in batches:
            loss = torch.nn.functional.mse_loss(model(inputs.to(device)), targets.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() / len(batches)
        # Each has the loss of its own half.
        dist.all_reduce(total)
        if rank == 0:
            print(f"round {epoch + 1}: loss {total.item() / dist.get_world_size():.1f}")
    dist.destroy_process_group()
    if not on_gpu:
        # A thread of gloo may still hold a tensor, and aborts an interpreter that ends before it lets go.
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
