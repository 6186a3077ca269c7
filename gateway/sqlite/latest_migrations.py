"""The latest steps, which follow those of newer_migrations.py: append here.

Owns the rest of the schema. Whoever needs all steps imports them from here.
"""

from __future__ import annotations

from sqlite_utils import Database

from gateway.sqlite.newer_migrations import known, migrations

__all__ = ["known", "migrations"]


@migrations()
def m026_messages(db: Database) -> None:
    """What people are to read at their next terminals, until they have read it."""
    db.execute(
        """
        create table message (
            id integer primary key autoincrement,
            user_id integer not null references user(id),
            text text not null
        ) strict"""
    )
