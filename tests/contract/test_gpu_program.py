"""The program `gpu` and the broker's socket for it: real processes, and what a hostile one can do."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from gateway.questions import Say
from gateway.runner import bundle, gpu, hatch
from gateway.runner.hatch import LONGEST_QUESTION, MOST_ASKING, Hatch
from tests.support.descriptors import held
from tests.support.runner_places import until

Answer = Callable[[Sequence[str], Say], Awaitable[int]]


class Counter:
    """The broker's side: a hatch, what was asked, and how it is answered."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / hatch.SOCKET_NAME
        self.asked: list[Sequence[str]] = []
        self.left: list[Sequence[str]] = []
        self.answer: Answer = self._shortly
        self.hatch = Hatch(directory, os.getuid(), self._answer)
        self.callers: list[socket.socket] = []

    async def _answer(self, words: Sequence[str], say: Say) -> int:
        self.asked.append(words)
        try:
            return await self.answer(words, say)
        except asyncio.CancelledError:
            self.left.append(words)
            raise

    async def _shortly(self, words: Sequence[str], say: Say) -> int:
        say(f"{len(words)} words\n", False)
        say("gpu: none\n", True)
        return 7

    async def run(self, *words: str) -> asyncio.subprocess.Process:
        """The program, as a workspace has it, but for where the socket is."""
        code = f"import sys; sys.path.insert(0, {str(Path(gpu.__file__).parent)!r}); import gpu; "
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code + f"sys.exit(gpu.main({str(self.path)!r}))",
            *words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def dial(self, question: bytes) -> socket.socket:
        """A hostile program's connection, when there is room for it."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setblocking(False)
        self.callers.append(sock)
        await until(lambda: sock.connect_ex(str(self.path)) == 0, "room")
        sock.send(question)
        return sock


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[Counter]:
    before = held()
    made = Counter(tmp_path)
    yield made
    made.hatch.close()
    made.hatch.close()
    for sock in made.callers:
        sock.close()
    await until(lambda: held() == before, f"{before} is open, not {held()}")


async def forever(words: Sequence[str], say: Say) -> int:
    """An answer that never comes."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def test_words_go_in_and_both_streams_and_the_status_come_out(counter: Counter) -> None:
    process = await counter.run("request", "two words", "", "\udcff")
    assert (await process.communicate(), process.returncode) == ((b"4 words\n", b"gpu: none\n"), 7)
    assert counter.asked == [("request", "two words", "", "\udcff")]


async def test_a_long_answer_arrives_whole(counter: Counter) -> None:
    text = "".join(f"{number:09}\N{SNOWMAN}\n" for number in range(20_000))

    async def long(words: Sequence[str], say: Say) -> int:
        say(text, False)
        return 0

    counter.answer = long
    process = await counter.run("history")
    assert (await process.communicate())[0].decode() == text


async def test_without_a_gateway_it_would_succeed_later(counter: Counter) -> None:
    counter.hatch.close()
    process = await counter.run("status")
    out, error = await process.communicate()
    assert (process.returncode, out) == (75, b"")
    assert error.startswith(b"gpu: The gateway cannot be reached (")
    assert error.count(b"\n") == 1


async def test_a_gateway_that_ends_leaves_nobody_waiting(counter: Counter) -> None:
    counter.answer = forever
    process = await counter.run("status")
    await until(lambda: counter.asked, "the question")
    counter.hatch.close()
    assert (await process.communicate())[1].startswith(b"gpu: The gateway did not answer to the end")
    assert process.returncode == 75


async def test_an_interrupted_program_withdraws_its_question(counter: Counter) -> None:
    counter.answer = forever
    process = await counter.run("request", "1")
    await until(lambda: counter.asked, "the question")
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == -signal.SIGINT
    await until(lambda: counter.left == [("request", "1")], "its end")


async def test_what_is_too_long_is_refused(counter: Counter) -> None:
    process = await counter.run("status", "x" * (LONGEST_QUESTION - 12))
    assert (await process.wait(), len(counter.asked)) == (7, 1)
    process = await counter.run("status", "x" * LONGEST_QUESTION)
    assert (await process.communicate(), process.returncode) == (
        (b"", b"gpu: These are too many words.\n"),
        2,
    )
    assert len(counter.asked) == 1


async def test_somebody_elses_uid_is_not_heard(tmp_path: Path) -> None:
    """The directory is seen in one container alone; a mistake there would still give nobody its rights."""
    made = Counter(tmp_path)
    made.hatch.close()
    made.hatch = Hatch(tmp_path, os.getuid() + 1, made._answer)
    try:
        process = await made.run("release")
        assert (await process.wait(), made.asked) == (75, [])
    finally:
        made.hatch.close()


async def test_only_so_many_are_served_at_once_and_then_the_others(counter: Counter) -> None:
    counter.answer = forever
    for _ in range(MOST_ASKING):
        await counter.dial(b"gpu\0status")
    await until(lambda: len(counter.asked) == MOST_ASKING, "as many as are served")
    await counter.dial(b"gpu\0late")
    # There is no other sign that nobody will look at it.
    assert (counter.hatch._timer, ("late",) in counter.asked) == (None, False)
    counter.callers[0].close()
    await until(lambda: ("late",) in counter.asked, "the one that waited")


async def test_who_asks_twice_or_reads_nothing_is_let_go(counter: Counter) -> None:
    counter.answer = forever
    twice = await counter.dial(b"gpu\0one")
    await until(lambda: counter.asked, "the question")
    twice.send(b"gpu\0two")
    await until(lambda: counter.left == [("one",)], "its end")

    async def flood(words: Sequence[str], say: Say) -> int:
        while True:
            say("x" * 4096, False)
            await asyncio.sleep(0)

    counter.answer = flood
    await counter.dial(b"gpu\0deaf")
    await until(lambda: ("deaf",) in counter.left, "its end")


def test_it_is_one_file_that_runs_by_itself(tmp_path: Path) -> None:
    """As it is mounted: mode 0555, the same at every start, on any Python since 3.9."""
    program = tmp_path / "gpu"
    bundle.write_gpu(program)
    bundle.write_gpu(program)
    assert program.stat().st_mode & 0o7777 == 0o555
    assert program.read_bytes().startswith(b"#!/usr/bin/python3 -ISB\n")
    assert list(tmp_path.iterdir()) == [program]
    compile(program.read_text(), "gpu", "exec")


def test_an_image_without_jupyterlab_says_how_to_get_it(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    for words, sentence in (
        (["jupyter"], "This image has no JupyterLab; install it with: pip install jupyterlab"),
        (["jupyter", "--stop"], "No JupyterLab of gpu jupyter runs."),
    ):
        done = subprocess.run(
            [sys.executable, gpu.__file__, *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"gpu: {sentence}\n")


async def test_other_words_with_jupyter_are_asked_of_the_gateway(counter: Counter) -> None:
    for words in (("jupyter", "--help"), ("jupyter", "lab")):
        await (await counter.run(*words)).communicate()
    assert counter.asked == [("jupyter", "--help"), ("jupyter", "lab")]
