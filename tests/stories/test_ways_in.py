"""Every way in with a whole gateway: what an operator types is what lets her in, or keeps her out, at once.

The steps of a login and what a hostile worker may try are in tests/unit (test_admission, test_certificates,
test_second_factor); here gpuadmin, the running broker and OpenSSH's client meet.
"""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pyotp

from tests.stories.conftest import a_house, ended
from tests.support.askpass import answering
from tests.support.certificates import make
from tests.support.house import House, Person, wait_for


def _asked(person: Person, *answers: str) -> subprocess.CompletedProcess[bytes]:
    """`ssh gw echo in` with somebody there who answers."""
    options = ["-o", "BatchMode=no", "-o", "LogLevel=INFO", "-o", "NumberOfPasswordPrompts=1"]
    return subprocess.run(
        ["ssh", *options, "-F", person.config, "gw", "echo in"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        env={**os.environ, **answering(person.folder, *answers)},
    )


def _told(home: House, name: str, *words: str, stdin: str = "") -> str:
    """What gpuadmin says of a change of this user's, when the gateway has heard of it.

    Each change by this: the word of one that nobody waited for would be taken for the next one's.
    """
    before = len(home.events())
    said = home.admin(*words, stdin=stdin).stdout
    wait_for(lambda: home.heard_of(name, before), "the change in the gateway")
    return said


def test_a_one_time_code_then_a_key_then_a_second_factor(home: House) -> None:
    """Enrolled by a code, in by the key that it registered, then asked for a verification code as well."""
    dora = home.person("dora")
    _told(home, "dora", "user", "add", "dora")
    code = _told(home, "dora", "user", "enrol", "dora", "--for", "1h").splitlines()[0]
    first = _asked(dora, code)
    assert first.returncode == 255
    assert b"Your code is right. Log in again now" in first.stderr
    assert _asked(dora).stdout == b"in\n"
    assert [key["user"] for key in home.listed("key", "list", "dora")] == ["dora"]
    assert b"Permission denied" in _asked(home.person("dora"), code).stderr
    address = _told(home, "dora", "user", "totp", "dora", "on").splitlines()[0]
    secret = parse_qs(urlsplit(address).query)["secret"][0]
    right = pyotp.TOTP(secret).at(datetime.now(UTC))
    assert _asked(dora, right).stdout == b"in\n"
    assert _asked(dora, right).returncode == 255
    _told(home, "dora", "user", "totp", "dora", "off")
    assert _asked(dora).stdout == b"in\n"
    log = home.log.read_text()
    assert code not in log
    assert secret not in log


def test_an_authority_lets_in_and_its_revocation_ends_the_session(home: House) -> None:
    """`ca add`, a certificate beside the key, `ca revoke`: out within seconds, and told why."""
    erin = home.person("erin")
    home.admin("user", "add", "erin")
    authority = home.folder / "ca"
    make(authority, "ed25519")
    words = ["ssh-keygen", "-q", "-s", authority, "-I", "erin@laptop", "-n", "erin", "-z", "7"]
    subprocess.run([*words, erin.public_key], check=True)
    assert b"Permission denied" in erin.ssh("true").stderr
    home.admin("ca", "add", str(authority.with_suffix(".pub")))
    (shown,) = home.listed("ca", "list")
    wait_for(lambda: erin.ssh("true").returncode == 0, "a login by the certificate")
    login = next(event for event in reversed(home.events()) if event["event"] == "login")
    assert (login["user"], login["certificate"], login["serial"]) == ("erin", "erin@laptop", 7)
    with erin.start("echo in; sleep 1000") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        home.admin("ca", "revoke", shown["fingerprint"], "--serial", "7")
        _, stderr = session.communicate(timeout=20)
        assert session.returncode == 255
        assert b"gpu-gateway: The certificate that you logged in with was revoked." in stderr
    assert b"Permission denied" in erin.ssh("true").stderr


def test_a_password_where_the_config_takes_them(base_image: str) -> None:
    """`[auth] passwords = true`: hers lets her in without a key."""
    house = a_house(base_image, settings="[auth]\npasswords = true\n")
    try:
        house.start()
        fred = house.person("fred")
        _told(house, "fred", "user", "add", "fred")
        said = _told(house, "fred", "user", "password", "fred", stdin="correct horse 1\n")
        assert "off" not in said
        assert _asked(fred, "correct horse 2").returncode == 255
        assert _asked(fred, "correct horse 1").stdout == b"in\n"
        (event,) = [event for event in house.events() if event["event"] == "login"]
        assert (event["user"], event["key"]) == ("fred", "password")
        assert "correct horse" not in house.log.read_text()
    finally:
        ended(house)
