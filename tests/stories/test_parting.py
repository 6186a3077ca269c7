"""Before a container is stopped: warnings on open terminals, work that is saved, a greeting that says why.

The gateway runs in this process, with its own workers, engine and containers, so that a test can say when.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from gateway import config, main, wiring
from gateway.leases import Lease, State
from gateway.metrics import Metrics
from gateway.notices import due, warning
from gateway.wiring import Parts
from tests.stories.conftest import a_house, ended
from tests.support.house import House, Person, wait_for
from tests.support.terminal import Terminal

T = TypeVar("T")

WHY = "Your lease 3 ended at its time."
SAVES = """\
import signal, sys, time
def save(*_):
    open('checkpoint', 'w').write('epoch 7')
    sys.exit()
signal.signal(signal.SIGUSR1, save)
print('training', flush=True)
time.sleep(999)
"""
HOOK = """\
#!/bin/sh
while [ ! -e go ]; do sleep 0.1; done
echo "$GPU_STOP_REASON" > hook-did
"""


@dataclass
class Here:
    """A gateway in this process, and alice."""

    parts: Parts
    alice: Person
    home: Path

    async def ssh(self, command: str, stdin: bytes = b"") -> bytes:
        """What a command of hers prints, without a terminal."""
        done = await asyncio.to_thread(self.alice.ssh, command, stdin=stdin)
        assert done.returncode == 0, done
        return done.stdout

    def terminal(self) -> Terminal:
        """Her shell on a terminal."""
        return Terminal(["ssh", "-F", self.alice.config, "-tt", "gw"])

    async def stop(self) -> None:
        """What follows."""
        async with self.parts.broker.room(1).lock:
            await self.parts.broker.stop(1, WHY)


@pytest.fixture
async def here(base_image: str) -> AsyncIterator[Here]:
    house = a_house(base_image)
    try:
        settings = config.load(house.folder / "config.toml", house.state, {})
        alice = await asyncio.to_thread(house.add, "alice")
        parts = Parts(settings, lambda: wiring.open_store(settings, check=False))
        listener = await main.listen_on(config.Listen("127.0.0.1", 0))
        house.port = main.where_of(listener).port
        running = asyncio.create_task(main._run(settings, parts, listener, 1, Metrics("here")))
        try:
            yield Here(parts, alice, house.state / "workspaces/1/home")
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await parts.close()
    finally:
        await asyncio.to_thread(ended, house)


async def aside(work: Callable[[str], T], what: str) -> T:
    """Do something that blocks while the gateway goes on."""
    return await asyncio.to_thread(work, what)


async def test_warnings_a_checkpoint_a_hook_and_a_greeting_that_says_why(here: Here) -> None:
    """A training and a hook of hers are waited for; a command beside them gets not one byte of ours."""
    await here.ssh(
        "mkdir -p .config/gpu; cat > .config/gpu/on-stop; chmod +x .config/gpu/on-stop", HOOK.encode()
    )
    await here.ssh("cat > train.py; setsid python3 -u train.py > log 2>&1 &", SAVES.encode())
    await here.ssh("while ! grep -q training log; do sleep 0.05; done")
    with here.terminal() as terminal:
        await aside(terminal.wait_for, r"no GPU\r\n")
        now = here.parts.broker._now()
        lease = Lease(3, 1, "alice", ("GPU-0",), State.ACTIVE, now, now + timedelta(days=2), shown=True)
        told_at, moment = now, now
        while moment < lease.expires_at:
            moment += timedelta(seconds=30)
            if due(told_at, lease.expires_at, moment) is not None:
                here.parts.broker.announce(1, warning(lease, "GPU 0", moment))
                told_at = moment
        for left in ("1d", "1h", "10m", "1m"):
            await aside(terminal.wait_for, rf"\r\n\agpu-gateway: Your lease 3 of GPU 0 ends in {left}, at 20")
        winding = asyncio.create_task(here.parts.parting.wind_down(1, WHY))
        await aside(
            terminal.wait_for, r"\agpu-gateway: Your lease 3 ended at its time\. Your container is stopped"
        )
        with here.terminal() as late:
            await aside(
                late.wait_for, r"no GPU\r\n  Your lease 3 ended at its time\. Your container is stopped"
            )
        assert not winding.done()
        assert await here.ssh("echo only; touch go") == b"only\n"
        async with asyncio.timeout(60):
            await winding
        assert (here.home / "checkpoint").read_text() == "epoch 7"
        assert (here.home / "hook-did").read_text() == WHY + "\n"
        await here.stop()
        await aside(terminal.wait_for, r"gpu-gateway: Your lease 3 ended at its time\.\r\n")
    await here.ssh("true")
    for seen in (True, False):
        with here.terminal() as terminal:
            greeted = (await aside(terminal.wait_for, r"no GPU\r\n([^$]*)\$ "))[1]
            assert (b"Your container was stopped at" in greeted) is seen


async def test_a_hook_that_hangs_costs_its_time_and_no_more(here: Here) -> None:
    """It ignores what it can, and leaves a child behind: with the container both are gone."""
    hangs = "#!/bin/sh\ntrap '' HUP INT USR1\nsetsid sleep 999 &\nwhile :; do sleep 1; done\n"
    await here.ssh(
        "mkdir -p .config/gpu; cat > .config/gpu/on-stop; chmod +x .config/gpu/on-stop", hangs.encode()
    )
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.timeout(60):
        await here.parts.parting.wind_down(1, WHY, timedelta(seconds=1))
    assert loop.time() - begun >= 1
    assert here.parts.broker.room(1).parting is None
    await here.stop()
    container = await here.parts.backend.inspect(1)
    assert container is not None
    assert not container.running


@pytest.mark.slow
def test_a_gateway_that_is_replaced_meanwhile_goes_on_waiting(lab: House) -> None:
    """The next one stops nothing in the middle of it, and has nobody save twice."""
    dora = lab.add("dora")
    home = lab.state / "workspaces/1/home"
    hook = "mkdir -p .config/gpu; cat > .config/gpu/on-stop; chmod +x .config/gpu/on-stop"
    lab.admin("allocate", "dora", "--gpus", "1")
    assert (
        dora.ssh(hook, stdin=b"#!/bin/sh\necho run >> runs\nuntil [ -e go ]; do sleep 0.1; done\n").returncode
        == 0
    )
    with lab.store() as store:
        store.end_user_leases("dora", "test", datetime.now(UTC))
    wait_for((home / "runs").exists, "the hook")
    lab.stop(signal.SIGKILL)
    before = len(lab.events())
    lab.start()
    wait_for(lambda: [each for each in lab.events()[before:] if each["event"] == "parting"], "the next one")
    assert [lease["state"] for lease in lab.listed("leases")] == ["grace"]
    (home / "go").touch()
    wait_for(lambda: not lab.listed("leases"), "the end of the lease")
    assert (home / "runs").read_text() == "run\n"
