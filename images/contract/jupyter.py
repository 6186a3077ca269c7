"""JupyterLab starts and answers whoever knows its token."""

import json
import secrets
import socket
import subprocess
import sys
import time
import urllib.request

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
token = secrets.token_hex(16)
try:
    server = subprocess.Popen(
        [
            "jupyter",
            "lab",
            "--no-browser",
            "--ip=127.0.0.1",
            f"--port={port}",
            "--IdentityProvider.token=" + token,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
except FileNotFoundError:
    sys.exit("there is no program jupyter")
try:
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}", timeout=60) as answer:
                version = json.load(answer)["version"]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/lab?token={token}", timeout=60) as page:
                assert b"jupyter-config-data" in page.read()
            break
        except OSError:
            if server.poll() is not None:
                sys.exit("jupyter lab ended at once; run it to see why")
            time.sleep(0.2)
finally:
    server.terminate()
    server.wait()
print(f"its page answers, server {version}")
