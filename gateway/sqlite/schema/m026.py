"""The last steps of the schema: append here, until it is time for another file.

Owns these. One that was released stays as it is.
"""

from __future__ import annotations

from sqlite_utils import Database

from gateway.sqlite.schema.steps import migrations


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


@migrations()
def m027_idleness(db: Database) -> None:
    """Workspaces that are seen as idle, by their user's id: the step that each has reached, and since when.

    `gpus`: it holds GPUs. A stretch is what was seen of one in some seconds from `at` on: how many were
    seen, how many of these with work, and whether its user was there.
    """
    db.execute(
        """
        create table idle (
            id integer primary key references user(id),
            step text not null check (step in ('noticed', 'warned', 'held')),
            at text not null,
            gpus integer not null check (gpus in (0, 1)),
            extensions integer not null
        ) strict"""
    )
    db.execute(
        """
        create table stretch (
            user_id integer not null references user(id),
            gpus integer not null check (gpus in (0, 1)),
            at text not null,
            seen real not null,
            busy real not null,
            person integer not null check (person in (0, 1))
        ) strict"""
    )
    db.execute("create index stretch_of_user on stretch(user_id, gpus, at)")


_TOGETHER = """
    create trigger {name} before {event} on lease_device
    when new.released_at is null and exists (
        select 1 from lease_device as other
        join device as theirs on theirs.id = other.device_id
        join device as ours on ours.id = new.device_id
        where other.released_at is null and (theirs.parent = ours.id or ours.parent = theirs.id)
    )
    begin select raise(abort, 'a GPU is held as a whole or in parts'); end"""


@migrations()
def m028_parts(db: Database) -> None:
    """Devices that are a part of another: of which, of what kind, where on it, and the driver's name of it.

    `profile` of a request is the kind of part that is wanted. Nothing is held as a whole and in parts.
    """
    db.execute("alter table device add column parent text")
    db.execute("alter table device add column profile text")
    db.execute("alter table device add column place text")
    db.execute("alter table device add column uuid text")
    db.execute("alter table lease add column profile text")
    db.execute(_TOGETHER.format(name="whole_or_parts_taken", event="insert"))
    db.execute(_TOGETHER.format(name="whole_or_parts_moved", event="update of device_id"))


@migrations()
def m029_forgotten(db: Database) -> None:
    """Devices that an operator has said will not come back; old leases still name them."""
    db.execute(
        "alter table device add column forgotten integer not null default 0 check (forgotten in (0, 1))"
    )
