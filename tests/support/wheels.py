"""Wheels of a few lines, for whoever installs packages in a test.

Owns the format (packaging.python.org, "Binary distribution format"). Must not install anything.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path


def write_wheel(
    folder: Path, name: str, version: str, files: Mapping[str, str], command: tuple[str, str] | None = None
) -> Path:
    """A wheel of pure Python in `folder`; `command` is a program and the function that it calls."""
    info = f"{name}-{version}.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if command is not None:
        contents[f"{info}/entry_points.txt"] = f"[console_scripts]\n{command[0]} = {command[1]}\n"
    record = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in {**contents, f"{info}/RECORD": record}.items():
            archive.writestr(path, content)
    return wheel
