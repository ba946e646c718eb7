"""What tells one database from another: servers that share one have the same channels."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.context import Context
from heliograph.catalogue.tables import SecretRow
from heliograph.catalogue.tokens import new_id

_KIND = "instance"


async def instance_of(context: Context) -> str:
    """The name that the database was given when it was first opened; a copy of it has the same."""
    async with context.database.read() as session:
        known = await _known(session)
    if known is not None:
        return known
    async with context.database.write() as session:
        await context.database.alone(session, _KIND)
        known = await _known(session)
        if known is None:
            known = new_id()
            now = context.now()
            session.add(SecretRow(kind=_KIND, key_id=known, secret=b"", created=now, retired=None))
        return known


async def _known(session: AsyncSession) -> str | None:
    return await session.scalar(select(SecretRow.key_id).where(SecretRow.kind == _KIND))
