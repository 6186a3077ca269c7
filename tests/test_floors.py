"""The shape of the code: who imports whom, how large a piece may be, and that each says what it is."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted([*ROOT.glob("gateway/**/*.py"), *ROOT.glob("admin/**/*.py")])
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]
MODULE_LINES = 300
FUNCTION_LINES = 60


def test_every_contract_of_setup_cfg_holds() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-4000:]


def pieces(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_a_module_is_small_and_says_what_it_owns(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    assert len(text.splitlines()) <= MODULE_LINES
    large = [piece.name for piece in pieces(tree) if (piece.end_lineno or 0) - piece.lineno >= FUNCTION_LINES]
    assert large == []
