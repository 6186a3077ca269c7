"""What this server offers on the wire.

Owns the lists of algorithms, the identification string and asyncssh's options, all of which are built
before the worker gives up its privileges.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncssh

from gateway.ssh.signing import RemoteKey

IDENTIFICATION = "OpenSSH_9.9 gpu-gateway"
"""OpenSSH's clients send eow@openssh.com and no-more-sessions@openssh.com to servers of that name only."""
LOGIN_WITHIN = 120
KEEPALIVE_EVERY = 30
KEEPALIVES_MISSED = 4

KEY_EXCHANGES = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
)
FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
CIPHERS = (*FAST_CIPHERS, "chacha20-poly1305@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
SIGNATURES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


Options = asyncssh.SSHServerConnectionOptions


def build(host_keys: Sequence[RemoteKey], owner: type[asyncssh.SSHServer]) -> Options:
    """The options of every connection, each with an `owner` of its own. Needs the privileges, and no loop."""
    return Options(
        server_factory=owner,
        server_host_keys=list(host_keys),
        send_server_host_keys=True,
        server_version=IDENTIFICATION,
        kex_algs=KEY_EXCHANGES,
        encryption_algs=CIPHERS,
        mac_algs=MACS,
        signature_algs=SIGNATURES,
        compression_algs=None,
        encoding=None,
        line_editor=False,
        gss_host=None,
        host_based_auth=False,
        password_auth=False,
        kbdint_auth=False,
        # asyncssh's own would listen here on the gateway; agent.py and display.py do so in the container.
        agent_forwarding=False,
        x11_forwarding=False,
        login_timeout=LOGIN_WITHIN,
        keepalive_interval=KEEPALIVE_EVERY,
        keepalive_count_max=KEEPALIVES_MISSED,
    )
