"""Steps of the schema: people, GPUs, leases, workspaces, and what operators ask for.

Owns these. They have run somewhere, and stay as they are.
"""

from __future__ import annotations

import secrets

from sqlite_utils import Database

from gateway.sqlite.schema.steps import migrations


@migrations()
def m001_people(db: Database) -> None:
    """Users, their keys and quotas. AUTOINCREMENT: an id is never used again."""
    db.execute(
        """
        create table user (
            id integer primary key autoincrement,
            name text not null,
            uid integer not null,
            gid integer not null,
            home text,
            enabled integer not null default 1 check (enabled in (0, 1)),
            created_at text not null,
            removed_at text,
            purged_at text
        ) strict"""
    )
    db.execute("create unique index user_name on user(name) where removed_at is null")
    db.execute("create unique index user_uid on user(uid) where removed_at is null")
    db.execute(
        """
        create table key (
            fingerprint text primary key,
            user_id integer not null references user(id),
            type text not null,
            blob blob not null,
            comment text not null,
            added_at text not null
        ) strict"""
    )
    db.execute("create index key_user on key(user_id)")
    # user_id is null for the platform's default.
    db.execute(
        """
        create table quota (
            user_id integer references user(id),
            key text not null,
            value integer not null
        ) strict"""
    )
    db.execute("create unique index quota_once on quota(ifnull(user_id, 0), key)")


@migrations()
def m002_devices(db: Database) -> None:
    """Devices and leases. `one_holder` is what makes the use of a device exclusive."""
    db.execute(
        """
        create table device (
            id text primary key,
            node text not null,
            number integer not null,
            model text not null,
            memory integer not null,
            problem text
        ) strict"""
    )
    db.execute(
        """
        create table lease (
            id integer primary key autoincrement,
            user_id integer not null references user(id),
            state text not null check (state in ('live', 'ending', 'released')),
            granted_at text not null,
            expires_at text not null,
            released_at text,
            reason text,
            problem text,
            check ((state = 'released') = (released_at is not null))
        ) strict"""
    )
    db.execute("create index lease_held on lease(user_id) where released_at is null")
    db.execute(
        """
        create table lease_device (
            lease_id integer not null references lease(id),
            device_id text not null references device(id),
            released_at text,
            primary key (lease_id, device_id)
        ) strict"""
    )
    db.execute("create unique index one_holder on lease_device(device_id) where released_at is null")


@migrations()
def m003_images(db: Database) -> None:
    """Image versions, and what each workspace is pinned to (none: the newest of the default image)."""
    db.execute(
        """
        create table image_version (
            id integer primary key autoincrement,
            ref text not null,
            name text not null,
            version text not null,
            flavour text not null,
            digest text not null,
            channel text not null,
            registry_digest text,
            built_at text not null,
            unique (name, digest)
        ) strict"""
    )
    db.execute(
        """
        create table workspace (
            user_id integer primary key references user(id),
            image_id integer references image_version(id)
        ) strict"""
    )


@migrations()
def m004_operations(db: Database) -> None:
    """What was changed by whom, what operators want, and what is open now."""
    db.execute(
        """
        create table event (
            id integer primary key autoincrement,
            at text not null,
            actor text not null,
            verb text not null,
            subject text not null,
            before text,
            after text,
            reason text not null
        ) strict"""
    )
    db.execute(
        """
        create table wanted (
            id integer primary key autoincrement,
            verb text not null,
            subject text not null,
            actor text not null,
            created_at text not null,
            done_at text,
            error text
        ) strict"""
    )
    db.execute("create index wanted_open on wanted(id) where done_at is null")
    db.execute(
        """
        create table connection (
            id text primary key,
            user_id integer not null references user(id),
            peer text not null,
            fingerprint text not null,
            started_at text not null
        ) strict"""
    )
    db.execute(
        """
        create table session (
            connection_id text not null references connection(id) on delete cascade,
            id text not null,
            kind text not null,
            command text not null,
            started_at text not null,
            primary key (connection_id, id)
        ) strict"""
    )


@migrations()
def m005_meta(db: Database) -> None:
    """Settings, and `instance`: four hex digits that tell this installation's containers from others'."""
    db.execute("create table meta (key text primary key, value text not null) strict")
    db.execute("insert into meta values ('instance', ?)", [secrets.token_hex(2)])


@migrations()
def m006_groups(db: Database) -> None:
    """Groups and who is in them. A quota is a user's, a group's, or with neither everybody's."""
    db.execute(
        """
        create table user_group (
            id integer primary key autoincrement,
            name text not null unique,
            created_at text not null
        ) strict"""
    )
    db.execute(
        """
        create table member (
            group_id integer not null references user_group(id) on delete cascade,
            user_id integer not null references user(id),
            primary key (group_id, user_id)
        ) strict"""
    )
    db.execute("create index member_user on member(user_id)")
    db.execute("alter table quota add column group_id integer references user_group(id) on delete cascade")
    db.execute("drop index quota_once")
    db.execute("create unique index quota_once on quota(ifnull(user_id, 0), ifnull(group_id, 0), key)")


@migrations()
def m007_workspaces(db: Database) -> None:
    """A workspace's rescue, whether its container runs, what was put away, and the kind of a refusal."""
    db.execute("alter table workspace add column rescue integer not null default 0 check (rescue in (0, 1))")
    db.execute(
        "alter table workspace add column running integer not null default 0 check (running in (0, 1))"
    )
    db.execute(
        """
        create table removed_workspace (
            id integer primary key autoincrement,
            user_id integer not null references user(id),
            removed_at text not null,
            put_away_at text,
            purged_at text
        ) strict"""
    )
    db.execute("alter table wanted add column code text")


@migrations()
def m008_drained(db: Database) -> None:
    """Why an operator wants a device granted to nobody; null: granted."""
    db.execute("alter table device add column drained text")


@migrations()
def m010_key_options(db: Database) -> None:
    """Options of keys as sshd writes them; an empty text: none."""
    db.execute("alter table key add column options text not null default ''")


@migrations()
def m011_disks(db: Database) -> None:
    """What a workspace took of its disk when last seen, in bytes, and whether it was held to a size."""
    db.execute("alter table workspace add column disk_used integer check (disk_used >= 0)")
    db.execute(
        "alter table workspace add column disk_held integer not null default 0 check (disk_held in (0, 1))"
    )
    db.execute("alter table workspace add column disk_seen_at text")


@migrations()
def m012_authorities(db: Database) -> None:
    """Keys whose certificates let people in, and which of these do not any more."""
    db.execute(
        """
        create table authority (
            fingerprint text primary key,
            type text not null,
            blob blob not null,
            comment text not null,
            added_at text not null
        ) strict"""
    )
    db.execute(
        """
        create table revoked (
            authority text not null references authority(fingerprint) on delete cascade,
            kind text not null check (kind in ('serial', 'id', 'key')),
            value text not null,
            revoked_at text not null,
            primary key (authority, kind, value)
        ) strict"""
    )
