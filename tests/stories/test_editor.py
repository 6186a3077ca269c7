"""An editor works in a container: a real server of VS Code's family, its page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.support.house import Person
from tests.support.near import free_port
from tests.support.stacks import browser, code_server, libraries, tools

PROJECT = "import torch\n\nmodel = torch.nn.Linear(8, 1)\nprint(model)\n"
REASON = browser.no_chromium() or browser.no_compiler()
# What no other container of this machine would answer.
IDENTITY = 'echo "$(hostname) $(readlink /proc/self/ns/pid) $(id -un)"'
# Without a graphics card's help the terminal is text in the page.
SETTINGS = {"terminal.integrated.gpuAcceleration": "off", "workbench.colorTheme": "Default Dark Modern"}


def told(stream: IO[bytes], word: str) -> str:
    """The value of `word==VALUE==`, read from what a bootstrap prints."""
    seen = b""
    while byte := stream.read(1):
        seen += byte
        if found := re.search(rb"%s==(.*)==" % word.encode(), seen):
            return found[1].decode()
    raise AssertionError(f"{word} was not told: {seen.decode(errors='replace')}")


def upload(alice: Person, folder: Path, target: str) -> None:
    """Two files on a connection of their own, the second of which says that the first is whole."""
    shutil.copy(code_server.archive(), folder / "server.tar")
    (folder / "server.tar.done").touch()
    words = [
        "scp",
        "-q",
        "-F",
        alice.config,
        "-o",
        "ConnectTimeout=15",
        "server.tar",
        "server.tar.done",
        f"gw:{target}",
    ]
    subprocess.run(words, cwd=folder, check=True, timeout=120)


@contextmanager
def editor(alice: Person, folder: Path) -> Iterator[tuple[int, int]]:
    """Its server in her container, begun as VS Code's is: the SOCKS port here, the server's there."""
    socks = free_port()
    options = ["-T", "-D", f"127.0.0.1:{socks}", "-o", "ConnectTimeout=15"]
    with alice.start("sh", options=options, stderr=None) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        try:
            client.stdin.write(code_server.BOOTSTRAP.read_bytes())
            client.stdin.close()
            upload(alice, folder, told(client.stdout, "trigger_server_download"))
            yield socks, int(told(client.stdout, "listeningOn"))
        finally:
            client.kill()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_a_file_is_opened_and_a_terminal_is_in_the_container(alice: Person, tmp_path: Path) -> None:
    """Everything goes through the forward of the one connection whose input has ended long ago."""
    code_server.archive()
    settings = ".editor-server/data/User"
    alice.ssh(f"mkdir -p {settings}; cat > {settings}/settings.json", stdin=json.dumps(SETTINGS).encode())
    alice.ssh("mkdir project; cat > project/train.py", stdin=PROJECT.encode())
    picture = tools.FOLDER / "editor.png"
    with editor(alice, tmp_path) as (socks, port):
        url = f"http://127.0.0.1:{port}/?folder=/home/alice/project"
        program = [tools.python(), libraries.PROGRAMS / "editor_page.py"]
        arguments = [str(socks), url, "train.py", picture, IDENTITY, r"pid:\[\d+\]"]
        page = subprocess.run([*program, *arguments], capture_output=True, text=True, timeout=600)
        assert page.returncode == 0, page.stderr
    shown = json.loads(page.stdout)
    assert shown["file"].split() == PROJECT.split()
    inside = alice.ssh(IDENTITY).stdout.decode().strip()
    assert inside in " ".join(shown["terminal"].split())
    assert picture.read_bytes().startswith(b"\x89PNG")
