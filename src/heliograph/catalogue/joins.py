"""Tokens by which nodes join the cluster: of each only what checks it is stored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, select

from heliograph.catalogue.audit import record
from heliograph.catalogue.context import Context, cut
from heliograph.catalogue.tables import JoinTokenRow
from heliograph.catalogue.values import Actor, JoinTokenRecord
from heliograph.model.errors import GoneError, TooManyError, UnauthorizedError

#: Tokens kept at once; one is for one machine.
MAX_TOKENS = 500
#: How long a token is kept after its end, so that who comes late is told why it is refused.
KEEP = timedelta(days=7)


class JoinTokens:
    """Made by administrators, used by one node each."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.database

    async def add(
        self, token_id: str, verifier: bytes, expires: datetime, *, by: Actor
    ) -> JoinTokenRecord:
        """Store a fresh token; ``TooManyError`` above ``MAX_TOKENS``."""
        now = self._context.now()
        async with self._db.write() as session:
            if (await session.scalar(select(func.count(JoinTokenRow.id))) or 0) >= MAX_TOKENS:
                raise TooManyError(f"there are {MAX_TOKENS} tokens already", subject="tokens")
            row = JoinTokenRow(
                token_id=token_id, verifier=verifier, created=now, expires=expires, node=None
            )
            session.add(row)
            record(session, now, by, "node.token", token_id, expires=expires.isoformat())
        return _token(row)

    async def list(self) -> list[JoinTokenRecord]:
        """All that are kept, the newest first."""
        query = select(JoinTokenRow).order_by(JoinTokenRow.id.desc()).limit(MAX_TOKENS)
        async with self._db.read() as session:
            return [_token(row) for row in await session.scalars(query)]

    async def redeem(
        self, token_id: str, node: str, name: str, proves: Callable[[bytes], bool], address: str
    ) -> None:
        """Use a token for a node; the same node may ask again, as an answer can get lost.

        ``proves`` says whether the request was made with the token of this verifier.
        ``UnauthorizedError`` for a wrong one, ``GoneError`` for one that has ended or is used,
        ``TooManyError`` for who guesses.
        """
        context = self._context
        attempt = context.throttle.begin(context.ticks(), address=address)
        async with self._db.read() as session:
            row = await session.scalar(select(JoinTokenRow).where(_of(token_id)))
        if row is None or not proves(row.verifier):
            raise UnauthorizedError("the token is wrong", subject="wrong")
        context.throttle.succeeded(attempt, context.ticks())
        now = context.now()
        async with self._db.write() as session:
            # Read anew: another request may have used it since.
            query = select(JoinTokenRow).where(_of(token_id)).with_for_update()
            row = await session.scalar(query)
            if row is None or now >= row.expires:
                raise GoneError("the token has ended; make another one", subject="expired")
            if row.node not in (None, node):
                raise GoneError("the token was used by another node", subject="used")
            if row.node is None:
                row.node = node
                by = Actor(f"node:{node}", address)
                record(session, now, by, "node.join", node, name=name, token=token_id)

    async def prune(self) -> None:
        """Forget tokens that have ended a while ago."""
        async with self._db.write() as session:
            old = JoinTokenRow.expires <= self._context.now() - KEEP
            await session.execute(delete(JoinTokenRow).where(old))


def _of(token_id: str) -> ColumnElement[bool]:
    return JoinTokenRow.token_id == cut(token_id, 16)


def _token(row: JoinTokenRow) -> JoinTokenRecord:
    return JoinTokenRecord(row.token_id, row.created, row.expires, row.node)
