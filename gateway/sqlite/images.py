"""Image versions in the database, and which image a workspace without a pin runs.

Owns the rows. Must not build or pull anything.
"""

from __future__ import annotations

from datetime import datetime

from gateway import images
from gateway.errors import Code, PlatformError
from gateway.images import ImageVersion
from gateway.sqlite.rows import Base, stamp

_COLUMNS = "id, ref, name, version, flavour, digest, channel, registry_digest"


class Images(Base):
    """The images' part of the store."""

    def add_image(
        self, name: str, version: str, flavour: str, ref: str, digest: str, actor: str, now: datetime
    ) -> ImageVersion:
        """Record a build, which is the newest from now on, also when the same digest was built before.

        The first image of an installation becomes the one that workspaces without a pin run.
        """
        with self._db.write():
            # A new row, so that "newest" is the highest id; workspaces pinned to the old row keep it.
            before = self._db.row("select id from image_version where name = ? and digest = ?", name, digest)
            if before:
                self._db.change(
                    "update image_version set ref = ?, version = ?, flavour = ?, built_at = ? where id = ?",
                    ref,
                    version,
                    flavour,
                    stamp(now),
                    before["id"],
                )
            else:
                self._db.insert(
                    "image_version",
                    {
                        "ref": ref,
                        "name": name,
                        "version": version,
                        "flavour": flavour,
                        "digest": digest,
                        "channel": "stable",
                        "registry_digest": None,
                        "built_at": stamp(now),
                    },
                )
            self._db.change("insert or ignore into meta values ('default_image', ?)", name)
            self._event(now, actor, "image add", f"{name} {version}", after={"ref": ref, "digest": digest})
        return next(image for image in self.images() if (image.name, image.digest) == (name, digest))

    def images(self) -> list[ImageVersion]:
        """Every image version, in the order in which they were built."""
        return [
            ImageVersion(**row)
            for row in self._db.rows(f"select {_COLUMNS} from image_version order by built_at, id")
        ]

    def _image(self, user_id: int) -> ImageVersion:
        """What her workspace runs: its pin, else the newest stable version of the default image."""
        pinned = self._db.row("select image_id from workspace where user_id = ?", user_id)
        default = self._db.row("select value from meta where key = 'default_image'")
        versions = self.images()
        if pinned and pinned["image_id"] is not None:
            return next(image for image in versions if image.id == pinned["image_id"])
        image = images.newest(versions, default["value"]) if default else None
        if image is None:
            raise PlatformError(
                Code.NOT_FOUND,
                "There is no image to run yet; an operator builds one with: gpuadmin image build base",
            )
        return image
