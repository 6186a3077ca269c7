"""Whether programs in a container can open the GPUs that it was given.

Owns the question, asked by a program in the container. NVIDIA's hook adds its device rules behind runc's
back: `systemctl daemon-reload` writes them anew without those, and from then on every open fails with EPERM,
which NVML calls "Unknown Error". The nodes are there all the same, so that only an open shows it.
"""

from __future__ import annotations

from typing import Any

import docker

from gateway.docker.client import engine_call
from gateway.docker.naming import resource_name

_BARRED = 77
# Of her own system's Python, which runs her runner as well; nothing of hers is imported.
_PROGRAM = f"""
import errno, glob, os, sys
for node in glob.glob("/dev/nvidia[0-9]*") + glob.glob("/dev/nvidiactl"):
    try:
        os.close(os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EPERM:
            sys.exit({_BARRED})
"""
_COMMAND = ["/usr/bin/python3", "-I", "-S", "-B", "-c", _PROGRAM]


def reaches(api: Any, instance: str, workspace_id: int) -> bool:
    """False only when an open was barred; a container that is gone or cannot run a program says nothing."""
    name = resource_name(instance, workspace_id)
    with engine_call("look at the container's GPUs"):
        try:
            made = api.exec_create(name, _COMMAND)
            # Its output, which is none, ends when it does; with no output asked for nothing would wait.
            api.exec_start(made["Id"])
            return bool(api.exec_inspect(made["Id"])["ExitCode"] != _BARRED)
        except docker.errors.APIError:
            return True
