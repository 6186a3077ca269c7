"""Training steps in bfloat16 by torch.amp, with a loss that falls."""

import sys

import torch

torch.manual_seed(0)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
inputs = torch.randn(64, 8)
losses = []
for _ in range(20):
    with torch.amp.autocast("cpu", dtype=torch.bfloat16):
        answers = model(inputs)
        assert answers.dtype == torch.bfloat16
        loss = (answers - inputs.sum(1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
if not losses[-1] < losses[0] / 2:
    sys.exit(f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f}")
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")
