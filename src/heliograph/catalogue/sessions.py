"""Sessions: who is signed in, by a random token of which only the hash is stored."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select, update

from heliograph.catalogue.accounts import Accounts
from heliograph.catalogue.audit import record
from heliograph.catalogue.context import Context, account_of, cut
from heliograph.catalogue.keys import MAX_SHOWN, fingerprint, new_session_token
from heliograph.catalogue.names import account_key
from heliograph.catalogue.tables import AccountRow, SessionRow
from heliograph.catalogue.values import Account, Actor, NewSession, Session
from heliograph.model.errors import (
    BusyError,
    NotFoundError,
    ResourceError,
    UnauthorizedError,
)

#: A session ends when it was not used for so long, …
IDLE = timedelta(days=14)
#: … and at this age in any case: a token that was stolen is good for a season at most.
MAX_AGE = timedelta(days=90)
#: How exactly the last use is known: not every request writes to the database.
TOUCH_EVERY = timedelta(minutes=1)
#: Sessions of one account; the one longest unused goes for a new one.
MAX_SESSIONS = 50


class Sessions:
    """Signing in and out."""

    def __init__(self, context: Context, accounts: Accounts) -> None:
        self._context = context
        self._db = context.database
        self._accounts = accounts
        self.touch_failures = 0
        """Times that the last use could not be written down; the session was good all the same."""
        self.believed = 0
        """Times that a session was taken for good as the database did not answer."""

    async def sign_in(
        self, name: str, password: str, *, address: str = "", agent: str = ""
    ) -> NewSession:
        """Check the password and open a session; errors as of ``Accounts.authenticate``.

        A refusal is written to the audit log; one that was merely put off is not.
        """
        try:
            account = await self._accounts.authenticate(name, password, address=address)
        except UnauthorizedError:
            async with self._db.write() as session:
                record(
                    session,
                    self._context.now(),
                    Actor("", address),
                    "session.refuse",
                    account_key(name) or "?",
                )
            raise
        return await self.create(account, address=address, agent=agent)

    async def create(self, account: Account, *, address: str = "", agent: str = "") -> NewSession:
        """Open a session for somebody known; ``UnauthorizedError`` if disabled meanwhile."""
        now, token = self._context.now(), new_session_token()
        async with self._db.write() as session:
            owner = await session.get(AccountRow, account.id, with_for_update=True)
            if owner is None or owner.disabled is not None:
                raise UnauthorizedError("the account is disabled", subject=account.name)
            surplus = (
                select(SessionRow.id)
                .where(SessionRow.account_id == account.id)
                .order_by(SessionRow.last_seen.desc(), SessionRow.id.desc())
                .offset(MAX_SESSIONS - 1)
            )
            gone = list(await session.scalars(surplus))
            await session.execute(delete(SessionRow).where(SessionRow.id.in_(gone)))
            row = SessionRow(
                token_hash=fingerprint(token),
                account=owner,
                created=now,
                expires=now + IDLE,
                last_seen=now,
                address=cut(address, 64),
                agent=cut(agent, 200),
            )
            session.add(row)
            await session.flush()
            record(session, now, Actor(owner.name, address), "session.open", owner.name)
            made = NewSession(token, _session(row))
        if gone:
            self._context.recent.forget()
        return made

    async def find(self, token: str) -> Session | None:
        """Who shows this token; None where it is unknown, expired, or the account disabled.

        While the database is away, whoever was known a while ago is known still.
        """
        if not token or len(token) > MAX_SHOWN:
            return None
        context, hashed = self._context, fingerprint(token)
        known, changes = context.recent.get(hashed, context.ticks()), context.recent.changes
        now = context.now()
        if known is not None and now < known.expires and now - known.last_seen < TOUCH_EVERY:
            return known
        query = (
            select(SessionRow)
            .join(SessionRow.account)
            .where(
                SessionRow.token_hash == hashed,
                SessionRow.expires > now,
                AccountRow.disabled.is_(None),
            )
        )
        try:
            async with self._db.read() as session:
                row = await session.scalar(query)
                found = None if row is None else _session(row)
        except (BusyError, ResourceError):
            known = context.recent.last(hashed, context.ticks())
            if known is None or now >= known.expires:
                raise
            self.believed += 1
            return known
        if found is None:
            context.recent.drop(hashed)
        if found is not None and now - found.last_seen >= TOUCH_EVERY:
            found = await self._touch(found)
        if found is not None:
            context.recent.put(hashed, found, context.ticks(), changes)
        return found

    async def list(self, account: str) -> list[Session]:
        """The sessions of an account that are good, the last used first."""
        query = (
            select(SessionRow)
            .join(SessionRow.account)
            .where(
                AccountRow.name == account_key(account), SessionRow.expires > self._context.now()
            )
            .order_by(SessionRow.last_seen.desc(), SessionRow.id.desc())
        )
        async with self._db.read() as session:
            return [_session(row) for row in await session.scalars(query)]

    async def sign_out(self, token: str, *, address: str = "") -> bool:
        """End the session of this token; whether there was one."""
        async with self._db.write() as session:
            row = await session.scalar(
                select(SessionRow).where(SessionRow.token_hash == fingerprint(token[:MAX_SHOWN]))
            )
            if row is None:
                return False
            name = row.account.name
            record(session, self._context.now(), Actor(name, address), "session.close", name)
            await session.execute(delete(SessionRow).where(SessionRow.id == row.id))
        self._context.recent.forget()
        return True

    async def revoke(self, account: str, session_id: int, *, by: Actor) -> None:
        """End one session of an account; ``NotFoundError`` where it has no such."""
        async with self._db.write() as session:
            row = await session.get(SessionRow, session_id)
            if row is None or row.account.name != account:
                raise NotFoundError(f"no session {session_id}", subject=account)
            record(session, self._context.now(), by, "session.revoke", account, id=session_id)
            await session.execute(delete(SessionRow).where(SessionRow.id == row.id))
        self._context.recent.forget()

    async def prune(self) -> None:
        """Remove sessions that have expired."""
        async with self._db.write() as session:
            await session.execute(
                delete(SessionRow).where(SessionRow.expires <= self._context.now())
            )

    async def _touch(self, found: Session) -> Session:
        now = self._context.now()
        expires = min(now + IDLE, found.created + MAX_AGE)
        try:
            async with self._db.write() as session:
                await session.execute(
                    update(SessionRow)
                    .where(SessionRow.id == found.id)
                    .values(last_seen=now, expires=expires)
                )
        except (BusyError, ResourceError):
            self.touch_failures += 1
            return found
        return Session(
            found.id, found.account, found.created, expires, now, found.address, found.agent
        )


def _session(row: SessionRow) -> Session:
    return Session(
        row.id,
        account_of(row.account),
        row.created,
        row.expires,
        row.last_seen,
        row.address,
        row.agent,
    )
