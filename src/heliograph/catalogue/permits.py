"""View tokens with the database behind them: the keys that sign, and what was withdrawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.audit import record
from heliograph.catalogue.context import Context, channel_key
from heliograph.catalogue.tables import ChannelRow, SecretRow, SpentTokenRow
from heliograph.catalogue.tokens import (
    MAX_LIFETIME,
    MAX_SUBJECT,
    TOKEN_ID,
    Fault,
    SigningKey,
    Verdict,
    ViewToken,
    issue,
    new_id,
    new_key,
    verify,
)
from heliograph.catalogue.values import SYSTEM, Actor
from heliograph.model.errors import MalformedError, NotFoundError, UnauthorizedError

#: Seconds between two looks for keys that another process may have made.
RELOAD_EVERY = 10.0

_KIND = "token"


class Permits:
    """Issues, checks and withdraws view tokens."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.database
        self._keys: dict[str, SigningKey] = {}
        self._current = ""
        self._loaded = float("-inf")
        self._gone: frozenset[str] = frozenset()

    @property
    def keys(self) -> Mapping[str, SigningKey]:
        """The keys that check tokens, by their ids: what a unit needs to check them alone."""
        return dict(self._keys)

    async def load(self) -> None:
        """Read the signing keys and what was withdrawn; make the first key."""
        self._loaded = self._context.ticks()
        async with self._db.read() as session:
            rows = await _signing(session)
        if not any(row.retired is None for row in rows):
            async with self._db.write() as session:
                await self._db.alone(session, "first key")
                rows = await _signing(session)
                if not any(row.retired is None for row in rows):
                    rows.append(self._insert(session))
        self._keys = {row.key_id: SigningKey(row.key_id, row.secret) for row in rows}
        self._current = next(row.key_id for row in reversed(rows) if row.retired is None)
        self._gone = await self.spent()

    async def rotate(self, *, withdraw: bool = False, by: Actor = SYSTEM) -> None:
        """Sign with a new key from now on.

        Tokens made before stay good until they expire, or end at once with ``withdraw`` (a key that
        somebody else may have read).
        """
        now = self._context.now()
        async with self._db.write() as session:
            of_kind = SecretRow.kind == _KIND
            if withdraw:
                await session.execute(delete(SecretRow).where(of_kind))
            else:
                for row in await session.scalars(
                    select(SecretRow).where(of_kind, SecretRow.retired.is_(None))
                ):
                    row.retired = now
            self._insert(session)
            record(session, now, by, "token.rotate", "token", withdraw=withdraw)
        await self.load()

    async def issue(
        self,
        channel: str,
        subject: str,
        lifetime: float,
        *,
        delay: float = 0.0,
        single: bool = False,
        by: Actor = SYSTEM,
    ) -> tuple[str, ViewToken]:
        """A token for ``lifetime`` seconds, good from ``delay`` seconds on; text and content.

        ``NotFoundError`` without that channel, ``MalformedError`` for a life that cannot be.
        """
        if not (delay >= 0 and lifetime >= 1 and delay + lifetime < MAX_LIFETIME - 60):
            raise MalformedError("view token", "its life must be between a second and a year")
        now = self._context.now()
        async with self._db.write() as session:
            start = await _tokens_from(session, channel)
            seconds = int(now.timestamp())
            token = ViewToken(
                channel=channel,
                subject=subject,
                issued=max(seconds, start),
                not_before=seconds + int(delay),
                expires=max(seconds, start) + int(delay + lifetime),
                id=new_id(),
                single=single,
            )
            text = issue(token, self._keys[self._current])
            record(session, now, by, "token.issue", channel, id=token.id, to=subject, single=single)
        return text, token

    def judge(self, channel: str, text: str, tokens_from: int) -> Verdict:
        """What the token says, without the database: a single one may have been used since, and
        another process may sign with a key not known here. ``verify`` knows both.

        ``tokens_from`` is of the channel's ``Standing``.
        """
        now = self._context.now().timestamp()
        verdict = verify(text, self._keys, channel=channel, now=now, revoked=self._gone)
        if isinstance(verdict, ViewToken) and verdict.issued < tokens_from:
            return Fault.REVOKED
        return verdict

    def holds(self, token: ViewToken, tokens_from: int) -> bool:
        """Whether what a token opened may stay open: it has not expired and was not withdrawn."""
        gone = not token.single and token.id in self._gone  # a single one was used for this
        good = token.issued >= tokens_from and not gone
        return good and self._context.now().timestamp() < token.expires

    def carry(self, token: ViewToken) -> str:
        """For the rest of what a single token opened: the same for more than one request."""
        return issue(replace(token, id=new_id(), single=False), self._keys[self._current])

    def sign(self, channel: str, subject: str, lifetime: int, tokens_from: int) -> str:
        """A token for whoever another authority let in: for this session, in no log."""
        now = int(self._context.now().timestamp())
        issued = max(now, tokens_from)
        token = ViewToken(channel, subject[:MAX_SUBJECT], issued, now, issued + lifetime, new_id())
        return issue(token, self._keys[self._current])

    async def verify(self, channel: str, text: str) -> ViewToken:
        """What the token says; a single one is used up by this.

        ``UnauthorizedError`` whose ``subject`` is the ``Fault``'s value.
        """
        now = self._context.now().timestamp()
        verdict = verify(text, self._keys, channel=channel, now=now)
        if verdict is Fault.SIGNATURE and self._context.ticks() - self._loaded > RELOAD_EVERY:
            await self.load()  # another process may sign with a key that is new
            verdict = verify(text, self._keys, channel=channel, now=now)
        if isinstance(verdict, ViewToken) and await self._spent(verdict):
            verdict = Fault.REVOKED
        if isinstance(verdict, Fault):
            raise UnauthorizedError(f"view token: {verdict.value}", subject=verdict.value)
        return verdict

    async def revoke(self, channel: str, token_id: str, *, by: Actor = SYSTEM) -> None:
        """Withdraw one token by its id, which the audit log has; twice is once."""
        if not TOKEN_ID.fullmatch(token_id):
            raise MalformedError("view token", "its id")
        now = self._context.now()
        # Nobody knows its life any more: until then every token of today has expired.
        expires = now + timedelta(seconds=MAX_LIFETIME)
        async with self._db.write() as session:
            await self._db.alone(session, token_id)
            if await session.get(SpentTokenRow, token_id) is None:
                session.add(SpentTokenRow(token_id=token_id, expires=expires))
            record(session, now, by, "token.revoke", channel, id=token_id)
        self._gone |= {token_id}

    async def revoke_all(self, channel: str, *, by: Actor = SYSTEM) -> None:
        """Withdraw every token of a channel made until now."""
        now = self._context.now()
        async with self._db.write() as session:
            row = await session.scalar(
                select(ChannelRow).where(ChannelRow.name == channel_key(channel))
            )
            if row is None:
                raise NotFoundError(f"no channel {channel[:80]!r}", subject=channel[:80])
            # Later than any was issued: those of a channel's first second bear its end.
            newest = max(now.replace(microsecond=0), row.tokens_from)
            row.tokens_from = newest + timedelta(seconds=1)
            record(session, now, by, "token.revoke-all", channel)

    async def spent(self) -> frozenset[str]:
        """Ids of tokens used or withdrawn that have not expired yet, for units."""
        query = select(SpentTokenRow.token_id).where(SpentTokenRow.expires > self._context.now())
        async with self._db.read() as session:
            return frozenset(await session.scalars(query))

    async def prune(self) -> None:
        """Forget tokens that have expired, and keys that no living token was signed with."""
        now = self._context.now()
        async with self._db.write() as session:
            await session.execute(delete(SpentTokenRow).where(SpentTokenRow.expires <= now))
            await session.execute(
                delete(SecretRow).where(
                    SecretRow.kind == _KIND,
                    SecretRow.retired < now - timedelta(seconds=MAX_LIFETIME),
                )
            )

    async def _spent(self, token: ViewToken) -> bool:
        """Whether a token that is otherwise good is withdrawn or used; uses up a single one."""
        async with self._db.write() if token.single else self._db.read() as session:
            if token.single:
                await self._db.alone(session, token.id)
            try:
                start = await _tokens_from(session, token.channel)
            except NotFoundError:
                return True
            if token.issued < start or await session.get(SpentTokenRow, token.id) is not None:
                return True
            if token.single:
                until = datetime.fromtimestamp(token.expires, UTC)
                session.add(SpentTokenRow(token_id=token.id, expires=until))
        if token.single:
            self._gone |= {token.id}
        return False

    def _insert(self, session: AsyncSession) -> SecretRow:
        key = new_key(new_id())
        row = SecretRow(
            kind=_KIND,
            key_id=key.id,
            secret=key.secret,
            created=self._context.now(),
            retired=None,
        )
        session.add(row)
        return row


def whole_second_after(moment: datetime) -> datetime:
    """The first whole second not before ``moment``: tokens know no smaller time."""
    whole = moment.replace(microsecond=0)
    return whole if whole == moment else whole + timedelta(seconds=1)


async def _signing(session: AsyncSession) -> list[SecretRow]:
    query = select(SecretRow).where(SecretRow.kind == _KIND).order_by(SecretRow.id)
    return list(await session.scalars(query))


async def _tokens_from(session: AsyncSession, channel: str) -> int:
    found = await session.scalar(
        select(ChannelRow.tokens_from).where(ChannelRow.name == channel_key(channel))
    )
    if found is None:
        raise NotFoundError(f"no channel {channel[:80]!r}", subject=channel[:80])
    return int(found.timestamp())
