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
    ) -> ImageVersion:
        """Record a build, which is the newest from now on, also when the same digest was built before.

        The first image of an installation becomes the one that workspaces without a pin run, unless it
        was not `offered`: built only because another is built on it.
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
            if offered:
                self._db.change("insert or ignore into meta values ('default_image', ?)", name)
            self._event(now, actor, "image add", f"{name} {version}", after={"ref": ref, "digest": digest})
        return next(image for image in self.images() if (image.name, image.digest) == (name, digest))

    def images(self) -> list[ImageVersion]:
        """Every image version, in the order in which they were built."""
        return [
            ImageVersion(**row)
            for row in self._db.rows(f"select {_COLUMNS} from image_version order by built_at, id")
        ]

    def default_image(self) -> ImageVersion | None:
        """What a workspace without a pin of its own runs; None when nothing is there yet."""
        versions = self.images()
        pinned = self._meta("default_image_id")
        if pinned is not None:
            return next(image for image in versions if image.id == int(pinned))
        name = self._meta("default_image")
        return images.newest(versions, name) if name else None

    def pins(self) -> dict[int, ImageVersion]:
        """The pins of workspaces, by user id."""
        versions = {image.id: image for image in self.images()}
        rows = self._db.rows("select user_id, image_id from workspace where image_id is not null")
        return {row["user_id"]: versions[row["image_id"]] for row in rows}

    def pin_image(self, user: str, ref: str | None, actor: str, now: datetime) -> None:
        """Have a user's workspace run one version from its next start on, or the default when `ref` is None.

        Raises NOT_FOUND without such a user or version.
        """
        with self._db.write():
            id_ = self._user(user).id
            image = None if ref is None else self.image_version(ref)
            self._db.change("insert or ignore into workspace (user_id) values (?)", id_)
            self._db.change(
                "update workspace set image_id = ? where user_id = ?",
                None if image is None else image.id,
                id_,
            )
            self._event(now, actor, "image pin", user, after={"image": ref})

    def pin_default(self, ref: str, actor: str, now: datetime) -> None:
        """Have workspaces without a pin run the version `ref`, or always the newest of the image named `ref`.

        Raises NOT_FOUND without such a version or image.
        """
        with self._db.write():
            named = self.newest_image(ref)
            image = named or self.image_version(ref)
            self._db.change("insert or replace into meta values ('default_image', ?)", image.name)
            self._db.change("delete from meta where key = 'default_image_id'")
            if named is None:
                self._db.change("insert into meta values ('default_image_id', ?)", str(image.id))
            self._event(now, actor, "image pin", "default", after={"image": ref})

    def newest_image(self, name: str) -> ImageVersion | None:
        """The newest stable version of the image called `name`; None when there is none."""
        return images.newest(self.images(), name)

    def image_version(self, ref: str) -> ImageVersion:
        """The version that was last recorded as `ref`. Raises NOT_FOUND."""
        for image in reversed(self.images()):
            if image.ref == ref:
                return image
        raise PlatformError(Code.NOT_FOUND, f"There is no image {ref!r}; see: gpuadmin image list")

    def _meta(self, key: str) -> str | None:
        row = self._db.row("select value from meta where key = ?", key)
        return None if row is None else str(row["value"])

    def _image(self, user_id: int) -> ImageVersion:
        """What her workspace runs: its pin, else the default."""
        image = self.pins().get(user_id) or self.default_image()
        if image is None:
            raise PlatformError(
                Code.NOT_FOUND,
                "There is no image to run yet; an operator builds one with: gpuadmin image build pytorch",
            )
        return image
