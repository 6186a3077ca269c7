"""What `gpuadmin doctor` says of one thing that it looked at.

Owns the value. Must not judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What a check found. `fix` says what to do about anything but `ok`."""

    status: Status
    found: str
    fix: str = ""
