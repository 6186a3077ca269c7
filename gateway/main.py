"""The broker process: `gpu-gateway serve`.

Owns the lock, the listening socket, and the tasks that make the gateway: workers, what operators
want, leases, the ends of containers. Must not parse a byte of SSH.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import sys
from pathlib import Path

import click
import uvloop

from gateway import __version__, pipes
from gateway.admission import Admission
from gateway.config import Config, Listen, load, parse_listen
from gateway.connections import Connections
from gateway.errors import Code, PlatformError
from gateway.evidence import proves
from gateway.exporter import exported
from gateway.fetching import Fetching
from gateway.hostkeys import HostKeys
from gateway.journal import explain, heard, note, take_logging
from gateway.metrics import Metrics
from gateway.overseer import Overseer
from gateway.passwords import matches
from gateway.privileges import raise_limit, worker_identity
from gateway.reception import Reception
from gateway.sampler import Sampler
from gateway.sqlite.directory import ensure_directory, operators_group
from gateway.totp import step_of
from gateway.wiring import Parts, check_site, now, open_store
from gateway.workers import Workers

BACKLOG = 1024
LOCK_TRIES = 20
LOCK_EVERY = 0.1


@click.group()
@click.version_option(__version__, prog_name="gpu-gateway")
def main() -> None:
    """A person's own GPU container behind plain ssh."""


@main.command()
@click.option("--listen", metavar="HOST:PORT", help="Where to accept SSH (default 0.0.0.0:2222).")
@click.option("--workers", type=click.IntRange(1, 256), help="Worker processes (default: one a core).")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The config file.")
@click.option("--state", type=click.Path(path_type=Path), help="The state directory.")
def serve(listen: str | None, workers: int | None, config_file: Path | None, state: Path | None) -> None:
    """Serve SSH until SIGTERM; containers run on.

    Example: gpu-gateway serve --listen 0.0.0.0:2222 --state /var/lib/gpu-gateway
    """
    take_logging()
    try:
        if os.geteuid() != 0:
            raise PlatformError(
                Code.DENIED,
                "The gateway must be started by root; use its service, or `sudo gpu-gateway serve`.",
            )
        raise_limit()
        config = load(config_file, state)
        where = parse_listen(listen) if listen else config.listen
        uvloop.run(serving(config, where, workers or config.workers))
    except PlatformError as error:
        click.echo(f"gpu-gateway: {error.message}", err=True)
        sys.exit(2 if error.code is Code.INVALID else 1)


async def serving(config: Config, where: Listen, count: int) -> None:
    """Serve with `count` workers until SIGTERM or SIGINT, with root's rights. Raises PlatformError."""
    lock = await take_lock(config)
    metrics = Metrics(socket.gethostname())
    try:
        check_site(config)
        parts = Parts(config, lambda: open_store(config, check=True))
        try:
            with heard(metrics.hear), exported(config.metrics, metrics):
                await _run(config, parts, await listen_on(where), count, metrics)
        finally:
            await parts.close()
    finally:
        os.close(lock)


async def _run(config: Config, parts: Parts, listener: socket.socket, count: int, metrics: Metrics) -> None:
    keys = HostKeys(config.state / "host-keys")
    connections = Connections(proves)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with asyncio.TaskGroup() as group:
            admission = Admission(connections, parts.desk, step_of, group, now)
            if config.passwords:
                admission.matches = matches
            answer = parts.answering.answer
            reception = Reception(parts.broker, connections, pipes.make, admission, answer, group, now)
            reception.enter = Fetching(parts.desk, parts.backend, parts.broker, group).enter
            workers = Workers(count, worker_identity(), keys, connections, reception)
            overseer = Overseer(parts, connections, reception, workers)
            await overseer.begin()
            sampler = Sampler(parts, connections, workers, metrics)
            for work in (workers.run(), overseer.run(), sampler.run(), accept(listener, workers)):
                group.create_task(work)
            await workers.ready()
            note("ready", listen=str(where_of(listener)), workers=count, fingerprints=keys.fingerprints())
            await stop.wait()
            note("stopping")
            parts.answering.close()
            raise _Stopped
    except BaseExceptionGroup as ended:
        _end_with(ended)
    finally:
        listener.close()


class _Stopped(Exception):
    """Raised in the group of all tasks to end every one, those that wait for a container included."""


def _end_with(ended: BaseExceptionGroup[BaseException]) -> None:
    """Return when all ended as they should; raise the first PlatformError alone, else what is left."""
    first: BaseException | None = ended.subgroup(PlatformError)
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if first is not None:
        raise first
    _, unforeseen = ended.split(_Stopped)
    if unforeseen is not None:
        raise unforeseen


async def accept(listener: socket.socket, workers: Workers) -> None:
    """Hand every accepted socket to a worker, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            sock, address = await loop.sock_accept(listener)
        except OSError as error:
            # Out of descriptors, most likely: those that end will free some.
            explain(error)
            await asyncio.sleep(0.1)
            continue
        # With no worker left the client waits, and the kernel keeps those behind her.
        await workers.ready()
        workers.hand_over(sock, str(Listen(str(address[0]), int(address[1]))))


async def listen_on(where: Listen) -> socket.socket:
    """A listening socket. Raises UNAVAILABLE when the address cannot be had."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise PlatformError(
            Code.UNAVAILABLE,
            f"The gateway cannot listen on {where} ({error.strerror}); free the port or use --listen.",
        ) from error
    listener.setblocking(False)
    return listener


async def take_lock(config: Config) -> int:
    """The descriptor that holds this state directory's lock. Raises CONFLICT when a gateway has it.

    gpuadmin takes it for a moment when it looks whether a gateway runs, so one refusal is not enough.
    """
    ensure_directory(config.state, operators_group())
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(config.state / "broker.lock", flags, 0o644)
    except OSError as error:
        raise PlatformError(
            Code.UNAVAILABLE,
            f"The state directory {config.state} cannot be used ({error.strerror}); mend it or use --state.",
        ) from error
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(LOCK_EVERY)
        else:
            return lock
    os.close(lock)
    raise PlatformError(
        Code.CONFLICT,
        f"Another gateway serves {config.state}; stop it first, or give this one another --state.",
    )


def where_of(listener: socket.socket) -> Listen:
    """Where a socket listens."""
    address = listener.getsockname()
    return Listen(str(address[0]), int(address[1]))


if __name__ == "__main__":
    main()
