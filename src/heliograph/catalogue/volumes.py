"""The newest state of each volume, changed by compare-and-swap.

What is in it is storage's business: here it is a document with a version. Disks keep copies, so
that a volume outlives this database; what is decided is decided here. Of a removed volume a mark
stays, by which copies of it that turn up later are known to be of no use.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from heliograph.catalogue.audit import record
from heliograph.catalogue.context import Context
from heliograph.catalogue.tables import VolumeRow
from heliograph.catalogue.values import Actor
from heliograph.model.errors import (
    ConflictError,
    NotFoundError,
    PreconditionError,
    TooLargeError,
    TooManyError,
)
from heliograph.model.media import check_channel_name

#: Volumes of a site: one is usual.
MAX_VOLUMES = 100
#: Characters of a document: a thousand disks, with every change of them, have a tenth of it.
MAX_DOCUMENT = 4 << 20
#: Marks of removed volumes; of more the oldest are forgotten: disks that are away for so long.
MAX_ERASED = 1000
#: Version of a row that is a mark. Its name begins with what no volume's name does.
_ERASED = 0


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """A volume's state as it was written last."""

    name: str
    version: int
    document: str


class Volumes:
    """Reads and writes states."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.database

    async def load(self) -> list[VolumeRecord]:
        """All volumes, by name."""
        async with self._db.read() as session:
            wanted = select(VolumeRow).where(VolumeRow.version > _ERASED)
            rows = await session.scalars(wanted.order_by(VolumeRow.name))
            return [VolumeRecord(row.name, row.version, row.document) for row in rows]

    async def get(self, name: str) -> VolumeRecord:
        """One volume; ``NotFoundError``."""
        async with self._db.read() as session:
            row = await session.get(VolumeRow, name)
            if row is None or row.version == _ERASED:
                raise NotFoundError(f"there is no volume {name}", subject=name)
            return VolumeRecord(row.name, row.version, row.document)

    async def put(self, new: VolumeRecord, before: int, action: str, by: Actor) -> None:
        """Write a state over that of version ``before``, 0: there must be none.

        ``ConflictError`` where there is one, ``PreconditionError`` where somebody else was first,
        ``NotFoundError``, ``TooManyError``, ``TooLargeError``. ``action`` is for the audit line.
        """
        check_channel_name(new.name)
        if len(new.document) > MAX_DOCUMENT:
            raise TooLargeError(f"the state of volume {new.name} is too long", subject=new.name)
        now = self._context.now()
        async with self._db.write() as session:
            row = await session.get(VolumeRow, new.name, with_for_update=True)
            if row is None:
                if before:
                    raise NotFoundError(f"there is no volume {new.name}", subject=new.name)
                there = select(func.count(VolumeRow.name)).where(VolumeRow.version > _ERASED)
                if (await session.scalar(there) or 0) >= MAX_VOLUMES:
                    raise TooManyError(f"there are {MAX_VOLUMES} volumes already", subject=new.name)
                session.add(
                    VolumeRow(
                        name=new.name, version=new.version, document=new.document, changed=now
                    )
                )
            elif not before:
                raise ConflictError(f"there is a volume {new.name} already", subject=new.name)
            elif row.version != before:
                raise PreconditionError(
                    f"volume {new.name} was changed meanwhile: {row.version}, not {before}"
                )
            else:
                row.version, row.document, row.changed = new.version, new.document, now
            record(session, now, by, action, new.name, version=new.version)

    async def remove(self, name: str, id: str, by: Actor) -> None:
        """Forget a volume, but for ``id``, which no other has; its disks are another matter.
        ``NotFoundError``."""
        now = self._context.now()
        async with self._db.write() as session:
            row = await session.get(VolumeRow, name)
            if row is None or row.version == _ERASED:
                raise NotFoundError(f"there is no volume {name}", subject=name)
            await session.delete(row)
            marks = select(VolumeRow).where(VolumeRow.version == _ERASED)
            old = await session.scalars(
                marks.order_by(VolumeRow.changed.desc()).offset(MAX_ERASED - 1)
            )
            for one in old:
                await session.delete(one)
            await session.merge(
                VolumeRow(name=_mark(id), version=_ERASED, document=name, changed=now)
            )
            record(session, now, by, "volume.remove", name)

    async def erased(self, id: str) -> bool:
        """Whether the volume of that id was removed."""
        async with self._db.read() as session:
            return await session.get(VolumeRow, _mark(id)) is not None


def _mark(id: str) -> str:
    return f"!{id}"
