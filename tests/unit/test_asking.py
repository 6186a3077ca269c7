"""What is ours of a command line, and what its words mean: nothing is guessed."""

from __future__ import annotations

import shlex
import subprocess
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.asking import (
    HELP,
    Apply,
    Extend,
    Help,
    History,
    Later,
    Release,
    Request,
    Status,
    parse,
    words_of,
)
from gateway.errors import Code, PlatformError


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"gpu", ()),
        (b"gpu ", ()),
        (b"gpu status", ("status",)),
        (b"gpu\t request  2 --for=8h ", ("request", "2", "--for=8h")),
    ],
)
def test_a_line_of_plain_words_is_ours(line: bytes, words: tuple[str, ...]) -> None:
    assert words_of(line) == words


@pytest.mark.parametrize("line", [b"gpu jupyter", b"gpu  jupyter --stop", b"gpu jupyter --help"])
def test_what_starts_a_program_of_hers_is_for_her_shell(line: bytes) -> None:
    assert words_of(line) is None
    assert words_of(b"gpu jupyters") == ("jupyters",)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" gpu status",
        b"gpus",
        b"gpu-status",
        b"/usr/local/bin/gpu status",
        b"A=1 gpu status",
        *(
            b"gpu status" + mark
            for mark in (b"|x", b";", b"&", b">f", b"<f", b"\n", b"#", b"!", b"\\", b"\0")
        ),
        *(b"gpu " + word for word in (b"'status'", b'"status"', b"$x", b"`x`", b"*", b"?", b"[a]", b"{a,b}")),
        *(b"gpu " + word for word in (b"~", b"(x)", b"^", "\N{LATIN SMALL LETTER E WITH ACUTE}".encode())),
    ],
)
def test_what_a_shell_could_read_otherwise_is_not(line: bytes) -> None:
    assert words_of(line) is None


@given(st.binary(max_size=40).map(lambda rest: b"gpu " + rest))
def test_a_shell_would_find_the_same_words(line: bytes) -> None:
    words = words_of(line)
    if words is not None:
        assert ["gpu", *words] == shlex.split(line.decode())


def test_a_real_shell_finds_the_same_words() -> None:
    """Every character that is let through, at the start, within and at the end of a word."""
    ours = [mark for mark in range(256) if words_of(b"gpu a%ca" % mark) == (f"a{chr(mark)}a",)]
    assert len(ours) > 60
    line = " ".join(f"{mark}a a{mark}a a{mark} {mark}" for mark in map(chr, ours))
    for shell in (["sh"], ["bash", "--norc"]):
        script = f'gpu() {{ printf "%s\\n" "$@"; }}; gpu {line}'
        shown = subprocess.run([*shell, "-c", script], capture_output=True, text=True, check=True).stdout
        assert shown.split("\n")[:-1] == line.split(" ")


@pytest.mark.parametrize(
    ("words", "question"),
    [
        ("status", Status()),
        ("status --json", Status(as_json=True)),
        ("history", History()),
        ("history --json", History(as_json=True)),
        ("request 1", Request(1)),
        ("request 1024 --for 7d", Request(1024, timedelta(days=7))),
        ("request --for=30m 2", Request(2, timedelta(minutes=30))),
        ("request 1 --wait", Request(1, wait=True)),
        ("request 2 --wait --model H100 --for 8h", Request(2, timedelta(hours=8), "H100", wait=True)),
        ("extend", Extend()),
        ("extend 17", Extend(17)),
        ("extend 17 --for 2h", Extend(17, timedelta(hours=2))),
        ("extend --for 2h", Extend(None, timedelta(hours=2))),
        ("apply", Apply()),
        ("later", Later()),
        ("later --for 30m", Later(timedelta(minutes=30))),
        ("release", Release()),
        ("release 17", Release(17)),
    ],
)
def test_words_are_a_question(words: str, question: object) -> None:
    assert parse(words.split()) == question


@pytest.mark.parametrize("words", ["--help", "-h", "help", *(f"{name} --help" for name in HELP)])
def test_help_has_an_example_that_is_understood(words: str) -> None:
    help_ = parse(words.split())
    assert isinstance(help_, Help)
    examples = help_.text.partition("Example:\n")[2].splitlines()
    assert examples
    for example in examples:
        assert example.split()[0] == "gpu"
        # The program in the workspace does that one itself.
        assert example.split()[1] == "jupyter" or not isinstance(parse(example.split()[1:]), Help)


def test_the_overview_names_every_command() -> None:
    overview = parse(["--help"])
    assert isinstance(overview, Help)
    for name, text in HELP.items():
        assert f"  gpu {name}" in overview.text
        assert text.startswith(f"Usage: gpu {name}")


@given(st.lists(st.text(max_size=12) | st.sampled_from([*HELP, "--for", "--json", "1", "2h"]), max_size=5))
def test_anything_else_is_one_sentence(words: list[str]) -> None:
    found = None
    try:
        parse(words)
    except PlatformError as error:
        found = error
    assert found is None or found.code is Code.INVALID
    assert found is None or found.message.isprintable()


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "1e3", "+1", "01", "1025", "9" * 5000, "two", "\u0661"])
def test_counts_are_plain_numbers(count: str) -> None:
    with pytest.raises(PlatformError, match=r"is not a number of GPUs|has no option"):
        parse(["request", count])
