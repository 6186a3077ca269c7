"""FIDO keys at OpenSSH's client: what the key says of the person at it decides, as the key's options want.

The key is one in software behind an agent of our own; the client, the worker and the broker are real.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.certificates import Trust
from gateway.keyoptions import KeyOptions
from gateway.keys import PublicKey
from gateway.users import Account
from tests.support.agent import holding
from tests.support.certificates import Authority
from tests.support.front import Front, front
from tests.support.keys import SecurityKey, fingerprint

_TOUCHED, _VERIFIED = 1, 4


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    async with front(tmp_path, monkeypatch) as made:
        yield made


def know(here: Front, key: SecurityKey, options: str = "") -> None:
    """Alice has this key."""
    limits = {key.blob: KeyOptions.parse(options)} if options else {}
    alice = Account(1, "alice", True, {key.blob: fingerprint(key)}, options=limits)
    here.reception.accounts = {"alice": alice}
    here.workers.push([alice], [])


async def log_in(here: Front, key: SecurityKey, certificate: bytes | None = None) -> tuple[int, bytes]:
    """Whether the client gets in with what the agent holds."""
    socket = here.folder / "agent"
    first = ["-o", f"IdentityAgent={socket}", "-o", "IdentitiesOnly=no"]
    async with holding(socket, key, certificate):
        process = await asyncio.create_subprocess_exec(
            *["ssh", *first, *here.arguments("alice", "localhost", "echo in")[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out


_CASES = (
    (_TOUCHED, "", True),
    (0, "", False),
    (0, "no-touch-required", True),
    (_TOUCHED, "verify-required", False),
    (_TOUCHED | _VERIFIED, "verify-required", True),
)


@pytest.mark.parametrize("curve", ["ed25519", "nistp256"])
async def test_a_security_key_lets_in_as_its_options_want(here: Front, curve: str) -> None:
    key = SecurityKey(curve)
    for flags, options, enough in _CASES:
        key.flags = flags
        know(here, key, options)
        assert await log_in(here, key) == ((0, b"in\n") if enough else (255, b"")), (flags, options)


@pytest.mark.parametrize("curve", ["ed25519", "nistp256"])
async def test_a_certified_security_key(here: Front, curve: str) -> None:
    authority, key = Authority(here.folder), SecurityKey(curve)
    file = here.folder / "sk.pub"
    file.write_text(f"{PublicKey.of_blob(key.blob).type} {base64.b64encode(key.blob).decode()}\n")
    alice = Account(1, "alice", True, {})
    here.reception.accounts = {"alice": alice}
    here.workers.push([alice], [])
    here.reception.trust = authority.trust
    here.workers.push_trust()

    def certify(*options: str) -> bytes:
        words = ["ssh-keygen", "-q", "-s", authority.folder / authority.name, "-I", "x", "-n", "alice"]
        subprocess.run([*words, *options, file], check=True)
        return base64.b64decode((here.folder / "sk-cert.pub").read_text().split()[1])

    certificate = certify()
    assert await log_in(here, key, certificate) == (0, b"in\n")
    key.flags = 0
    assert (await log_in(here, key, certificate))[0] == 255
    assert await log_in(here, key, certify("-O", "no-touch-required")) == (0, b"in\n")
    key.flags = _TOUCHED
    # By the name of the option itself: ssh-keygen knows a word for it from OpenSSH 9.0 on.
    assert (await log_in(here, key, certify("-O", "critical:verify-required")))[0] == 255
    key.flags = _TOUCHED | _VERIFIED
    assert await log_in(here, key, certify("-O", "critical:verify-required")) == (0, b"in\n")
    here.reception.trust = Trust()
    here.workers.push_trust()
    assert (await log_in(here, key, certificate))[0] == 255
