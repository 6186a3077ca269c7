"""The seams: what the use cases ask of the world, in the product's words; store.py has the store's.

Owns the contracts; adapters live in folders named after their technology. Must not import any.
Every method of `Backend` is asynchronous and may be slow.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from gateway.devices import Device
from gateway.disks import Usage
from gateway.images import ImageVersion
from gateway.sessions import Exit, SessionRequest, Window
from gateway.transfers import Transfer
from gateway.users import User
from gateway.workspaces import Container, ContainerSpec, Limits

Now = Callable[[], datetime]


class Progress(Protocol):
    """Hears what takes long, a line at a time."""

    def __call__(self, text: str, bar: bool = False) -> None:
        """Show it. A `bar` takes the place of the last one on a terminal; an empty one ends them."""


@dataclass(frozen=True)
class ContainerEnd:
    """A container of ours ended: why, as far as the backend knows."""

    workspace_id: int
    container_id: str
    exit_code: int | None
    oom_killed: bool


class Backend(Protocol):
    """Runs containers. Raises PlatformError(UNAVAILABLE) when the engine cannot answer in time."""

    async def start(self, spec: ContainerSpec, progress: Progress) -> Container:
        """Make the workspace's network and container what `spec` says, and running.

        The same spec twice is one container. A container made from another spec is replaced.
        Raises NOT_FOUND when the image is absent, and UNAVAILABLE with the engine's reason (for
        instance the GPU hook's) when it does not start; nothing half-made is left behind.
        """

    async def holds(self, digest: str) -> bool:
        """Whether the image with this id is here."""

    async def fetch(self, image: ImageVersion, told: Callable[[Transfer], None]) -> None:
        """Fetch a version that was pushed once; `told` hears how far it is. Here already is success.

        Raises NOT_FOUND, CONFLICT or UNAVAILABLE with the registry's fault; nothing half-made is left.
        """

    async def inspect(self, workspace_id: int) -> Container | None:
        """The workspace's container. None means certainly absent; trouble raises UNAVAILABLE."""

    async def list(self) -> Sequence[Container]:
        """Every container of this installation, found by label."""

    async def limit(self, workspace_id: int, limits: Limits) -> None:
        """Change cores, processes, and memory unless more is in use, of the container if it runs."""

    async def stop(self, workspace_id: int, grace: timedelta) -> None:
        """SIGTERM, then SIGKILL after `grace`; returns when it does not run. Stopped or absent is success."""

    async def remove(self, workspace_id: int) -> None:
        """Remove the container; the workspace's files and network stay. Absent is success."""

    async def remove_network(self, workspace_id: int) -> None:
        """Remove the workspace's network. Absent is success."""

    async def processes(self, workspace_id: int) -> int:
        """How many processes of the user's own run in it; init, its loop and the runner do not count."""

    async def reaches(self, workspace_id: int) -> bool:
        """Whether its programs can open the GPUs that it shows; True where nobody can say."""

    def ends(self) -> AsyncIterator[ContainerEnd]:
        """Ends of containers as they happen, for as long as the engine answers; reconnects by itself."""


class Folders(Protocol):
    """The workspaces' directories on this machine. Blocking, `walk` excepted; called off the event loop."""

    def prepare(self, user: User, rescue: bool = False, size: int | None = None) -> None:
        """Make what is missing of her directories, passwd and group; a site's own `home` is not touched.

        In a rescue a clean home as well, when there is none. `size` is what she may have, in bytes, if known.
        """

    def clean_home(self, user: User) -> None:
        """Make the home of a rescue anew: what an earlier one had is deleted, her own is not touched."""

    def clear_temporary(self, user_id: int) -> None:
        """Empty /tmp and /var/tmp of a workspace that has no running container."""

    def limit(self, user_id: int, size: int) -> None:
        """Hold a workspace to `size` bytes, a site's home excepted, where its file system can; else nothing.

        Less than is in use is accepted: nothing is lost, and nothing more can be written. Absent is success.
        """

    def usage(self, user_id: int) -> Usage:
        """What the file system itself counts, at no cost; nothing of a workspace that is absent."""

    async def walk(self, user_id: int) -> int | None:
        """The bytes of every file of a workspace, counted one by one, which may take minutes; None: absent.

        The only method here that does not block.
        """

    def socket_directory(self, user_id: int) -> Path:
        """Where the broker listens for this workspace's runner."""

    def put_away(self, user_id: int, number: int) -> None:
        """Move her files, a site's home excepted, to where only root sees them. Done before is success."""

    def delete_put_away(self, number: int) -> None:
        """Delete what was put away under this number. Absent is success."""

    def hand_over(self, giver: User, taker: User) -> str | None:
        """Move the giver's files, a site's home excepted, to the taker, who owns them from then on.

        Where she sees them; None when there are none. No container shows the giver's files meanwhile. After a
        failure or a crash the same call goes on where it was.
        """

    def delete(self, user_id: int) -> None:
        """Delete every file of a workspace, following no link. Absent is success."""


class DeviceProbe(Protocol):
    """Looks at the GPUs of this machine."""

    def devices(self) -> list[Device]:
        """All GPUs, by index; empty where there is no NVIDIA library. Raises UNAVAILABLE when it fails."""


class RunnerLink(Protocol):
    """The broker's side of one container's runner."""

    async def ready(self, within: float) -> None:
        """Wait for the runner to be connected; raises UNAVAILABLE after `within` seconds."""

    async def connect(self, connection_id: str) -> socket.socket:
        """A message socket that the runner serves for one SSH connection: the worker's end."""

    async def part(self, reason: str, seconds: int, begun: Callable[[int, bool], object]) -> None:
        """Have programs save their work before the container is stopped; returns when they have ended.

        A runner may let that wait for ever, so the caller bounds it. `begun` is called when there is
        something to wait for, with how many programs were told and whether her hook was started. Raises
        UNAVAILABLE when the runner is gone.
        """

    def close(self) -> None:
        """Stop listening and drop the runner."""


@dataclass(frozen=True)
class PipeSet:
    """Three pipes for one program, each as (read end, write end); the worker's sides do not block."""

    stdin: tuple[int, int]
    stdout: tuple[int, int]
    stderr: tuple[int, int]

    @classmethod
    def of(cls, fds: Sequence[int]) -> PipeSet:
        """The set of six descriptors in the order of these fields, as they travel."""
        return cls((fds[0], fds[1]), (fds[2], fds[3]), (fds[4], fds[5]))


PipeSource = Callable[[], Awaitable[PipeSet]]


class Execution(Protocol):
    """One program inside a container.

    `stdin`, `stdout` and `stderr` are descriptors that do not block and belong to the execution; with
    a terminal `stdin` and `stdout` are one and `stderr` is None. `stdin` is None once it was closed.
    """

    stdin: int | None
    stdout: int
    stderr: int | None

    async def wait(self) -> Exit:
        """How it ended. Raises UNAVAILABLE when the runner is gone and nobody can say."""

    def close_stdin(self) -> None:
        """Let the program read the end of its input; what it writes goes on."""

    def close_stdout(self) -> None:
        """Nobody will read its output any more; it learns so as from a closed pipe."""

    def signal(self, name: str) -> None:
        """Send a signal by its name of RFC 4254 section 6.10."""

    def resize(self, window: Window) -> None:
        """The terminal has another size now."""

    def send_break(self) -> None:
        """A break on its terminal."""

    def close(self) -> None:
        """Let go of it as sshd does: its terminal or pipes are closed, nothing else is done to it."""


@dataclass(frozen=True)
class Arrival:
    """Somebody connected to a listener, from `host` and `port` as the container sees them; a socket file's
    callers have neither.

    One of the two must be called, once. `accept` gives a socket that does not block, keeps half-closes and
    is the caller's; it raises UNAVAILABLE when the peer or the runner is gone. `decline` hangs up. How many
    wait for either is bounded by the runner's protocol; how many are being accepted must be by the caller.
    """

    host: str
    port: int
    accept: Callable[[], Awaitable[socket.socket]]
    decline: Callable[[], None]


Arrived = Callable[[Arrival], object]


@dataclass(frozen=True)
class Listener:
    """A socket that listens inside a container: on a TCP `port` of loopback, or on the socket file `path`.

    `close` waits until nothing listens any more and the file is gone; what was accepted stays. It does no
    harm when repeated, or when the runner is gone, which ends the listener as well.
    """

    port: int
    path: str
    close: Callable[[], Awaitable[None]]


class Runner(Protocol):
    """The program inside a container, as one connection sees it. Raises UNAVAILABLE when it is gone."""

    async def start(self, request: SessionRequest) -> Execution:
        """Start a program. Raises UNAVAILABLE with the reason when it cannot be started."""

    async def dial_tcp(self, host: str, port: int) -> socket.socket:
        """Connect from inside the container. Raises DENIED or NOT_FOUND (nothing answers there)."""

    async def dial_unix(self, path: str) -> socket.socket:
        """The same, to a socket file that her user may open."""

    async def listen_tcp(self, host: str, port: int, arrived: Arrived) -> Listener:
        """Listen on loopback as sshd does by default; with port 0 the kernel chooses one.

        Raises CONFLICT when somebody listens there already, DENIED when her user may not.
        """

    async def listen_unix(self, path: str, arrived: Arrived) -> Listener:
        """Listen on a socket file of mode 0600; one that nobody listens on any more is replaced.

        Raises as `listen_tcp`, and UNAVAILABLE where there is no such directory.
        """

    async def listen_private(self, arrived: Arrived) -> Listener:
        """Listen on a socket file in a new directory of mode 0700."""

    async def closed(self) -> str:
        """Wait until the line to the runner ends, and say why."""

    def close(self) -> None:
        """End the line; programs live or end as sshd's would."""
