"""Accounts: made, changed, disabled; and the first administrator."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.audit import record
from heliograph.catalogue.context import Context, account_of, cut
from heliograph.catalogue.keys import MAX_SHOWN, fingerprint
from heliograph.catalogue.names import (
    account_key,
    check_account_name,
    check_domains,
    clean_name,
)
from heliograph.catalogue.passwords import check_password
from heliograph.catalogue.tables import AccountRow, ChannelRow, SecretRow, SessionRow
from heliograph.catalogue.values import SYSTEM, Account, Actor, Role
from heliograph.model.errors import ConflictError, NotFoundError, UnauthorizedError

#: Accounts of one answer.
MAX_PAGE = 500

_SETUP = "setup"


class Accounts:
    """Everything about accounts but signing in, which ``sessions`` does."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.database

    async def allow_first(self, key: str, *, node: str = "first") -> bool:
        """Let whoever shows this key make the first administrator; False once there is one.

        Only its hash is stored, and the one of an earlier start is good no more. ``node``: whose
        key it is; those of other nodes that share the database stay good.
        """
        async with self._db.write() as session:
            await self._db.alone(session, _SETUP)
            of_kind = SecretRow.kind == _SETUP
            if await _administrators(session):
                await session.execute(delete(SecretRow).where(of_kind))
                return False
            await session.execute(delete(SecretRow).where(of_kind, SecretRow.key_id == node))
            session.add(
                SecretRow(
                    kind=_SETUP,
                    key_id=node,
                    secret=fingerprint(key).encode("ascii"),
                    created=self._context.now(),
                )
            )
            return True

    async def create_first(
        self, key: str, name: str, password: str, *, display_name: str = "", address: str = ""
    ) -> Account:
        """Make the first administrator; the key is then used up.

        ``UnauthorizedError`` for a wrong key, or once there is an administrator.
        """
        context = self._context
        name, shown = _names(name, display_name)
        check_password(password)
        attempt = context.throttle.begin(context.ticks(), address=address)
        async with self._db.read() as session:
            await _check_setup(session, key)  # a stranger's password is not worth hashing
        hashed = await context.passwords.hash(password)
        async with self._db.write() as session:
            await _check_setup(session, key)
            await session.execute(delete(SecretRow).where(SecretRow.kind == _SETUP))
            row = await self._insert(session, name, shown, hashed, Role.ADMINISTRATOR)
            record(session, row.created, Actor(name, address), "account.first", name)
            account = account_of(row)
        context.throttle.succeeded(attempt, context.ticks())
        return account

    async def create(
        self,
        name: str,
        password: str,
        role: Role = Role.VIEWER,
        *,
        display_name: str = "",
        by: Actor = SYSTEM,
    ) -> Account:
        """Make an account; ``ConflictError`` where the name is taken."""
        name, shown = _names(name, display_name)
        hashed = await self._context.passwords.hash(password)
        async with self._db.write() as session:
            row = await self._insert(session, name, shown, hashed, role)
            record(session, row.created, by, "account.create", name, role=role.value)
            return account_of(row)

    async def get(self, name: str) -> Account:
        """The account; ``NotFoundError`` without one."""
        async with self._db.read() as session:
            return account_of(await _row(session, name))

    async def list(self, *, after: str = "", limit: int = 100) -> list[Account]:
        """Accounts by name, those behind ``after``."""
        query = (
            select(AccountRow)
            .where(AccountRow.name > cut(after, 64))
            .order_by(AccountRow.name)
            .limit(max(1, min(limit, MAX_PAGE)))
        )
        async with self._db.read() as session:
            return [account_of(row) for row in await session.scalars(query)]

    async def people(self, ids: Collection[int]) -> dict[int, Account]:
        """The accounts of these ids that still are."""
        found: dict[int, Account] = {}
        wanted = sorted(ids)
        async with self._db.read() as session:
            for start in range(0, len(wanted), MAX_PAGE):
                query = select(AccountRow).where(
                    AccountRow.id.in_(wanted[start : start + MAX_PAGE])
                )
                found |= {row.id: account_of(row) for row in await session.scalars(query)}
        return found

    async def count(self) -> int:
        async with self._db.read() as session:
            return await session.scalar(select(func.count(AccountRow.id))) or 0

    async def update(
        self,
        name: str,
        *,
        display_name: str | None = None,
        role: Role | None = None,
        disabled: bool | None = None,
        domains: Iterable[str] | None = None,
        by: Actor = SYSTEM,
    ) -> Account:
        """Change what is given. A disabled account is signed out everywhere. ``domains``: groups
        of units that it administers.

        ``ConflictError`` where no administrator would be left.
        """
        shown = None if display_name is None else clean_name(display_name)
        administers = None if domains is None else " ".join(check_domains(domains))
        now = self._context.now()
        async with self._db.write() as session:
            row = await _row(session, name, lock=True)
            loses = (role is not None and role is not Role.ADMINISTRATOR) or disabled is True
            if loses:
                await _keep_one(session, row)
            if shown is not None:
                row.display_name = shown
            if role is not None:
                row.role = role.value
            if administers is not None:
                row.domains = administers
            if disabled is not None:
                row.disabled = (row.disabled or now) if disabled else None
            if disabled:
                await session.execute(delete(SessionRow).where(SessionRow.account_id == row.id))
            record(
                session,
                now,
                by,
                "account.edit",
                row.name,
                display_name=shown,
                role=None if role is None else role.value,
                disabled=disabled,
                domains=administers,
            )
            account = account_of(row)
        self._context.recent.forget()
        return account

    async def set_password(self, name: str, password: str, *, by: Actor = SYSTEM) -> None:
        """Set a new password; the account is signed out everywhere."""
        hashed = await self._context.passwords.hash(password)
        async with self._db.write() as session:
            row = await _row(session, name, lock=True)
            row.password_hash = hashed
            await session.execute(delete(SessionRow).where(SessionRow.account_id == row.id))
            record(session, self._context.now(), by, "account.password", row.name)
        self._context.recent.forget()

    async def delete(self, name: str, *, by: Actor = SYSTEM) -> None:
        """Remove an account; ``ConflictError`` while it has channels, or is the last
        administrator."""
        async with self._db.write() as session:
            row = await _row(session, name, lock=True)
            await _keep_one(session, row)
            owned = await session.scalar(
                select(func.count(ChannelRow.id)).where(ChannelRow.owner_id == row.id)
            )
            if owned:
                raise ConflictError(f"account {row.name!r} has {owned} channels", subject=row.name)
            record(session, self._context.now(), by, "account.delete", row.name)
            await session.execute(delete(AccountRow).where(AccountRow.id == row.id))
        self._context.recent.forget()

    async def authenticate(self, name: str, password: str, *, address: str = "") -> Account:
        """Who this is; ``UnauthorizedError``, the same for every reason and after the same time.

        ``BusyError`` after too many failures of this address or on this account.
        """
        context = self._context
        wanted = account_key(name)
        attempt = context.throttle.begin(context.ticks(), address=address, account=wanted)
        async with self._db.read() as session:
            row = await session.scalar(select(AccountRow).where(AccountRow.name == wanted))
        stored = None if row is None else row.password_hash
        checked = await context.passwords.verify(stored, password)
        if row is None or not checked.good or row.disabled is not None:
            raise UnauthorizedError("the name or the password is wrong")
        context.throttle.succeeded(attempt, context.ticks())
        if checked.rehash is not None:
            async with self._db.write() as session:
                await session.execute(
                    update(AccountRow)
                    # Not where somebody has set another password meanwhile.
                    .where(AccountRow.id == row.id, AccountRow.password_hash == stored)
                    .values(password_hash=checked.rehash)
                )
        return account_of(row)

    async def _insert(
        self, session: AsyncSession, name: str, shown: str, hashed: str, role: Role
    ) -> AccountRow:
        if await session.scalar(select(AccountRow.id).where(AccountRow.name == name)):
            raise ConflictError(f"account {name!r} exists already", subject=name)
        row = AccountRow(
            name=name,
            display_name=shown,
            password_hash=hashed,
            role=role.value,
            created=self._context.now(),
        )
        session.add(row)
        await session.flush()
        return row


def _names(name: str, display_name: str) -> tuple[str, str]:
    name = check_account_name(name)
    return name, clean_name(display_name) if display_name else name


async def _row(session: AsyncSession, name: str, *, lock: bool = False) -> AccountRow:
    query = select(AccountRow).where(AccountRow.name == account_key(name))
    row = await session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise NotFoundError(f"no account {name[:32]!r}", subject=name[:32])
    return row


async def _check_setup(session: AsyncSession, key: str) -> None:
    """``UnauthorizedError`` where the key is not good; holds the stored ones fast otherwise."""
    query = select(SecretRow).where(SecretRow.kind == _SETUP).order_by(SecretRow.id)
    stored = [row.secret for row in await session.scalars(query.with_for_update())]
    shown = fingerprint(key[:MAX_SHOWN]).encode("ascii")
    # All of them, so that time does not tell which one was nearly right.
    good = any([hmac.compare_digest(secret, shown) for secret in stored])
    if not good or await _administrators(session):
        raise UnauthorizedError("the key for the first administrator is wrong")


async def _administrators(session: AsyncSession) -> set[int]:
    """Ids of administrators that may sign in, held fast until the transaction's end."""
    query = select(AccountRow.id).where(
        AccountRow.role == Role.ADMINISTRATOR.value, AccountRow.disabled.is_(None)
    )
    return set(await session.scalars(query.with_for_update()))


async def _keep_one(session: AsyncSession, row: AccountRow) -> None:
    if await _administrators(session) == {row.id}:
        raise ConflictError(f"account {row.name!r} is the last administrator", subject=row.name)
