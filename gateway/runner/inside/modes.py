"""Terminal modes: the opcodes of RFC 4254 section 8 (and IUTF8 of RFC 8160) as Linux termios.

Owns the table. Must not open anything.
"""

from __future__ import annotations

import termios
from collections.abc import Mapping
from typing import Any

_IFLAG, _OFLAG, _, _LFLAG, _ISPEED, _OSPEED, _CC = range(7)
_DISABLED = 255

# CS7, CS8, PARENB and PARODD (90 to 93) are left out: a pty has eight bits and no parity, and says EINVAL.
# Numbers where Python's termios lacks the name; they are those of Linux on x86 and ARM.
_FLAGS: dict[int, tuple[int, int]] = {
    30: (_IFLAG, termios.IGNPAR), 31: (_IFLAG, termios.PARMRK), 32: (_IFLAG, termios.INPCK),
    33: (_IFLAG, termios.ISTRIP), 34: (_IFLAG, termios.INLCR), 35: (_IFLAG, termios.IGNCR),
    36: (_IFLAG, termios.ICRNL), 37: (_IFLAG, 0o1000), 38: (_IFLAG, termios.IXON),
    39: (_IFLAG, termios.IXANY), 40: (_IFLAG, termios.IXOFF), 41: (_IFLAG, termios.IMAXBEL),
    42: (_IFLAG, 0o40000),
    50: (_LFLAG, termios.ISIG), 51: (_LFLAG, termios.ICANON), 52: (_LFLAG, 0o4),
    53: (_LFLAG, termios.ECHO), 54: (_LFLAG, termios.ECHOE), 55: (_LFLAG, termios.ECHOK),
    56: (_LFLAG, termios.ECHONL), 57: (_LFLAG, termios.NOFLSH), 58: (_LFLAG, termios.TOSTOP),
    59: (_LFLAG, termios.IEXTEN), 60: (_LFLAG, termios.ECHOCTL), 61: (_LFLAG, termios.ECHOKE),
    62: (_LFLAG, termios.PENDIN),
    70: (_OFLAG, termios.OPOST), 71: (_OFLAG, 0o2), 72: (_OFLAG, termios.ONLCR),
    73: (_OFLAG, termios.OCRNL), 74: (_OFLAG, termios.ONOCR), 75: (_OFLAG, termios.ONLRET),
}  # fmt: skip
_CHARACTERS = {
    1: termios.VINTR, 2: termios.VQUIT, 3: termios.VERASE, 4: termios.VKILL, 5: termios.VEOF,
    6: termios.VEOL, 7: termios.VEOL2, 8: termios.VSTART, 9: termios.VSTOP, 10: termios.VSUSP,
    12: termios.VREPRINT, 13: termios.VWERASE, 14: termios.VLNEXT, 18: termios.VDISCARD,
}  # fmt: skip
_SPEEDS = {128: _ISPEED, 129: _OSPEED}


def apply(modes: Mapping[int, int], attributes: list[Any]) -> list[Any]:
    """What tcgetattr gave, with `modes` applied. Opcodes that Linux does not have change nothing."""
    changed = [*attributes[:_CC], list(attributes[_CC])]
    for opcode, value in modes.items():
        if opcode in _FLAGS:
            field, bit = _FLAGS[opcode]
            changed[field] = changed[field] | bit if value else changed[field] & ~bit
        elif opcode in _CHARACTERS and value <= _DISABLED:
            # 255 disables; POSIX leaves it to the system how, and Linux writes NUL.
            changed[_CC][_CHARACTERS[opcode]] = bytes([0 if value == _DISABLED else value])
        elif opcode in _SPEEDS:
            changed[_SPEEDS[opcode]] = getattr(termios, f"B{value}", changed[_SPEEDS[opcode]])
    return changed
