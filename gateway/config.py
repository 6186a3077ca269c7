"""The configuration: one frozen value, from a TOML file and from what every machine has.

Owns the keys, their defaults (all of which work) and the one error that lists every bad key. Must not
know what the values are used for, nor hold a secret.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from gateway.errors import Code, PlatformError
from gateway.mirrors import Mirrors, parse_mirrors
from gateway.mounts import SharedMount, inside, parse_mounts
from gateway.networks import parse_pool
from gateway.quotas import Machine
from gateway.units import parse_duration
from gateway.users import UidRange
from gateway.workspaces import CA_TARGET

FILE = Path("/etc/gpu-gateway/config.toml")
STATE = Path("/var/lib/gpu-gateway")

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The platform decides these itself; NVIDIA_* and LD_* would be a way round the grant or the loader.
_ENV_FIXED = ("HOME", "USER", "LOGNAME", "SHELL")
_ENV_PREFIXES = ("NVIDIA_", "LD_", "GPU_GATEWAY_")
# OpenSSL and Python, requests and conda, curl, git, pip, node.
_CA_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
)
_LOCAL = "localhost,127.0.0.1,::1"
_HIGHEST_UID = 2**31 - 1
_LONGEST_CHECKPOINT = timedelta(days=1)


@dataclass(frozen=True)
class Listen:
    """Where SSH is accepted: an address without brackets, or a host name; and a TCP port."""

    host: str = "0.0.0.0"
    port: int = 2222

    def __str__(self) -> str:
        """`HOST:PORT`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Config:
    """What an operator may decide. `workers` is a count of processes, `manage` None for all GPUs.

    `metrics` is where HTTP tells figures and health, None for nowhere. `checkpoint` is how long programs may
    save their work before their container is stopped. `disk_images`: new workspaces are disk images.
    """

    state: Path = STATE
    listen: Listen = Listen()
    workers: int = field(default_factory=lambda: this_machine().cores)
    pool: IPv4Network = field(default_factory=lambda: IPv4Network("10.213.0.0/16"))
    uids: UidRange = field(default_factory=UidRange)
    manage: tuple[str, ...] | None = None
    metrics: Listen | None = Listen("127.0.0.1", 9117)
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[SharedMount, ...] = ()
    proxy: tuple[tuple[str, str], ...] = ()
    ca_bundle: Path | None = None
    passwords: bool = False
    checkpoint: timedelta = timedelta(minutes=10)
    disk_images: bool = False
    mirrors: Mirrors = field(default_factory=Mirrors)

    def workspace_env(self) -> dict[str, str]:
        """What every workspace's programs find: proxies, certificates, mirrors; `[workspace.env]` wins."""
        bundle = {} if self.ca_bundle is None else dict.fromkeys(_CA_VARIABLES, CA_TARGET)
        return {**dict(self.proxy), **bundle, **self.mirrors.workspace_env(), **dict(self.env)}

    def build_env(self) -> dict[str, str]:
        """The same for a recipe, which runs on the host, in the variables that it reads."""
        bundle = {} if self.ca_bundle is None else {"GPU_GATEWAY_CA_BUNDLE": str(self.ca_bundle)}
        return {**dict(self.proxy), **bundle, **self.mirrors.build_env()}


def this_machine() -> Machine:
    """The cores that this process may use, and the machine's memory in bytes."""
    return Machine(len(os.sched_getaffinity(0)), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def load(
    path: Path | None = None, state: Path | None = None, environ: Mapping[str, str] = os.environ
) -> Config:
    """The configuration of `path`, else GPU_GATEWAY_CONFIG, else /etc/gpu-gateway/config.toml if it is there.

    The state directory is `state`, else GPU_GATEWAY_STATE, else what the file says. Raises INVALID with one
    sentence that lists every bad key, and NOT_FOUND for a file that was named and is not there.
    """
    named = path or (Path(environ["GPU_GATEWAY_CONFIG"]) if environ.get("GPU_GATEWAY_CONFIG") else None)
    values = parse(_read(named), named or FILE)
    chosen = state or environ.get("GPU_GATEWAY_STATE") or values.pop("state", STATE)
    config = Config(**{**values, "state": Path(chosen).absolute()})
    shown = inside(config.mounts, str(config.state))
    if shown is not None:
        raise PlatformError(
            Code.INVALID,
            f"The mount {shown.source} would show the state directory {config.state}; move one of them.",
        )
    private = next((mount for mount in config.mounts if mount.gid in config.uids), None)
    if private is not None:
        raise PlatformError(
            Code.INVALID,
            f"The mount {private.source} has gid {private.gid}, which is a user's own; choose one outside "
            f"{config.uids.first} to {config.uids.last}.",
        )
    return config


def parse_listen(text: str) -> Listen:
    """`HOST:PORT`, with brackets around an IPv6 address. Raises INVALID."""
    host, separator, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = len(bare) == len(host) - 2
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
    if not separator or not bare or bracketed != (":" in bare) or not 0 <= number <= 65535:
        raise PlatformError(
            Code.INVALID, f"{text!r} is not HOST:PORT; write for example 0.0.0.0:2222 or [::]:2222."
        )
    return Listen(bare, number)


def _read(named: Path | None) -> dict[str, Any]:
    path = named or FILE
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        if named is None:
            return {}
        raise PlatformError(Code.NOT_FOUND, f"There is no config file {path}; check --config.") from None
    except OSError as error:
        raise PlatformError(
            Code.UNAVAILABLE, f"The config file {path} cannot be read ({os.strerror(error.errno or 0)})."
        ) from None
    except ValueError as error:
        raise PlatformError(Code.INVALID, f"The config file {path} is not TOML: {error}.") from None


def parse(document: Mapping[str, Any], path: Path = FILE) -> dict[str, Any]:
    """The fields of `Config` that `document` sets. Raises INVALID listing every bad key at once."""
    values: dict[str, Any] = {}
    faults: list[str] = []
    for key, value in _flat(document):
        reader = _READERS.get(key)
        if reader is None:
            faults.append(f"{key}: unknown")
            continue
        name, read = reader
        try:
            values[name] = read(value)
        except PlatformError as error:
            faults.append(f"{key}: {error.message.rstrip('.')}")
        except (ValueError, TypeError) as error:
            faults.append(f"{key}: {error}")
    if faults:
        raise PlatformError(Code.INVALID, f"The config file {path} has bad keys: {'; '.join(faults)}.")
    return values


def _flat(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Dotted keys; a table that is one value (`uids`, `workspace.env`) stays whole."""
    pairs = []
    for key, value in document.items():
        if isinstance(value, dict) and any(known.startswith(f"{key}.") for known in _READERS):
            pairs += [(f"{key}.{inner}", content) for inner, content in value.items()]
        else:
            pairs.append((key, value))
    return pairs


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text")
    return value


def _absolute(value: object) -> Path:
    path = Path(_text(value))
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


def _whole(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"must be a whole number from {low} to {high}")
    return value


def _uids(value: object) -> UidRange:
    if not isinstance(value, dict) or set(value) != {"first", "last"}:
        raise ValueError("must have first and last")
    first, last = (_whole(value[key], 1000, _HIGHEST_UID) for key in ("first", "last"))
    if first >= last or first <= 65535 <= last:
        raise ValueError("first must be below last, and 65534 and 65535 outside")
    return UidRange(first, last)


def _metrics(value: object) -> Listen | None:
    return None if value == "off" else parse_listen(_text(value))


def _yes_or_no(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _enforcer(value: object) -> bool:
    if value not in ("file system", "image"):
        raise ValueError('must be "file system" or "image"')
    return value == "image"


def _checkpoint(value: object) -> timedelta:
    length = parse_duration(_text(value))
    if length > _LONGEST_CHECKPOINT:
        raise ValueError("must be a day at most, for nobody else gets the GPUs meanwhile")
    return length


def _devices(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("must be a list of GPU ids")
    return tuple(_text(entry) for entry in value)


def _env(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise ValueError("must be a table of texts")
    for name, content in value.items():
        if not _ENV_NAME.fullmatch(name) or name in _ENV_FIXED or name.startswith(_ENV_PREFIXES):
            raise ValueError(f"{name} cannot be set")
        if not isinstance(content, str) or "\0" in content:
            raise ValueError(f"{name} must be a text")
    return tuple(sorted(value.items()))


def _proxy(value: object) -> tuple[tuple[str, str], ...]:
    """In both spellings: curl reads http_proxy in small letters only, others the large ones."""
    if not isinstance(value, dict) or not set(value) <= {"http", "https", "no_proxy"}:
        raise ValueError("has http, https and no_proxy, and nothing else")
    texts = {key: _text(content) for key, content in value.items()}
    for key in ("http", "https"):
        if key in texts and not re.fullmatch(r"https?://[!-~]+", texts[key]):
            raise ValueError(f"{key} must be an address such as http://proxy.example.org:3128")
    texts.setdefault("no_proxy", _LOCAL)
    names = {"http": "http_proxy", "https": "https_proxy", "no_proxy": "no_proxy"}
    pairs = [(names[key], content) for key, content in texts.items()]
    return tuple(sorted([*pairs, *((name.upper(), content) for name, content in pairs)]))


_READERS: Mapping[str, tuple[str, Callable[[Any], object]]] = {
    "state": ("state", _absolute),
    "listen": ("listen", lambda value: parse_listen(_text(value))),
    "workers": ("workers", lambda value: _whole(value, 1, 256)),
    "network.pool": ("pool", lambda value: parse_pool(_text(value))),
    "uids": ("uids", _uids),
    "metrics.listen": ("metrics", _metrics),
    "auth.passwords": ("passwords", _yes_or_no),
    "gpus.manage": ("manage", _devices),
    "leases.checkpoint": ("checkpoint", _checkpoint),
    "disk.enforcer": ("disk_images", _enforcer),
    "workspace.env": ("env", _env),
    "workspace.ca_bundle": ("ca_bundle", _absolute),
    "mount": ("mounts", parse_mounts),
    "proxy": ("proxy", _proxy),
    "mirrors": ("mirrors", parse_mirrors),
}
