"""The same with automatic mixed precision: half the memory, and a GPU's tensor cores.

    python amp.py

float16 on a GPU needs the scaler, for its gradients are small; bfloat16, the CPU's, does not.
"""

import torch
from single_gpu import data
from torch.utils.data import DataLoader


def main() -> None:
    """Train for a few rounds and tell how well it went."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = torch.float16 if device == "cuda" else torch.bfloat16
    torch.manual_seed(0)
    model = torch.nn.Linear(16, 1).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scaler = torch.amp.GradScaler(device, enabled=precision == torch.float16)
    for epoch in range(5):
        total = 0.0
        for inputs, targets in DataLoader(data(), batch_size=64):
            with torch.amp.autocast(device, dtype=precision):
                answers = model(inputs.to(device))
            loss = torch.nn.functional.mse_loss(answers.float(), targets.to(device))
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            total += loss.item()
        print(f"round {epoch + 1}: loss {total / 16:.1f}")


if __name__ == "__main__":
    main()
