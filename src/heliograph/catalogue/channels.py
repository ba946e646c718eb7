"""Channels and their stream keys."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.audit import record
from heliograph.catalogue.content_tables import TitleRow
from heliograph.catalogue.contents.revision import NAMES
from heliograph.catalogue.context import Context, channel_key, channel_of, cut
from heliograph.catalogue.desired import Closing, forget
from heliograph.catalogue.keys import MAX_SHOWN, new_stream_key, stream_fingerprint
from heliograph.catalogue.names import account_key, clean_line
from heliograph.catalogue.permits import whole_second_after
from heliograph.catalogue.tables import AccountRow, ChannelRow, StreamKeyRow
from heliograph.catalogue.values import (
    SYSTEM,
    Actor,
    ChannelRecord,
    NewStreamKey,
    Standing,
    StreamKey,
    ViewAccess,
)
from heliograph.model.errors import (
    ConflictError,
    MalformedError,
    NotFoundError,
    TooLargeError,
)
from heliograph.model.media import check_channel_name

#: Characters of a title: it stands on one line.
MAX_TITLE = 200
#: Characters of the options as JSON; what an operator can set of one channel takes 2 000.
MAX_OPTIONS = 32_768
#: Channels of one owner; more are an administrator's matter.
MAX_OWNED = 100
#: Stream keys of a channel that are good; a studio has fewer encoders.
MAX_KEYS = 20
#: Revoked keys of a channel that are still shown.
MAX_REVOKED = 20
#: Characters of a key's label.
MAX_LABEL = 64
#: Longest slow mode, seconds.
MAX_SLOW = 3600.0
#: Characters of a key that somebody chose; shorter ones can be guessed.
MIN_KEY = 8
#: Characters from which on a key's last four tell nothing useful of it.
_HINTED = 16
#: Channels of one answer.
MAX_PAGE = 1000


class Channels:
    """Channels as they are stored; whether somebody may is for ``rights`` to say."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.database

    async def create(
        self,
        name: str,
        *,
        owner: str | None = None,
        title: str = "",
        private: bool = False,
        view_access: ViewAccess = ViewAccess.EVERYONE,
        guests_chat: bool = True,
        options: Mapping[str, Any] | None = None,
        configured: bool = False,
        settings_of: str = "",
        max_owned: int = MAX_OWNED,
        by: Actor = SYSTEM,
    ) -> ChannelRecord:
        """Make a channel. ``ConflictError`` where a channel or a title has the name (letters' case
        does not tell names apart), ``TooLargeError`` where the owner has ``max_owned`` already."""
        check_channel_name(name)
        title = clean_line(title, limit=MAX_TITLE, what="title")
        stored = _options(options or {})
        now = self._context.now()
        async with self._db.write() as session:
            taken = await session.scalar(
                select(ChannelRow.id).where(ChannelRow.folded_name == name.lower())
            )
            if taken is not None:
                raise ConflictError(f"channel {name!r} exists already", subject=name)
            holder = None if owner is None else await _account(session, owner)
            if holder is not None:
                owned = await session.scalar(
                    select(func.count(ChannelRow.id)).where(ChannelRow.owner_id == holder.id)
                )
                if (owned or 0) >= max_owned:
                    raise TooLargeError(
                        f"{holder.name!r} has {max_owned} channels, and no more are allowed",
                        subject=holder.name,
                    )
            # Last, as whoever makes a channel or a title waits from here on.
            await self._db.alone(session, NAMES)
            alike = select(TitleRow.id).where(TitleRow.folded_name == name.lower())
            if await session.scalar(alike) is not None:
                raise ConflictError(f"title {name!r} exists already", subject=name)
            row = ChannelRow(
                name=name,
                folded_name=name.lower(),
                title=title,
                owner=holder,
                private=private,
                view_access=view_access.value,
                options=stored,
                created=now,
                tokens_from=whole_second_after(now),
                guests_chat=guests_chat,
                slow_mode_ms=0,
                configured=configured,
                settings_of=settings_of or None,
            )
            session.add(row)
            await session.flush()
            record(session, now, by, "channel.create", name, owner=owner)
            return channel_of(row)

    async def get(self, name: str) -> ChannelRecord:
        """The channel; ``NotFoundError`` without one."""
        async with self._db.read() as session:
            return channel_of(await _row(session, name))

    async def list(
        self, *, owner: str | None = None, after: str = "", limit: int = MAX_PAGE
    ) -> list[ChannelRecord]:
        """Channels by name, those behind ``after``, private ones among them."""
        query = (
            select(ChannelRow)
            .where(ChannelRow.name > cut(after, 64))
            .order_by(ChannelRow.name)
            .limit(max(1, min(limit, MAX_PAGE)))
        )
        if owner is not None:
            query = query.join(ChannelRow.owner).where(AccountRow.name == account_key(owner))
        async with self._db.read() as session:
            return [channel_of(row) for row in await session.scalars(query)]

    async def standings(self, name: str | None = None) -> dict[str, Standing]:
        """All channels, or the one of that name, with what decides about them, by name."""
        channels = select(ChannelRow)
        # Columns, not rows of the mapping: each of those would join the channel again.
        keys = select(StreamKeyRow.channel_id, StreamKeyRow.key_hash, StreamKeyRow.id).where(
            StreamKeyRow.revoked.is_(None)
        )
        if name is not None:
            channels = channels.where(ChannelRow.name == channel_key(name))
            of_channel = select(ChannelRow.id).where(ChannelRow.name == channel_key(name))
            keys = keys.where(StreamKeyRow.channel_id.in_(of_channel))
        async with self._db.read() as session:
            good: dict[int, dict[str, int]] = {}
            for channel_id, hashed, key_id in await session.execute(keys):
                good.setdefault(channel_id, {})[hashed] = key_id
            return {
                row.name: Standing(
                    channel_of(row), good.get(row.id, {}), int(row.tokens_from.timestamp())
                )
                for row in await session.scalars(channels)
            }

    async def update(
        self,
        name: str,
        *,
        title: str | None = None,
        private: bool | None = None,
        view_access: ViewAccess | None = None,
        options: Mapping[str, Any] | None = None,
        guests_chat: bool | None = None,
        slow_mode: float | None = None,
        by: Actor = SYSTEM,
    ) -> ChannelRecord:
        """Change what is given."""
        changes: dict[str, Any] = {
            "title": None if title is None else clean_line(title, limit=MAX_TITLE, what="title"),
            "private": private,
            "view_access": None if view_access is None else view_access.value,
            "options": None if options is None else _options(options),
            "guests_chat": guests_chat,
            "slow_mode_ms": None if slow_mode is None else _slow(slow_mode),
        }
        changes = {field: value for field, value in changes.items() if value is not None}
        async with self._db.write() as session:
            row = await _row(session, name, lock=True)
            for field, value in changes.items():
                setattr(row, field, value)
            # Options may hold credentials of cameras: that they changed is told, and not how.
            told = {
                field: True if field == "options" else value for field, value in changes.items()
            }
            record(session, self._context.now(), by, "channel.edit", name, **told)
            return channel_of(row)

    async def enrol(self, name: str, settings_of: str) -> None:
        """A channel of the settings stands in those of this node now."""
        async with self._db.write() as session:
            await session.execute(
                update(ChannelRow)
                .where(ChannelRow.name == channel_key(name), ChannelRow.configured.is_(True))
                .values(settings_of=settings_of or None)
            )

    async def give(self, name: str, owner: str | None, *, by: Actor = SYSTEM) -> ChannelRecord:
        """Give the channel to another owner, or to the server."""
        async with self._db.write() as session:
            row = await _row(session, name, lock=True)
            row.owner = None if owner is None else await _account(session, owner)
            record(session, self._context.now(), by, "channel.give", name, owner=owner or "")
            return channel_of(row)

    async def delete(
        self, name: str, *, by: Actor = SYSTEM, closing: Closing = Closing.KEPT
    ) -> None:
        """Remove a channel with its keys, its chat and what was wanted of it.

        ``ForbiddenError`` where it is closed and ``closing`` refuses that.
        """
        async with self._db.write() as session:
            row = await _row(session, name, lock=True)
            record(session, self._context.now(), by, "channel.delete", name)
            await session.execute(delete(ChannelRow).where(ChannelRow.id == row.id))
            await forget(session, row.name, closing)


class StreamKeys:
    """Keys that may publish, several a channel."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.database

    async def create(
        self, channel: str, *, label: str = "", key: str = "", by: Actor = SYSTEM
    ) -> NewStreamKey:
        """Make a key, or take the one that somebody chose.

        ``TooLargeError`` where the channel has ``MAX_KEYS`` good ones, ``ConflictError`` where it
        has this one already.
        """
        label = clean_line(label, limit=MAX_LABEL, what="label")
        if key and not MIN_KEY <= len(key) <= MAX_SHOWN:
            raise MalformedError("stream key", f"{MIN_KEY} to {MAX_SHOWN} characters")
        now, key = self._context.now(), key or new_stream_key()
        async with self._db.write() as session:
            row = await _row(session, channel, lock=True)
            of_channel = StreamKeyRow.channel_id == row.id
            good = await session.scalar(
                select(func.count(StreamKeyRow.id)).where(
                    of_channel, StreamKeyRow.revoked.is_(None)
                )
            )
            if (good or 0) >= MAX_KEYS:
                raise TooLargeError(
                    f"channel {channel!r} has {MAX_KEYS} keys; revoke one first", subject=channel
                )
            made = StreamKeyRow(
                channel=row,
                key_hash=stream_fingerprint(channel, key),
                hint=key[-4:] if len(key) >= _HINTED else "",
                label=label,
                created=now,
                last_used=None,
                revoked=None,
            )
            session.add(made)
            await session.flush()
            record(session, now, by, "key.create", channel, id=made.id, label=label)
            return NewStreamKey(key, _key(made))

    async def list(self, channel: str) -> list[StreamKey]:
        """The channel's keys, the newest first, revoked ones among them."""
        query = (
            select(StreamKeyRow)
            .join(StreamKeyRow.channel)
            .where(ChannelRow.name == channel_key(channel))
            .order_by(StreamKeyRow.id.desc())
        )
        async with self._db.read() as session:
            return [_key(row) for row in await session.scalars(query)]

    async def revoke(self, channel: str, key_id: int, *, by: Actor = SYSTEM) -> StreamKey:
        """Revoke a key; ``NotFoundError`` where the channel has no such.

        Who publishes with it now goes on until the caller ends that.
        """
        now = self._context.now()
        async with self._db.write() as session:
            row = await session.get(StreamKeyRow, key_id, with_for_update={"of": StreamKeyRow})
            if row is None or row.channel.name != channel:
                raise NotFoundError(f"no stream key {key_id}", subject=channel)
            row.revoked = row.revoked or now
            await session.flush()
            oldest = (
                select(StreamKeyRow.id)
                .where(StreamKeyRow.channel_id == row.channel_id, StreamKeyRow.revoked.is_not(None))
                .order_by(StreamKeyRow.revoked.desc(), StreamKeyRow.id.desc())
                .offset(MAX_REVOKED)
            )
            gone = list(await session.scalars(oldest))
            await session.execute(delete(StreamKeyRow).where(StreamKeyRow.id.in_(gone)))
            record(session, now, by, "key.revoke", channel, id=key_id, label=row.label)
            return _key(row)

    async def used(self, ids: Collection[int]) -> None:
        """Write down that these keys were used just now."""
        async with self._db.write() as session:
            await session.execute(
                update(StreamKeyRow)
                .where(StreamKeyRow.id.in_(ids))
                .values(last_used=self._context.now())
            )


def _key(row: StreamKeyRow) -> StreamKey:
    return StreamKey(
        row.id, row.channel.name, row.label, row.hint, row.created, row.last_used, row.revoked
    )


async def _row(session: AsyncSession, name: str, *, lock: bool = False) -> ChannelRow:
    query = select(ChannelRow).where(ChannelRow.name == channel_key(name))
    row = await session.scalar(query.with_for_update(of=ChannelRow) if lock else query)
    if row is None:
        raise NotFoundError(f"no channel {name[:80]!r}", subject=name[:80])
    return row


async def _account(session: AsyncSession, name: str) -> AccountRow:
    row = await session.scalar(
        select(AccountRow).where(AccountRow.name == account_key(name)).with_for_update()
    )
    if row is None:
        raise NotFoundError(f"no account {name[:32]!r}", subject=name[:32])
    return row


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        text = json.dumps(options, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedError("channel options", str(error)) from None
    if len(text) > MAX_OPTIONS:
        raise TooLargeError(f"channel options longer than {MAX_OPTIONS} characters")
    return dict(json.loads(text))


def _slow(seconds: float) -> int:
    if not 0 <= seconds <= MAX_SLOW:
        raise MalformedError("slow mode", f"0 to {MAX_SLOW:g} seconds")
    return round(seconds * 1000)
