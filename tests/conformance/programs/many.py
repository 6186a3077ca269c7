"""Many clients of one forward at once, the first of which never reads: says how many heard the same.

many.py PATH COUNT
"""

import hashlib
import socket
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor


def connected():
    peer = socket.socket(socket.AF_UNIX)
    # Before there is a limit: with one, a full queue of the listener is an error and nothing to wait for.
    peer.connect(sys.argv[1])
    peer.settimeout(90)
    return peer


def heard(_):
    digest = hashlib.sha256()
    with connected() as peer:
        while data := peer.recv(65536):
            digest.update(data)
    return digest.hexdigest()


count = int(sys.argv[2])
with connected(), ThreadPoolExecutor(count) as pool:
    for digest, times in Counter(pool.map(heard, range(count))).items():
        sys.stdout.write(f"{times} {digest}\n")
