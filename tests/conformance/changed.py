"""The product with a few lines that are others. Must not know what for."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def changed(folder: Path, lines: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """Copy the product into pytest's `folder`, with one text for another in these files of the gateway.

    What comes back launches a gateway from the copy.
    """
    copy = folder / "product"
    for package in ("gateway", "admin"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for above in (folder.parent.parent, folder.parent, folder):
        above.chmod(0o755)  # the workers have given up root's rights
    for name, (old, new) in lines.items():
        file = copy / "gateway" / name
        text = file.read_text()
        assert old in text, f"{name} does not hold {old!r} any more"
        file.write_text(text.replace(old, new, 1))
    return ("env", "-C", str(copy))
