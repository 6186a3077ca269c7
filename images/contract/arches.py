"""That torch has machine code for every GPU architecture that the label names."""

import os
import sys

import torch

# Of a machine without a GPU get_arch_list() says nothing; the flags are what it was built with.
built = torch._C._cuda_getArchFlags() if torch.cuda._is_compiled() else ""
has = {
    f"{int(word.rpartition('_')[2]) // 10}.{int(word.rpartition('_')[2]) % 10}"
    for word in (built or "").split()
}
wanted = os.environ["CHECK_ARCHES"].split()
missing = [arch for arch in wanted if arch not in has]
if missing:
    sys.exit(f"torch is not built for {', '.join(missing)}")
print(" ".join(wanted))
