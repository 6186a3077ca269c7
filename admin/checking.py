"""`gpuadmin image check`: an image is tried as its users will use it, before they do.

Owns the command line, the order of the rows and what a failure means. Must not know what a row asks, nor how
a workspace comes to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from admin.building import RECIPES
from admin.call import Call, as_json, pass_call
from admin.contract import ROWS, SURVEY, Answer, Outcome, Row, Subject, judged, settled
from admin.output import field, listing, progress
from gateway.errors import Code, PlatformError

if TYPE_CHECKING:
    from admin.trial import Trial
    from gateway.docker.images import HeldImage

COLUMNS = [("ROW", field("row")), ("RESULT", field("result")), ("DETAIL", field("detail"))]


@click.command()
@click.argument("ref")
@click.option(
    "--gpu", "gpus", multiple=True, metavar="ID", help="A drained GPU to try it on; may be repeated."
)
@as_json
@pass_call
def check(call: Call, ref: str, gpus: tuple[str, ...], as_json: bool) -> None:
    """Try an image in a throw-away workspace, over ssh, and show what works in it.

    A gateway of its own is started for it, with this site's configuration, mounts and proxies; nothing of
    that is left behind, and the gateway that serves people is not touched. Rows whose parts the image does
    not have, such as torch, do not apply. Ends with 1 when a row failed.

    \b
    Example:
      gpuadmin image check gpu-gateway/pytorch:2.13.0-cpu
      gpuadmin image check lab/vision:3 --gpu GPU-8f9a --json
    """
    # Imported here: it brings the Docker client, which listing must not pay for.
    from gateway.docker import images

    held = images.find(ref)
    if held is None:
        raise PlatformError(
            Code.NOT_FOUND, f"This machine's engine has no image {ref}; first run: docker pull {ref}"
        )
    _check_free(call, gpus)
    answers = tried(call, held, gpus)
    listing([_record(answer) for answer in answers], COLUMNS, as_json)
    refuse(ref, answers)


def tried(call: Call, held: HeldImage, gpus: Sequence[str] = ()) -> list[Answer]:
    """The answers of all rows; each is told as it comes. Raises what `trial` raises, and CONFLICT when the
    platform's program cannot start in the image.
    """
    # Imported here: see `check`.
    from admin.trial import grant, trial
    from gateway.docker import images

    images.check_runner_starts(held.ref)
    with trial(call, held, gpus) as workspace:
        if gpus:
            grant(workspace, gpus)
        return list(_answers(workspace, images.labels(held.ref)))


def refuse(ref: str, answers: Sequence[Answer]) -> None:
    """Raise CONFLICT, which names every row that failed; return when none did."""
    failed = [answer for answer in answers if answer.outcome is Outcome.FAILED]
    if failed:
        told = "; ".join(f"{answer.row} ({answer.detail})" for answer in failed)
        raise PlatformError(Code.CONFLICT, f"The image {ref} fails in {told}; mend that in it.")


def _check_free(call: Call, gpus: Sequence[str]) -> None:
    """Raise unless each is a GPU that the gateway gives to nobody: drained, and held by nobody any more."""
    known = {device.id: device for device in call.store.devices()}
    held = {device for lease in call.store.held_leases() for device in lease.devices}
    for gpu in gpus:
        if gpu not in known:
            raise PlatformError(Code.NOT_FOUND, f"There is no GPU {gpu}; see `gpuadmin gpu list`.")
        if known[gpu].drained is None or gpu in held:
            raise PlatformError(
                Code.CONFLICT,
                f"The GPU {gpu} may be given to somebody meanwhile; first run `gpuadmin gpu drain {gpu}` and "
                "wait until nobody holds it.",
            )


def _answers(workspace: Trial, labels: dict[str, str]) -> Iterator[Answer]:
    survey = workspace.run("/bin/sh -s", SURVEY.encode())
    if survey.status:
        raise PlatformError(
            Code.CONFLICT,
            f"No program starts in the image over ssh: {survey.err.strip() or 'it says nothing'}",
        )
    subject = Subject(labels, frozenset(survey.out.split()), workspace.gpus)
    before: list[Answer] = []
    for row in ROWS:
        answer = settled(row, subject, before) or _try(workspace, row, subject)
        before.append(answer)
        progress(f"{answer.row}: {answer.outcome.value}")
        yield answer


def _try(workspace: Trial, row: Row, subject: Subject) -> Answer:
    """Run a row's program, and its second one in the next container."""
    answer = _run(workspace, row, row.program, subject)
    if answer.outcome is Outcome.PASSED and row.again:
        workspace.recreate()
        answer = _run(workspace, row, row.again, subject)
    return answer


def _run(workspace: Trial, row: Row, program: str, subject: Subject) -> Answer:
    # Imported here: see `check`.
    from admin.trial import command_line

    text = (RECIPES / "contract" / program).read_bytes()
    said = workspace.run(command_line(program, subject.environment()), text, row.seconds)
    return judged(row, said.status, said.out, said.err)


def _record(answer: Answer) -> dict[str, str]:
    return {"row": answer.row, "result": answer.outcome.value, "detail": answer.detail}
