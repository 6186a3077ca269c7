"""Which rows of an image's contract apply, and what a row's program has answered."""

from __future__ import annotations

from admin.checking import RECIPES
from admin.contract import ROWS, Answer, Outcome, Row, Subject, judged, settled

PLAIN = Subject({}, frozenset())
OURS = {"io.gpu-gateway.torch": "2.9.1", "io.gpu-gateway.cuda": "12.8", "io.gpu-gateway.arches": "9.0"}


def named(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)


def applying(subject: Subject) -> set[str]:
    return {row.name for row in ROWS if subject.lacks(row.part) is None}


def test_an_image_is_asked_for_what_it_has_and_for_what_its_label_promises() -> None:
    plain = {"tools", "account", "places", "rights", "python"}
    torch = {"torch", "cuda", "bf16", "compile", "loader", "ddp", "fsdp"}
    assert applying(PLAIN) == plain
    assert applying(Subject({}, frozenset({"torch", "pip"}))) == plain | torch | {"pip install"}
    assert applying(Subject({}, frozenset({"jupyter"}))) == plain | {"jupyter"}
    # The platform's own promise all of it, so that what is missing is missed.
    promised = plain | torch | {"pip install", "jupyter", "tensorboard", "arches"}
    assert applying(Subject(OURS, frozenset())) == promised
    assert applying(Subject(OURS, frozenset(), gpus=1)) == promised | {"gpu", "matmul", "amp"}
    assert applying(Subject(OURS, frozenset(), gpus=2)) == {row.name for row in ROWS}


def test_a_torch_for_cpus_is_not_asked_for_cuda() -> None:
    for_cpus = Subject(
        {"io.gpu-gateway.torch": "2.13.0", "io.gpu-gateway.cuda": ""}, frozenset({"torch"}), gpus=2
    )
    assert applying(for_cpus) & {"gpu", "matmul", "amp", "nccl"} == {"gpu"}
    assert applying(Subject({}, frozenset({"torch"}), gpus=1)) >= {"gpu", "matmul", "amp"}


def test_programs_are_told_the_labels_and_nothing_of_those_that_are_not_there() -> None:
    told = Subject({**OURS, "io.gpu-gateway.cudnn": "", "other": "x"}, frozenset(), 2).environment()
    assert told == {
        "CHECK_TORCH": "2.9.1",
        "CHECK_CUDA": "12.8",
        "CHECK_CUDNN": "",
        "CHECK_ARCHES": "9.0",
        "CHECK_GPUS": "2",
    }


def test_a_row_that_does_not_apply_and_one_that_builds_on_a_failed_one_are_not_tried() -> None:
    ddp, subject = named("ddp"), Subject(OURS, frozenset())
    assert settled(ddp, PLAIN, []) == Answer("ddp", Outcome.NONE, "the image has no torch")
    missing = Answer("torch", Outcome.FAILED, "No module named 'torch'")
    assert settled(ddp, subject, [missing]) == Answer("ddp", Outcome.UNTRIED, "it builds on the row torch")
    assert settled(ddp, subject, [Answer("torch", Outcome.PASSED, "2.9.1")]) is None
    assert settled(named("tools"), PLAIN, [missing]) is None


def test_a_program_is_judged_by_its_status_and_tells_its_last_line() -> None:
    row = named("torch")
    assert judged(row, 0, "noise\n2.9.1\n\n", "a warning\n") == Answer("torch", Outcome.PASSED, "2.9.1")
    failed = judged(row, 1, "2.9.1\n", "Traceback\nModuleNotFoundError: No module named 'torch'\n")
    assert failed == Answer("torch", Outcome.FAILED, "ModuleNotFoundError: No module named 'torch'")
    assert judged(row, 137, "", "").detail == "its program ended with status 137"
    assert judged(row, 0, "", "").detail == "fine"


def test_every_row_has_its_program() -> None:
    programs = {program for row in ROWS for program in (row.program, row.again) if program}
    assert programs == {path.name for path in (RECIPES / "contract").iterdir() if path.is_file()}
    names = [row.name for row in ROWS]
    assert all(names.index(each) < names.index(row.name) for row in ROWS for each in row.after)
