"""Train a model that is too large for one GPU: each process holds a part of every layer (FSDP).

    torchrun --standalone --nproc-per-node=2 fsdp.py

Without GPUs the processes share the CPU.
"""

import os
import sys

import torch
import torch.distributed as dist
from single_gpu import data
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
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
    model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)).to(device)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in model:
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    whole = sum(each.numel() for each in model.parameters())
    mine = sum(each.to_local().numel() for each in model.parameters())
    if rank == 0:
        print(f"this process holds {mine} of {whole} numbers")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
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
