"""What of asyncssh is overridden is what was looked at: a new version must be looked at again.

Where a digest differs, read what upstream changed, decide whether the override still does its part,
and write down the new digest.
"""

from __future__ import annotations

import inspect
from hashlib import sha256

import asyncssh
import pytest
from asyncssh import channel, connection
from asyncssh.crypto.cipher import GCMCipher
from asyncssh.encryption import GCMEncryption
from asyncssh.packet import SSHPacketLogger

from gateway.ssh.channels import Bounded
from gateway.ssh.transport import Transport

CHECKED = "2.24.1"
READ = {
    "GCMCipher.__init__": "8dbe9e768f4e",
    "GCMCipher._update_iv": "bce250a8d9dc",
    "GCMCipher.encrypt_and_sign": "adb87dbdb4f9",
    "GCMCipher.verify_and_decrypt": "c09eb5b36d0f",
    "GCMEncryption.decrypt_header": "50d9112c6d6c",
    "GCMEncryption.decrypt_packet": "6feb840baa11",
    "GCMEncryption.encrypt_packet": "6a59190103ea",
    "SSHChannel._accept_data": "33121e9e185c",
    "SSHChannel._cleanup": "5d0b2593194b",
    "SSHChannel._deliver_data": "bd94ccbaa59a",
    "SSHChannel._flush_recv_buf": "22d7ff2363a4",
    "SSHChannel._flush_send_buf": "3f11e9dc27c5",
    "SSHChannel._pause_resume_writing": "b05e507ca9fd",
    "SSHChannel._process_request": "fd623107926d",
    "SSHChannel._process_window_adjust": "7a2e4c4998e0",
    "SSHChannel.pause_reading": "ff124e389999",
    "SSHChannel.resume_reading": "01729f283974",
    "SSHChannel.send_packet": "00e81b763c8f",
    "SSHChannel.write": "1045e2000846",
    "SSHConnection._cleanup": "ea4cd2aed571",
    "SSHConnection._finish_recv_packet": "e12d96db58b3",
    "SSHConnection._process_kexinit": "439bdf2fc55e",
    "SSHConnection._keepalive_timer_callback": "6d8aa6656cfc",
    "SSHConnection._recv_data": "fc4e0735191b",
    "SSHConnection._recv_packet": "b3daa22e9763",
    "SSHConnection._recv_pkthdr": "7adc4d88fe20",
    "SSHConnection._recv_version": "05573b0ac888",
    "SSHConnection._reset_keepalive_timer": "7a9157707c51",
    "SSHConnection._send": "c6698a37eb80",
    "SSHConnection._send_deferred_packets": "c5ef8240853e",
    "SSHConnection._send_kexinit": "275ddc818b59",
    "SSHConnection.connection_made": "e7b867af0f59",
    "SSHConnection.data_received": "b2d14a83b260",
    "SSHConnection.pause_writing": "a69ec7dae4f5",
    "SSHConnection.resume_writing": "a324675672f6",
    "SSHConnection.send_newkeys": "0b4123442037",
    "SSHConnection.send_packet": "fb9da7bec6dd",
    "SSHPacketLogger.log_received_packet": "38e8df0c0c53",
    "SSHPacketLogger.log_sent_packet": "d21306e3c6b2",
    "SSHServerChannel._finish_agent_req_request": "538b2bd1250e",
    "SSHServerChannel._process_env_request": "c6847fe60511",
    "SSHServerChannel._process_exec_request": "be64cc45db37",
    "SSHServerChannel._process_subsystem_request": "8169245ec89a",
    "SSHServerChannel.exit": "eeccbd21ae58",
    "SSHServerChannel.exit_with_signal": "fe3661899d31",
    "SSHServerConnection._cleanup": "c67135a4127b",
    "SSHServerConnection.reload_config": "d78b0be8399d",
}
"""Each method that is replaced, or that a replacement counts on, and the start of its source's SHA-256."""

OWNERS: dict[str, type] = {
    "GCMCipher": GCMCipher,
    "GCMEncryption": GCMEncryption,
    "SSHPacketLogger": SSHPacketLogger,
    "SSHConnection": connection.SSHConnection,
    "SSHServerConnection": connection.SSHServerConnection,
    "SSHChannel": channel.SSHChannel,
    "SSHServerChannel": channel.SSHServerChannel,
}


def digest(name: str) -> str:
    """Of the method's source as it is installed."""
    owner, method = name.split(".")
    return sha256(inspect.getsource(vars(OWNERS[owner])[method]).encode()).hexdigest()[:12]


@pytest.mark.parametrize("name", READ)
def test_upstream_is_as_it_was_read(name: str) -> None:
    assert digest(name) == READ[name], (
        f"{name} was read in asyncssh {CHECKED}; this is {asyncssh.__version__}"
    )


@pytest.mark.parametrize(
    ("ours", "theirs"), [(Transport, asyncssh.SSHServerConnection), (Bounded, channel.SSHChannel)]
)
def test_every_override_is_in_the_table(ours: type, theirs: type) -> None:
    known = {name.split(".")[1] for name in READ}
    replaced = {name for name in vars(ours) if inspect.isfunction(inspect.getattr_static(theirs, name, None))}
    assert replaced - {"__init__"} <= known
