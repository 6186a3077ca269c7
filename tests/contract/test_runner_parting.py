"""Before a container is stopped its programs save their work: whom that reaches, and what is waited for.

In a container alone: on the machine itself it would reach the machine's own programs.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator

import pytest

from gateway.errors import PlatformError
from gateway.runner.client import RunnerClient
from gateway.runner.inside.hook import LOG_LIMIT
from tests.conftest import ROOT
from tests.support.runner_box import RunnerBox
from tests.support.runner_places import (
    DEADLINE,
    Place,
    container_descriptors,
    exec_,
    pty,
    read_until,
    run,
)

HOOK = ".config/gpu/on-stop"


class Told:
    """One `Part`, and how it began."""

    def __init__(self, place: Place) -> None:
        self.began: list[tuple[int, bool]] = []
        self.over = asyncio.create_task(
            place.link.part(
                "Your lease ended.", 600, lambda programs, hook: self.began.append((programs, hook))
            )
        )

    async def ended(self) -> list[tuple[int, bool]]:
        """Wait for its end."""
        await asyncio.wait_for(self.over, DEADLINE)
        return self.began


@pytest.fixture
async def place(box: RunnerBox) -> AsyncIterator[Place]:
    """The container; what a test started in it, and its hook, are gone afterwards."""
    made = await container_descriptors(box)
    try:
        yield made
        await made.link.ready(DEADLINE)
        await run(await made.client(), "rm -rf /tmp/.config /tmp/did; pkill -KILL -f 'mark-[p]arting'; true")
    finally:
        made.close()


@pytest.fixture
async def client(place: Place) -> RunnerClient:
    return await place.client()


async def start(client: RunnerClient, command: str, mark: str = "ready") -> None:
    """Leave a program running, from the moment at which it says so."""
    execution = await client.start(exec_(command))
    await asyncio.wait_for(read_until(execution.stdout, mark.encode()), DEADLINE)


async def write_hook(client: RunnerClient, text: str, mode: str = "755") -> None:
    """Give her a hook."""
    done = await run(client, f"mkdir -p .config/gpu; cat > {HOOK}; chmod {mode} {HOOK}", text.encode())
    assert done.exit.status == 0, done.err


def python(text: str) -> str:
    """A Python program whose arguments tell it from others."""
    return f'exec python3 -uc "import signal, sys, time\n{text}" mark-parting'


SAVES = python(
    "def save(*_):\n    open('did', 'a').write('saved\\n')\n    sys.exit()\n"
    "signal.signal(signal.SIGUSR1, save)\nprint('ready')\ntime.sleep(999)"
)


async def test_nobody_who_does_not_ask_for_it_is_told_or_waited_for(
    place: Place, client: RunnerClient
) -> None:
    """A shell on a terminal, which SIGUSR1 would end, a plain program, and one like Go's runtime live on."""
    shell = await client.start(pty())
    await asyncio.wait_for(read_until(shell.stdout, b"$ "), DEADLINE)
    await start(client, python("print('ready')\ntime.sleep(999)"))
    everything = python(
        "for number in range(1, 65):\n    try: signal.signal(number, lambda *_: open('did', 'a'))\n"
        "    except (OSError, ValueError): pass\nprint('ready')\ntime.sleep(999)"
    )
    await start(client, everything)
    assert await Told(place).ended() == []
    os.write(shell.stdin or -1, b"echo still he''re\n")
    await asyncio.wait_for(read_until(shell.stdout, b"still here"), DEADLINE)
    assert (await run(client, "pgrep -fc 'mark-[p]arting'; cat did")).out == b"2\n"


async def test_a_program_that_catches_the_signal_is_told_once_and_waited_for(
    place: Place, client: RunnerClient
) -> None:
    await start(client, SAVES)
    # What a shell has just forked catches what the shell catches, for a moment.
    child = "bash -c 'exec -a mark-parting sleep 999' &"
    await start(client, f"{child} trap 'echo shell >> did; exit' USR1; echo ready; wait")
    assert await Told(place).ended() == [(2, False)]
    assert sorted((await run(client, "cat did")).out.split()) == [b"saved", b"shell"]


async def test_a_hook_runs_as_in_a_session_and_what_it_says_is_kept(
    place: Place, client: RunnerClient
) -> None:
    script = """#!/bin/sh
echo "$USER in $PWD with $PATH: $GPU_STOP_REASON $GPU_STOP_SECONDS"
read line || echo "nothing to read" >&2
setsid sleep 7200 & # it is not waited for
exit 3
"""
    await write_hook(client, script)
    assert await Told(place).ended() == [(0, True)]
    said = (
        await run(client, f"cat {HOOK}.log; echo $PATH; stat -c %a {HOOK}.log; pkill -f 'sleep 7200'")
    ).out
    path = said.splitlines()[2]
    assert said.splitlines() == [
        b"tester in /tmp with " + path + b": Your lease ended. 600",
        b"nothing to read",
        path,
        b"600",
    ]


async def test_a_hook_that_floods_its_log_is_read_to_its_end_and_kept_in_part(
    place: Place, client: RunnerClient
) -> None:
    await write_hook(client, "#!/bin/sh\nhead -c 3000000 /dev/zero\necho over > did\n")
    assert await Told(place).ended() == [(0, True)]
    assert (await run(client, f"stat -c %s {HOOK}.log; cat did")).out == f"{LOG_LIMIT}\nover\n".encode()


async def test_a_log_that_cannot_be_written_keeps_no_hook_from_running(
    place: Place, client: RunnerClient
) -> None:
    """A pipe that nobody reads in its place must not stop the runner either."""
    await write_hook(client, "#!/bin/sh\necho said\necho over > did\n")
    await run(client, f"mkfifo {HOOK}.log")
    assert await Told(place).ended() == [(0, True)]
    assert (await run(client, "cat did")).out == b"over\n"


@pytest.mark.parametrize("mode", ["644", "000"])
async def test_a_file_that_is_not_executable_is_no_hook(
    place: Place, client: RunnerClient, mode: str
) -> None:
    await write_hook(client, "#!/bin/sh\necho over > did\n", mode)
    assert await Told(place).ended() == []
    assert (await run(client, f"test -e {HOOK}.log")).exit.status == 1


async def test_a_hook_that_cannot_be_run_says_so_in_its_log(place: Place, client: RunnerClient) -> None:
    await write_hook(client, "#!/no/such/interpreter\n")
    assert await Told(place).ended() == []
    said = (await run(client, f"cat {HOOK}.log")).out
    assert said == b"/tmp/.config/gpu/on-stop cannot be run: No such file or directory\n"


async def test_a_broker_that_asks_again_meanwhile_makes_nobody_save_twice(
    place: Place, client: RunnerClient
) -> None:
    """A hook that hangs and a program that goes on after saving; the one who asked first was cancelled."""
    await write_hook(client, "#!/bin/sh\necho run >> did\nexec sleep 7203\n")
    await start(
        client,
        python(
            "signal.signal(signal.SIGUSR1, lambda *_: open('did', 'a').write('told\\n'))\n"
            "print('ready')\nwhile True: time.sleep(999)"
        ),
    )
    first = Told(place)
    await asyncio.wait_for(_until_began(first), DEADLINE)
    first.over.cancel()
    second = Told(place)
    await asyncio.wait_for(_until_began(second), DEADLINE)
    assert first.began == second.began == [(1, True)]
    await run(client, "pkill -KILL -f 'mark-[p]arting'")
    await run(client, "pkill -f 'sleep 720[3]'")
    await second.ended()
    assert sorted((await run(client, "cat did")).out.split()) == [b"run", b"told"]


async def test_a_runner_that_is_killed_is_waited_for_no_more(place: Place, client: RunnerClient) -> None:
    await write_hook(client, "#!/bin/sh\nexec sleep 7204 # mark-parting\n")
    told = Told(place)
    await asyncio.wait_for(_until_began(told), DEADLINE)
    former = place.runner_pid()
    os.kill(former, signal.SIGKILL)
    with pytest.raises(PlatformError):
        await told.ended()
    while not place.serves(former):
        await asyncio.sleep(0.01)
    await run(await place.client(), "pkill -f 'sleep 720[4]'")


async def _until_began(told: Told) -> None:
    while not told.began:
        assert not told.over.done(), told.over
        await asyncio.sleep(0.01)


async def test_the_example_of_the_page_for_people_saves_its_work(place: Place, client: RunnerClient) -> None:
    """As it is printed, with a training that takes a moment."""
    block = re.search(r"```python\n(.*?)```", (ROOT / "docs/gpu.md").read_text(), re.DOTALL)
    assert block is not None
    ours = (
        "import time\ndef train(epoch):\n    print('ready', flush=True)\n    time.sleep(0.05)\n"
        "def save(epoch):\n    open('did', 'w').write('saved')\n"
    )
    await run(client, "cat > page.py", (ours + block[1]).encode())
    await start(client, "exec python3 page.py mark-parting")
    assert await Told(place).ended() == [(1, False)]
    assert (await run(client, "cat did; rm page.py")).out == b"saved"
