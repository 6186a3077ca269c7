"""A product of matrices on each GPU, held against the CPU's."""

import torch

torch.manual_seed(0)
left, right = torch.randn(256, 256), torch.randn(256, 256)
for index in range(torch.cuda.device_count()):
    there = left.to(f"cuda:{index}") @ right.to(f"cuda:{index}")
    torch.testing.assert_close(there.cpu(), left @ right, rtol=1e-2, atol=1e-2)
print(", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())))
