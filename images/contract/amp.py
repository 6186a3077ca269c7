"""Training steps with torch.amp and its scaler on a GPU, with a loss that falls."""

import sys

import torch

torch.manual_seed(0)
model = torch.nn.Linear(64, 1).to("cuda")
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
scaler = torch.amp.GradScaler("cuda")
inputs = torch.randn(256, 64, device="cuda")
losses = []
for _ in range(20):
    with torch.amp.autocast("cuda", dtype=torch.float16):
        loss = (model(inputs).float() - inputs.sum(1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    losses.append(loss.item())
if not losses[-1] < losses[0]:
    sys.exit(f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f}")
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")
