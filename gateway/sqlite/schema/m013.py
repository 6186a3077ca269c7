"""Steps of the schema: evidence, the life of a lease, health, history and versions of images.

Owns these. They have run somewhere, and stay as they are.
"""

from __future__ import annotations

from sqlite_utils import Database

from gateway.sqlite.schema.steps import migrations


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


@migrations()
def m016_lifecycle(db: Database) -> None:
    """Leases that are queued, and what was asked for; the states between the grant and the end.

    `length` is in seconds; `ids` are the devices that were asked for, none for any. `told_at` is when its
    holder was last told of it; since `noticed_at` it ends for somebody else.
    SQLite cannot change a check: both tables are made anew, the one that refers to the other first gone.
    """
    db.execute(
        """
        create table newer_lease (
            id integer primary key autoincrement,
            user_id integer not null references user(id),
            state text not null
                check (state in ('queued', 'granted', 'active', 'warned', 'grace', 'released')),
            count integer not null check (count > 0),
            length integer not null check (length > 0),
            ids text not null default '[]',
            model text,
            preemptible integer not null default 0 check (preemptible in (0, 1)),
            asked_at text not null,
            granted_at text,
            expires_at text,
            released_at text,
            shown integer not null default 0 check (shown in (0, 1)),
            told_at text,
            noticed_at text,
            reason text,
            problem text,
            check ((state = 'released') = (released_at is not null)),
            check ((granted_at is null) = (expires_at is null)),
            check (state in ('queued', 'released') or granted_at is not null),
            check (state != 'queued' or granted_at is null)
        ) strict"""
    )
    db.execute(
        """
        insert into newer_lease
        select id, user_id, case state when 'live' then 'active' when 'ending' then 'grace' else state end,
            (select max(count(*), 1) from lease_device where lease_id = lease.id),
            max(strftime('%s', expires_at) - strftime('%s', granted_at), 1), '[]', null, 0,
            granted_at, granted_at, expires_at, released_at, 1, granted_at, null, reason, problem
        from lease"""
    )
    db.execute(
        """
        create table newer_lease_device (
            lease_id integer not null references newer_lease(id),
            device_id text not null references device(id),
            released_at text,
            primary key (lease_id, device_id)
        ) strict"""
    )
    db.execute("insert into newer_lease_device select lease_id, device_id, released_at from lease_device")
    db.execute("drop table lease_device")
    db.execute("drop table lease")
    db.execute("alter table newer_lease rename to lease")
    db.execute("alter table newer_lease_device rename to lease_device")
    db.execute("create index lease_held on lease(user_id) where released_at is null")
    db.execute("create unique index one_holder on lease_device(device_id) where released_at is null")


@migrations()
def m017_health(db: Database) -> None:
    """What was seen of a GPU's health, its quarantine, and what it is: JSON where there are parts."""
    db.execute("alter table device add column health text not null default 'healthy'")
    db.execute("alter table device add column remark text")
    db.execute("alter table device add column quarantine text")
    db.execute("alter table device add column hardware text not null default '{}'")


@migrations()
def m018_unmanaged(db: Database) -> None:
    """Processes on a GPU that are in no container of ours, in words."""
    db.execute("alter table device add column unmanaged text")


@migrations()
def m019_reservations(db: Database) -> None:
    """GPUs that are kept for a person from a moment on, by their ids, and the request that came of it."""
    db.execute(
        """
        create table reservation (
            id integer primary key autoincrement,
            user_id integer not null references user(id),
            devices text not null,
            begins_at text not null,
            ends_at text not null,
            made_at text not null,
            cancelled_at text,
            request_id integer references lease(id),
            check (begins_at < ends_at)
        ) strict"""
    )


@migrations()
def m021_farewells(db: Database) -> None:
    """Why a container was stopped, until its user has read it."""
    db.execute(
        """
        create table farewell (
            user_id integer primary key references user(id),
            at text not null,
            reason text not null
        ) strict"""
    )


@migrations()
def m020_losses(db: Database) -> None:
    """Devices that failed under a lease, until they were back or replaced at `ended_at`.

    `gone`: no container shows it any more, or it is back.
    """
    db.execute(
        """
        create table loss (
            id integer primary key autoincrement,
            lease_id integer not null references lease(id),
            device_id text not null references device(id),
            lost_at text not null,
            ended_at text,
            gone integer not null default 0 check (gone in (0, 1))
        ) strict"""
    )
    db.execute("create index loss_of_lease on loss(lease_id)")


@migrations()
def m022_history(db: Database) -> None:
    """What GPUs and containers did, in windows of some minutes: sums and counts, null where nothing was told.

    Devices, leases and users are named by their ids alone, for this outlives them. `cpu` is in microseconds.
    """
    db.execute(
        """
        create table history_window (
            id integer primary key autoincrement,
            at text not null,
            seconds integer not null,
            due integer not null
        ) strict"""
    )
    db.execute("create index history_at on history_window(at)")
    db.execute(
        """
        create table history_gpu (
            window_id integer not null references history_window(id) on delete cascade,
            device_id text not null,
            lease_id integer,
            samples integer not null,
            busy integer not null,
            utilization_count integer not null,
            utilization_total integer,
            utilization_peak integer,
            memory_count integer not null,
            memory_total integer,
            memory_peak integer
        ) strict"""
    )
    db.execute("create index history_gpu_window on history_gpu(window_id)")
    db.execute(
        """
        create table history_container (
            window_id integer not null references history_window(id) on delete cascade,
            user_id integer not null,
            samples integer not null,
            cpu integer not null,
            memory_count integer not null,
            memory_total integer,
            memory_peak integer
        ) strict"""
    )
    db.execute("create index history_container_window on history_container(window_id)")


@migrations()
def m023_restarts(db: Database) -> None:
    """Restarts to come, to show a changed set of GPUs (JSON): one a user, with what she was told first."""
    db.execute(
        """
        create table restart (
            id integer primary key autoincrement,
            user_id integer not null unique references user(id),
            devices text not null,
            told_at text not null,
            due_at text not null
        ) strict"""
    )


@migrations()
def m024_rollouts(db: Database) -> None:
    """Pins of groups, canaries, and promotions: one stable version an image, the last that was built."""
    db.execute("alter table image_version add column promoted integer")
    db.execute(
        """
        update image_version set promoted = place from (
            select id as row, row_number() over (order by built_at, id) as place from image_version
        ) where id = row and channel = 'stable'"""
    )
    db.execute(
        """
        update image_version set channel = 'deprecated' where channel = 'stable' and promoted <
            (select max(promoted) from image_version as other where other.name = image_version.name)"""
    )
    db.execute("create unique index one_stable on image_version(name) where channel = 'stable'")
    db.execute(
        """
        create table group_pin (
            group_id integer primary key references user_group(id) on delete cascade,
            image_id integer not null references image_version(id),
            place integer not null
        ) strict"""
    )
    db.execute(
        """
        create table canary (
            name text primary key,
            image_id integer not null references image_version(id),
            percent integer check (percent between 1 and 99),
            group_id integer references user_group(id) on delete cascade,
            check ((percent is null) != (group_id is null))
        ) strict"""
    )
