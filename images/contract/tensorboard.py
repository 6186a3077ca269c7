"""TensorBoard starts and shows what a training wrote."""

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from torch.utils.tensorboard import SummaryWriter

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
with tempfile.TemporaryDirectory() as folder:
    with SummaryWriter(folder) as writer:
        writer.add_scalar("loss", 1.0, 0)
    try:
        server = subprocess.Popen(
            [
                "tensorboard",
                "--logdir",
                folder,
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--load_fast",
                "false",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        sys.exit("there is no program tensorboard")
    try:
        tags = {}
        while not tags:
            try:
                url = f"http://127.0.0.1:{port}/data/plugin/scalars/tags"
                with urllib.request.urlopen(url, timeout=60) as answer:
                    tags = json.load(answer)
            except OSError:
                if server.poll() is not None:
                    sys.exit("tensorboard ended at once; run it to see why")
            time.sleep(0.2)
    finally:
        server.terminate()
        server.wait()
print("shows a scalar")
