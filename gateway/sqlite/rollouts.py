"""Who runs which image version, as rows: pins, groups' pins, canaries, the default, what was stable before.

Owns the rows and their changes, each with its event. Which of them decides is gateway.rollout's. Must not
know the engine.
"""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime

from gateway import rollout
from gateway.channels import Channel, Move, moved
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion
from gateway.rollout import Canary, Rollout
from gateway.sqlite.groups import Groups
from gateway.sqlite.images import Images


class Rollouts(Groups, Images):
    """The rollouts' part of the store. `reason` is what the operator said of a change, for its event."""

    def rollout(self) -> Rollout:
        """All that decides who runs which version."""
        with self._db.read():
            versions = {image.id: image for image in self.images()}
            own = self._db.rows(
                "select user_id, image_id from workspace join user on user.id = user_id"
                " where image_id is not null and removed_at is null"
            )
            groups = self._db.rows("select group_id, image_id from group_pin order by place")
            canaries = self._db.rows("select * from canary")
            fixed, name = self._meta("default_image_id"), self._meta("default_image")
            default = self.stable_image(name) if name else None
        return Rollout(
            versions[int(fixed)] if fixed is not None else default,
            follows=fixed is None,
            own={row["user_id"]: versions[row["image_id"]] for row in own},
            groups={row["group_id"]: versions[row["image_id"]] for row in groups},
            canaries={
                row["name"]: Canary(versions[row["image_id"]], row["percent"], row["group_id"])
                for row in canaries
            },
        )

    def default_image(self) -> ImageVersion | None:
        """What a workspace runs for which nothing else was said; None when nothing is there yet."""
        return self.rollout().default

    def pin_image(self, user: str, ref: str | None, actor: str, now: datetime, reason: str = "") -> None:
        """Have a user's workspace run one version from its next start on, or the default when `ref` is None.

        Raises NOT_FOUND without such a user or version, CONFLICT for a retired one.
        """
        with self._db.write():
            id_ = self._user(user).id
            before = self.rollout().own.get(id_)
            image = self._pinnable(ref)
            self._db.change("insert or ignore into workspace (user_id) values (?)", id_)
            self._db.change(
                "update workspace set image_id = ? where user_id = ?",
                None if image is None else image.id,
                id_,
            )
            self._pinned(now, actor, user, before, image, reason)

    def pin_group(self, group: str, ref: str | None, actor: str, now: datetime, reason: str = "") -> None:
        """Have a group's members who have no pin run one version, or end the group's pin when `ref` is None.

        Raises NOT_FOUND without such a group or version, CONFLICT for a retired one.
        """
        with self._db.write():
            id_ = self._group_id(group)
            before = self.rollout().groups.get(id_)
            image = self._pinnable(ref)
            self._db.change("delete from group_pin where group_id = ?", id_)
            if image is not None:
                self._db.change(
                    "insert into group_pin select ?, ?, coalesce(max(place), 0) + 1 from group_pin",
                    id_,
                    image.id,
                )
            self._pinned(now, actor, f"group {group}", before, image, reason)

    def pin_default(self, ref: str, actor: str, now: datetime, reason: str = "") -> None:
        """Have workspaces without a pin run the version `ref`, or what is stable of the image named `ref`.

        Raises NOT_FOUND without such a version or image, CONFLICT for a retired one.
        """
        with self._db.write():
            before = self.rollout().default
            named = self.stable_image(ref)
            image = named or self._pinnable(ref)
            assert image is not None
            self._db.change("insert or replace into meta values ('default_image', ?)", image.name)
            self._db.change("delete from meta where key = 'default_image_id'")
            if named is None:
                self._db.change("insert into meta values ('default_image_id', ?)", str(image.id))
            self._event(now, actor, "image pin", "default", _facts(before), {"image": ref}, reason)

    def promote(self, ref: str, actor: str, now: datetime, reason: str = "") -> ImageVersion | None:
        """Make a version its image's stable one: the one that it replaces. Ends a canary of that image.

        Raises NOT_FOUND without such a version, CONFLICT when it is stable already, or retired.
        """
        with self._db.write():
            image = self.image_version(ref)
            moved(image.ref, image.channel, Move.PROMOTE)
            before = self.stable_image(image.name)
            if before is not None:
                self._set_channel(before.id, moved(before.ref, before.channel, Move.REPLACE))
            self._make_stable(image.id)
            self._db.change("delete from canary where name = ?", image.name)
            self._event(now, actor, "image promote", image.name, _facts(before), _facts(image), reason)
            return before

    def offer(
        self, ref: str, percent: int | None, group: str | None, actor: str, now: datetime, reason: str = ""
    ) -> None:
        """Make a version its image's canary, for `percent` of the users or for a group; the last one ends.

        Raises NOT_FOUND without such a version or group, CONFLICT for one that is stable or retired.
        """
        with self._db.write():
            image = self.image_version(ref)
            moved(image.ref, image.channel, Move.OFFER)
            group_id = None if group is None else self._group_id(group)
            before = self.rollout().canaries.get(image.name)
            self._db.change("delete from canary where name = ?", image.name)
            self._db.insert(
                "canary",
                {"name": image.name, "image_id": image.id, "percent": percent, "group_id": group_id},
            )
            whom = f"{percent}%" if group is None else f"group {group}"
            facts = {"image": image.ref, "digest": image.digest, "canary": whom}
            former = _facts(before.image) if before else None
            self._event(now, actor, "image promote", image.name, former, facts, reason)

    def roll_back(
        self, name: str, actor: str, now: datetime, reason: str = ""
    ) -> tuple[ImageVersion, ImageVersion]:
        """Take back the last promotion of an image: its canary, else its stable version, which the one before
        takes the place of. What was taken back, and what is stable now.

        Raises NOT_FOUND without such an image, CONFLICT when no version was stable before.
        """
        with self._db.write():
            stable = self.stable_image(name)
            if stable is None:
                raise PlatformError(
                    Code.NOT_FOUND, f"There is no stable image {name!r}; see: gpuadmin image list"
                )
            canary = self.rollout().canaries.get(name)
            former = rollout.before(self.images(), name)
            if canary is not None:
                self._db.change("delete from canary where name = ?", name)
                taken, left = canary.image, stable
            elif former is not None:
                self._set_channel(stable.id, moved(stable.ref, stable.channel, Move.TAKE_BACK))
                self._set_channel(former.id, moved(former.ref, former.channel, Move.PROMOTE))
                taken, left = stable, former
            else:
                raise PlatformError(
                    Code.CONFLICT,
                    f"No version of {name} was stable before {stable.ref}; promote another one instead.",
                )
            self._event(now, actor, "image rollback", name, _facts(taken), _facts(left), reason)
            return taken, left

    def retire(self, ref: str, actor: str, now: datetime, reason: str = "") -> ImageVersion:
        """Have nobody begin to run a version any more; containers that run it go on.

        Raises NOT_FOUND without such a version, CONFLICT for one that somebody is to run.
        """
        with self._db.write():
            image = self.image_version(ref)
            use = rollout.in_use(self.rollout(), image)
            if use is not None:
                raise PlatformError(
                    Code.CONFLICT, f"{image.ref} {use}; end that first: see gpuadmin image list"
                )
            self._set_channel(image.id, moved(image.ref, image.channel, Move.RETIRE))
            self._event(now, actor, "image retire", image.name, _facts(image), None, reason)
            return image

    def prune(self, keep: int, run: Set[str], actor: str, now: datetime, reason: str) -> list[ImageVersion]:
        """Retire what rollout.disposable says, and list it, with what was retired before.

        `run` are the digests that containers are made from.
        """
        with self._db.write():
            gone = rollout.disposable(self.images(), self.rollout(), keep, run)
            for image in gone:
                if image.channel is not Channel.RETIRED:
                    self._set_channel(image.id, moved(image.ref, image.channel, Move.RETIRE))
                    self._event(now, actor, "image prune", image.name, _facts(image), None, reason)
            return gone

    def _pinnable(self, ref: str | None) -> ImageVersion | None:
        if ref is None:
            return None
        image = self.image_version(ref)
        moved(image.ref, image.channel, Move.PIN)
        return image

    def _pinned(
        self,
        now: datetime,
        actor: str,
        whom: str,
        before: ImageVersion | None,
        after: ImageVersion | None,
        reason: str,
    ) -> None:
        self._event(now, actor, "image pin", whom, _facts(before), _facts(after), reason)

    def _meta(self, key: str) -> str | None:
        row = self._db.row("select value from meta where key = ?", key)
        return None if row is None else str(row["value"])

    def _image(self, user_id: int) -> ImageVersion:
        """What her workspace runs. Raises NOT_FOUND when nothing is there yet."""
        image = rollout.chosen(self.rollout(), user_id, self._group_ids(user_id))
        if image is None:
            raise PlatformError(
                Code.NOT_FOUND,
                "There is no image to run yet; an operator builds one with: gpuadmin image build pytorch",
            )
        return image


def _facts(image: ImageVersion | None) -> dict[str, str | None] | None:
    return None if image is None else {"image": image.ref, "digest": image.digest}
