"""What an image must be able to do for people: the rows of `gpuadmin image check`, and which apply to it.

Owns the rows and the words of their answers; each row's program is a file of images/contract. Must not know
how a program gets into a container.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

_LABELS = "io.gpu-gateway."
_TOLD = ("torch", "cuda", "cudnn", "nccl", "python", "arches")
"""Labels that programs compare with what they find, as CHECK_TORCH and so on."""


class Outcome(Enum):
    """How a row ended. UNTRIED: a row that it builds on failed."""

    PASSED = "passed"
    FAILED = "failed"
    UNTRIED = "not tried"
    NONE = "does not apply"


@dataclass(frozen=True)
class Row:
    """One thing to be able to do. `part` is what an image must have for the row to apply.

    `program` and `again` are files of images/contract; `again` runs in the next container, after `program`.
    `after` are rows that must have passed. A program gets `seconds`, many times what it takes.
    """

    name: str
    program: str
    part: str = ""
    after: tuple[str, ...] = ()
    again: str = ""
    seconds: float = 120.0


@dataclass(frozen=True)
class Answer:
    """What became of a row, and one line that says what was found or what is wrong."""

    row: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class Subject:
    """An image: its labels, the parts that were found in it, and how many GPUs its container has."""

    labels: Mapping[str, str]
    found: frozenset[str]
    gpus: int = 0

    def environment(self) -> dict[str, str]:
        """What the programs are told. A label that is not there is not told; an empty one says "none"."""
        told = {f"CHECK_{name.upper()}": self.labels.get(_LABELS + name) for name in _TOLD}
        known = {name: value for name, value in told.items() if value is not None}
        return {**known, "CHECK_GPUS": str(self.gpus)}

    def lacks(self, part: str) -> str | None:
        """Why a row that needs `part` does not apply; None when it does."""
        applies, why = _PARTS[part]
        return None if applies(self) else why


def _promised(part: str) -> Callable[[Subject], bool]:
    """A label that names torch promises all that the platform's own images have."""
    return lambda subject: bool(subject.labels.get(f"{_LABELS}torch")) or part in subject.found


def _has_cuda(subject: Subject) -> bool:
    """By its labels; an image without any that has torch is taken to be made for GPUs."""
    labels = subject.labels
    return bool(labels.get(f"{_LABELS}cuda")) or (
        f"{_LABELS}torch" not in labels and "torch" in subject.found
    )


_PARTS: Mapping[str, tuple[Callable[[Subject], bool], str]] = {
    "": (lambda subject: True, ""),
    "pip": (_promised("pip"), "the image has no pip"),
    "torch": (_promised("torch"), "the image has no torch"),
    "jupyter": (_promised("jupyter"), "the image has no JupyterLab"),
    "tensorboard": (_promised("tensorboard"), "the image has no TensorBoard"),
    "arches": (lambda subject: bool(subject.labels.get(f"{_LABELS}arches")), "its labels name no GPUs"),
    "gpu": (lambda subject: subject.gpus > 0, "no GPU was given; see --gpu"),
    "cuda": (lambda subject: subject.gpus > 0 and _has_cuda(subject), "it takes a GPU and a torch with CUDA"),
    "gpus": (lambda subject: subject.gpus > 1 and _has_cuda(subject), "it takes two GPUs; see --gpu"),
}

SURVEY = """\
python3 -c 'import importlib.util as u; print(*(n for n in ("torch", "pip") if u.find_spec(n)))'
for program in jupyter tensorboard; do command -v $program >/dev/null && echo $program; done; :"""
"""A shell's words that print the parts which an image has."""

_TORCH = ("torch",)
_LONG = 600.0
ROWS = (
    Row("tools", "tools.sh"),
    Row("account", "account.sh"),
    Row("places", "places.sh"),
    Row("rights", "rights.py", seconds=_LONG),
    Row("python", "python.sh"),
    Row("pip install", "install.py", "pip", again="kept.sh"),
    Row("torch", "torch.py", "torch"),
    Row("cuda", "cuda.py", "torch", _TORCH),
    Row("arches", "arches.py", "arches", _TORCH),
    Row("bf16", "bf16.py", "torch", _TORCH),
    Row("compile", "compile.py", "torch", _TORCH, seconds=_LONG),
    Row("loader", "loader.py", "torch", _TORCH),
    Row("ddp", "ddp.py", "torch", _TORCH, seconds=_LONG),
    Row("fsdp", "fsdp.py", "torch", _TORCH, seconds=_LONG),
    Row("jupyter", "jupyter.py", "jupyter", seconds=_LONG),
    Row("tensorboard", "tensorboard.py", "tensorboard", _TORCH, seconds=_LONG),
    Row("gpu", "gpu.sh", "gpu"),
    Row("matmul", "matmul.py", "cuda", _TORCH),
    Row("amp", "amp.py", "cuda", ("torch", "matmul")),
    Row("nccl", "nccl.py", "gpus", ("torch", "matmul")),
)


def settled(row: Row, subject: Subject, before: Sequence[Answer]) -> Answer | None:
    """The answer to a row whose program need not run; None when it must."""
    lacking = subject.lacks(row.part)
    if lacking is not None:
        return Answer(row.name, Outcome.NONE, lacking)
    missed = [each.row for each in before if each.row in row.after and each.outcome is not Outcome.PASSED]
    if missed:
        return Answer(row.name, Outcome.UNTRIED, f"it builds on the row {missed[0]}")
    return None


def judged(row: Row, status: int, said: str, complained: str) -> Answer:
    """The answer of a program by its exit status and output: a line of what it found, or of what is wrong."""
    lines = [line.strip() for line in (complained if status else said).splitlines() if line.strip()]
    last = lines[-1] if lines else f"its program ended with status {status}" if status else "fine"
    return Answer(row.name, Outcome.FAILED if status else Outcome.PASSED, last)
