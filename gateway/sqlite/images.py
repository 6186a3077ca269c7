"""Image versions in the database: what was built or added, and the channel of each.

Owns the rows. Must not build or pull anything, nor know who runs which version.
"""

from __future__ import annotations

from datetime import datetime

from gateway import images
from gateway.channels import Channel, Move, moved
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion
from gateway.sqlite.rows import Base, stamp

_COLUMNS = "id, ref, name, version, flavour, digest, channel, registry_digest, promoted"


class Images(Base):
    """The images' part of the store."""

    def add_image(
        self,
        name: str,
        version: str,
        flavour: str,
        ref: str,
        digest: str,
        actor: str,
        now: datetime,
        *,
        offered: bool = True,
        registry_digest: str | None = None,
        reason: str = "",
    ) -> ImageVersion:
        """Record a build, which is the newest from now on, also when the same digest was built before.

        The first version of an image is stable, each later one a candidate. The first image of an
        installation becomes the one that workspaces without a pin run, unless it was not `offered`: built
        only because another is built on it. `registry_digest` says where it came from.
        """
        with self._db.write():
            before = self._db.row(
                "select id, channel from image_version where name = ? and digest = ?", name, digest
            )
            # A new row, so that "newest" is the highest id; workspaces pinned to the old row keep it.
            id_ = before["id"] if before else self._new_row(name, digest)
            channel = moved(ref, Channel(before["channel"] if before else Channel.CANDIDATE), Move.RECORD)
            self._db.change(
                "update image_version set ref = ?, version = ?, flavour = ?, built_at = ?, channel = ?"
                " where id = ?",
                ref,
                version,
                flavour,
                stamp(now),
                channel,
                id_,
            )
            if registry_digest is not None:
                self._set_registry_digest(id_, registry_digest)
            if self.stable_image(name) is None:
                self._make_stable(id_)
            if offered:
                self._db.change("insert or ignore into meta values ('default_image', ?)", name)
            self._event(
                now, actor, "image add", f"{name} {version}", None, {"ref": ref, "digest": digest}, reason
            )
        return next(image for image in self.images() if image.id == id_)

    def images(self) -> list[ImageVersion]:
        """Every image version, in the order in which they were built."""
        rows = self._db.rows(f"select {_COLUMNS} from image_version order by built_at, id")
        return [ImageVersion(**row | {"channel": Channel(row["channel"])}) for row in rows]

    def stable_image(self, name: str) -> ImageVersion | None:
        """The stable version of the image called `name`; None when there is none."""
        return images.stable(self.images(), name)

    def built(self, digest: str) -> ImageVersion | None:
        """The version that was recorded last with this digest; None when there is none."""
        return next((image for image in reversed(self.images()) if image.digest == digest), None)

    def image_version(self, ref: str) -> ImageVersion:
        """The version that was last recorded as `ref`, or has this digest. Raises NOT_FOUND."""
        found = images.named(self.images(), ref)
        if found is None:
            raise PlatformError(Code.NOT_FOUND, f"There is no image {ref!r}; see: gpuadmin image list")
        return found

    def image_pushed(
        self, image: ImageVersion, registry_digest: str, actor: str, now: datetime, reason: str = ""
    ) -> None:
        """Record from where this version can be fetched: `HOST/NAME@sha256:...`."""
        with self._db.write():
            self._set_registry_digest(image.id, registry_digest)
            before, after = {"registry_digest": image.registry_digest}, {"registry_digest": registry_digest}
            self._event(now, actor, "image push", image.ref, before, after, reason)

    def _set_registry_digest(self, image_id: int, registry_digest: str) -> None:
        self._db.change(
            "update image_version set registry_digest = ? where id = ?", registry_digest, image_id
        )

    def _new_row(self, name: str, digest: str) -> int:
        row = {"ref": "", "name": name, "version": "", "flavour": "", "digest": digest}
        return self._db.insert("image_version", {**row, "channel": Channel.CANDIDATE, "built_at": ""})

    def _make_stable(self, image_id: int) -> None:
        """Have it be the one that was promoted last."""
        self._db.change(
            "update image_version set channel = ?,"
            " promoted = (select coalesce(max(promoted), 0) + 1 from image_version) where id = ?",
            Channel.STABLE,
            image_id,
        )

    def _set_channel(self, image_id: int, channel: Channel) -> None:
        self._db.change("update image_version set channel = ? where id = ?", channel, image_id)
