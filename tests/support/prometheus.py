"""A real Prometheus that scrapes one gateway.

Owns the program, which is Debian's, unpacked beside the other clients and not installed: the package starts
a service of its own. Must not assert anything about the gateway.
"""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.house import wait_for
from tests.support.near import free_port
from tests.support.stacks.tools import made

_OFTEN = "global:\n  scrape_interval: 1s\n"


class Prometheus:
    """One that runs on this machine's loopback."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now, by the HTTP API (prometheus.io/docs/prometheus/latest/querying/api).

        Raises urllib.error.HTTPError for one that cannot be parsed.
        """
        asked = f"{self._url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(asked, timeout=20) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def prometheus(folder: Path, scrape_configs: str) -> Iterator[Prometheus]:
    """One with these jobs, once a second, which keeps what it finds in `folder`; ended afterwards."""
    config, port = folder / "prometheus.yml", free_port()
    config.write_text(f"{_OFTEN}{scrape_configs}")
    words = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"]
    process = subprocess.Popen([_program(), *words, f"--web.listen-address=127.0.0.1:{port}"])
    try:
        server = Prometheus(f"http://127.0.0.1:{port}")
        wait_for(server.ready, "a ready Prometheus")
        yield server
    finally:
        process.terminate()
        process.wait(30)


@cache
def _program() -> Path:
    """Debian's or Ubuntu's of this machine's release."""

    def unpack(folder: Path) -> None:
        download = ["apt-get", "-q", "download", "prometheus"]
        if subprocess.run(download, cwd=folder, timeout=300, check=False).returncode:
            # The lists are older than the mirror's packages.
            subprocess.run(["apt-get", "-q", "update"], check=True, timeout=300)
            subprocess.run(download, cwd=folder, check=True, timeout=300)
        (package,) = folder.glob("prometheus_*.deb")
        subprocess.run(["dpkg", "-x", package, folder], check=True, timeout=60)
        package.unlink()

    return made("prometheus", [Path(__file__)], unpack) / "usr" / "bin" / "prometheus"
