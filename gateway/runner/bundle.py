"""Packs the runner into the one file that is mounted into every container, with the program `gpu` beside it.

Owns what goes in and how a container starts it. Must not know containers.
"""

from __future__ import annotations

import io
import os
import py_compile
import tempfile
import zipfile
from pathlib import Path

MOUNTED_AT = "/opt/gpu-gateway/runner.pyz"
SOCKET_DIRECTORY = "/opt/gpu-gateway/socket"

_STOP = "kill -TERM -1; kill -CONT -1; while kill -0 -1 2>/dev/null; do sleep 0.05; done; exit 143"
_LOOP = f"""trap 'trap "" TERM; {_STOP}' TERM; cd /opt/gpu-gateway
while :; do /usr/bin/python3 -I -S -B r*.pyz & wait $!; sleep 1 & wait $!; done"""

COMMAND = ("/bin/sh", "-c", _LOOP)
"""A container's command, under --init. The runner never ends by itself; when its user kills it, the loop
brings it back within a second, and what else runs in the container does not notice. The pattern keeps the
runner's name out of the loop's command line: `pkill -f runner.pyz` would end the container with the loop.
When the container is stopped every process gets SIGTERM, and the loop stays until all have ended, for with
it the kernel would kill the rest at once."""

_PACKAGE = Path(__file__).resolve().parent.parent
_MODULES = (
    "__init__.py",
    "sessions.py",
    "runner/__init__.py",
    "runner/protocol.py",
    "runner/listening.py",
    "runner/codec.py",
    "runner/packets.py",
    "runner/mux.py",
    "runner/carried.py",
)
_MAIN = "from gateway.runner.inside.main import main\n\nmain()\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_bundle(path: Path) -> None:
    """Write the program to `path`: mode 0444, the same bytes for the same sources, whole or not at all.

    Beside each source lies its bytecode for the Python of this process: a container with the same Python
    starts faster by the time to compile, and any other ignores it. Raises OSError.
    """
    _put(path, _archive(_sources()), 0o444)


def write_gpu(path: Path) -> None:
    """Write the program `gpu` to `path`: mode 0555, whole or not at all. Raises OSError."""
    _put(path, (_PACKAGE / "runner/gpu.py").read_bytes(), 0o555)


def _put(path: Path, content: bytes, mode: int) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _sources() -> dict[str, str]:
    """Every file of the program by its name in the archive."""
    folder = _PACKAGE / "runner/inside"
    inside = sorted(file.relative_to(_PACKAGE).as_posix() for file in folder.glob("*.py"))
    found = {f"gateway/{name}": (_PACKAGE / name).read_text("utf-8") for name in (*_MODULES, *inside)}
    return {"__main__.py": _MAIN, **found}


def _archive(sources: dict[str, str]) -> bytes:
    """A zip whose order, times and modes depend on nothing but the sources."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, text in sorted(sources.items()):
            archive.writestr(zipfile.ZipInfo(name + "c", _EPOCH), _bytecode(name, text))
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text)
    return buffer.getvalue()


def _bytecode(name: str, text: str) -> bytes:
    """The compiled module; zipimport passes over it when its magic number is another Python's."""
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "source.py"), Path(directory, "source.pyc")
        source.write_text(text, "utf-8")
        py_compile.compile(
            str(source),
            str(target),
            dfile=f"{MOUNTED_AT}/{name}",
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        return target.read_bytes()
