"""A proxy that looks into TLS, as those of companies do: it has a certificate of its own for every name.

Owns its authority, and which addresses lead where; it passes on requests and their answers as they are.
Must not assert.
"""

from __future__ import annotations

import shutil
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_DAY = timedelta(days=1)


class Authority:
    """Signs whatever name it is asked for. `bundle` is the file that a site gives to who must trust it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("The site's proxy")
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self._own = self._certificate(self._name, self._key, x509.BasicConstraints(True, 0), usage)
        self.bundle = folder / "site.pem"
        self.bundle.write_bytes(self._own.public_bytes(Encoding.PEM))

    def context(self, host: str) -> ssl.SSLContext:
        """A server's side of TLS for `host`."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        signed = self._certificate(_named(host), key, x509.BasicConstraints(False, None), names)
        file = self._folder / f"{host}-{threading.get_ident()}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(private + signed.public_bytes(Encoding.PEM))
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(file)
        file.unlink()
        return made

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - _DAY).not_valid_after(now + _DAY)
        for extension in extensions:
            made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return made.sign(self._key, hashes.SHA256())


class InspectingProxy(ThreadingHTTPServer):
    """`leads` says which beginning of an address stands for which; `asked` are the addresses that came.

    A name that is nowhere is one more that only the proxy knows.
    """

    daemon_threads = True

    def __init__(self, listener: socket, authority: Authority, leads: Mapping[str, str]) -> None:
        super().__init__(listener.getsockname(), _Request, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        host, port = listener.getsockname()
        self.url = f"http://{host}:{port}"
        self.authority = authority
        self.asked: list[str] = []
        self._leads = leads

    def meant(self, address: str) -> str | None:
        """Where a request for `address` goes; None for nowhere."""
        for beginning, upstream in self._leads.items():
            if address.startswith(beginning):
                return upstream + address.removeprefix(beginning)
        return None


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: InspectingProxy
    _inside = ""
    """The server that a client believes to speak to."""

    def do_CONNECT(self) -> None:
        """Promise a way through, and answer in the server's place."""
        host = self.path.rpartition(":")[0]
        self.send_response(200)
        self.end_headers()
        self.connection = self.server.authority.context(host).wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self._inside, self.close_connection = f"https://{host}", False

    def do_GET(self) -> None:
        """Pass a request on; a proxy is told the whole address of one without TLS."""
        address = self._inside + self.path
        self.server.asked.append(address)
        meant = self.server.meant(address)
        if meant is None:
            return self.send_error(404)
        try:
            with urllib.request.urlopen(meant, timeout=60) as answer:
                self.send_response(200)
                for name in ("Content-Type", "Content-Length", "Last-Modified"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.end_headers()
                shutil.copyfileobj(answer, self.wfile)
        except urllib.error.HTTPError as error:
            self.send_error(error.code)
        return None

    def handle(self) -> None:
        """See the base class. A client may hang up, or not trust us."""
        with suppress(OSError):
            super().handle()

    def finish(self) -> None:
        """Close what TLS was spoken over, too."""
        with suppress(OSError):
            super().finish()
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def inspecting_proxy(
    listener: socket, authority: Authority, leads: Mapping[str, str]
) -> Iterator[InspectingProxy]:
    """One, during the block; it owns the listener."""
    with InspectingProxy(listener, authority, leads) as proxy:
        server = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        server.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            server.join()


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
