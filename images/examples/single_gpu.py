"""Train on one GPU, or on the CPU where there is none.

python single_gpu.py
"""

import torch
from torch.utils.data import DataLoader, TensorDataset


def data() -> TensorDataset:
    """Numbers whose sum is to be learned."""
    inputs = torch.randn(1024, 16, generator=torch.Generator().manual_seed(0))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


def main() -> None:
    """Train for a few rounds and tell how well it went."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = torch.nn.Linear(16, 1).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for epoch in range(5):
        total = 0.0
        for inputs, targets in DataLoader(data(), batch_size=64):
            loss = torch.nn.functional.mse_loss(model(inputs.to(device)), targets.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"round {epoch + 1}: loss {total / 16:.1f}")


if __name__ == "__main__":
    main()
