"""The newer steps, which follow those of migrations.py: append here.

Owns the rest of the schema. Whoever needs all steps imports them from here.
"""

from __future__ import annotations

from sqlite_utils import Database

from gateway.sqlite.migrations import known, migrations

__all__ = ["known", "migrations"]


@migrations()
def m013_enrolments(db: Database) -> None:
    """Digests of one-time codes with which users register a key, and the keys that they offered with them."""
    db.execute(
        """
        create table enrolment (
            user_id integer primary key references user(id),
            digest blob not null,
            expires_at text not null
        ) strict"""
    )
    db.execute(
        """
        create table claimed_key (
            user_id integer not null references enrolment(user_id) on delete cascade,
            blob blob not null,
            primary key (user_id, blob)
        ) strict"""
    )


@migrations()
def m014_second_factors(db: Database) -> None:
    """Secrets of verification codes with the last step of time that was used; groups that ask for them."""
    db.execute(
        """
        create table totp (
            user_id integer primary key references user(id),
            secret text not null,
            last_step integer not null default 0,
            added_at text not null
        ) strict"""
    )
    db.execute(
        "alter table user_group add column second_factor integer not null default 0"
        " check (second_factor in (0, 1))"
    )


@migrations()
def m015_passwords(db: Database) -> None:
    """Hashes of passwords."""
    db.execute(
        """
        create table password (
            user_id integer primary key references user(id),
            hash text not null,
            set_at text not null
        ) strict"""
    )
