"""The chats' memory: what was said and who is muted, bounded for each channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.context import Context, channel_key, cut
from heliograph.catalogue.tables import ChannelRow, ChatMuteRow, ChatRow
from heliograph.catalogue.values import ChatEntry, ChatMute
from heliograph.model.errors import NotFoundError

#: Messages kept of a channel: what late comers read, and a moderator looks back at.
KEEP_MESSAGES = 500
#: Mutes kept of a channel; the oldest goes for a new one.
KEEP_MUTES = 1000


@dataclass(frozen=True, slots=True)
class ChatPast:
    """What a channel's chat begins with."""

    messages: tuple[ChatEntry, ...] = ()
    """The oldest first."""
    mutes: tuple[ChatMute, ...] = ()


class History:
    """Reads and writes the chats' memory."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.database

    async def load(self, channel: str, *, limit: int = KEEP_MESSAGES) -> ChatPast:
        """The last messages of a channel, and who is muted in it; empty where there is none."""
        newest = (
            select(ChatRow)
            .join(ChannelRow, ChannelRow.id == ChatRow.channel_id)
            .where(ChannelRow.name == channel_key(channel))
            .order_by(ChatRow.seq.desc())
            .limit(limit)
        )
        muted = (
            select(ChatMuteRow)
            .join(ChannelRow, ChannelRow.id == ChatMuteRow.channel_id)
            .where(ChannelRow.name == channel_key(channel))
            .order_by(ChatMuteRow.id)
        )
        now = self._context.now()
        async with self._db.read() as session:
            messages = tuple(_entry(row) for row in await session.scalars(newest))[::-1]
            mutes = tuple(
                ChatMute(row.author, row.until)
                for row in await session.scalars(muted)
                if row.until is None or row.until > now
            )
            return ChatPast(messages, mutes)

    async def save(
        self,
        channel: str,
        *,
        said: Iterable[ChatEntry] = (),
        deleted: Iterable[int] = (),
        cleared: int = 0,
        muted: Iterable[ChatMute] = (),
        unmuted: Iterable[str] = (),
        moved: Mapping[int, int] | None = None,
    ) -> dict[int, int]:
        """Write down what happened, as one transaction; doing it twice changes nothing.

        ``deleted``: messages whose text goes; ``cleared``: all go but those said after this one.
        Unmuting comes before muting: give the last state of each author. ``NotFoundError`` without
        that channel.

        A message behind which another node wrote meanwhile gets the next free number instead of its
        own. Gives such by their own; ``moved``: those of earlier calls.
        """
        said, deleted = list(said), list(deleted)
        muted, unmuted = list(muted), list(unmuted)
        async with self._db.write() as session:
            row = await session.scalar(
                select(ChannelRow)
                .where(ChannelRow.name == channel_key(channel))
                .with_for_update(of=ChannelRow, key_share=True)
            )
            if row is None:
                raise NotFoundError(f"no channel {channel[:80]!r}", subject=channel[:80])
            now_moved = await self._say(session, row.id, said) if said else {}
            stored = {**(moved or {}), **now_moved}
            if deleted:
                seqs = [stored.get(seq, seq) for seq in deleted]
                await session.execute(
                    update(ChatRow)
                    .where(ChatRow.channel_id == row.id, ChatRow.seq.in_(seqs))
                    .values(body="", deleted=True)
                )
            if cleared:
                later = [stored.get(one.seq, one.seq) for one in said if one.seq > cleared]
                await session.execute(
                    update(ChatRow)
                    .where(ChatRow.channel_id == row.id, ChatRow.seq.not_in(later))
                    .values(body="", deleted=True)
                )
            if muted or unmuted:
                await self._mute(session, row.id, muted, unmuted)
            return now_moved

    async def _say(
        self, session: AsyncSession, channel_id: int, said: list[ChatEntry]
    ) -> dict[int, int]:
        """The caller holds the channel's row fast, so that nobody else gives numbers away."""
        known = await self._known(session, channel_id, {entry.nonce for entry in said})
        newest = select(func.max(ChatRow.seq)).where(ChatRow.channel_id == channel_id)
        found = await session.scalar(newest)
        last = -1 if found is None else found
        values, moved = [], {}
        for entry in said:
            key = entry.author, entry.nonce
            if key not in known:
                known[key] = last = max(entry.seq, last + 1)
                values.append(_values(channel_id, last, entry))
            if known[key] != entry.seq:
                moved[entry.seq] = known[key]
        if values:
            await session.execute(insert(ChatRow), values)
        edge = await session.scalar(
            select(ChatRow.seq)
            .where(ChatRow.channel_id == channel_id)
            .order_by(ChatRow.seq.desc())
            .offset(KEEP_MESSAGES)
            .limit(1)
        )
        if edge is not None:
            await session.execute(
                delete(ChatRow).where(ChatRow.channel_id == channel_id, ChatRow.seq <= edge)
            )
        return moved

    async def _known(
        self, session: AsyncSession, channel_id: int, nonces: set[str]
    ) -> dict[tuple[str, str], int]:
        """Numbers of the messages that are there, by author and nonce."""
        found: dict[tuple[str, str], int] = {}
        wanted = sorted(nonces)
        for start in range(0, len(wanted), KEEP_MESSAGES):
            query = select(ChatRow.author, ChatRow.nonce, ChatRow.seq).where(
                ChatRow.channel_id == channel_id,
                ChatRow.nonce.in_(wanted[start : start + KEEP_MESSAGES]),
            )
            for author, nonce, seq in await session.execute(query):
                found[author, nonce] = seq
        return found

    async def _mute(
        self, session: AsyncSession, channel_id: int, muted: list[ChatMute], unmuted: list[str]
    ) -> None:
        of_channel = ChatMuteRow.channel_id == channel_id
        gone = [*unmuted, *(mute.author for mute in muted)]
        await session.execute(delete(ChatMuteRow).where(of_channel, ChatMuteRow.author.in_(gone)))
        session.add_all(
            ChatMuteRow(channel_id=channel_id, author=mute.author, until=mute.until)
            for mute in muted
        )
        await session.flush()
        surplus = list(
            await session.scalars(
                select(ChatMuteRow.id)
                .where(of_channel)
                .order_by(ChatMuteRow.id.desc())
                .offset(KEEP_MUTES)
            )
        )
        await session.execute(delete(ChatMuteRow).where(ChatMuteRow.id.in_(surplus)))


def _values(channel_id: int, seq: int, entry: ChatEntry) -> dict[str, Any]:
    return {
        "channel_id": channel_id,
        "seq": seq,
        "author": entry.author,
        "name": entry.name,
        "badge": entry.badge,
        "body": "" if entry.deleted else cut(entry.text, len(entry.text)),
        "nonce": entry.nonce,
        "at": entry.at,
        "deleted": entry.deleted,
    }


def _entry(row: ChatRow) -> ChatEntry:
    return ChatEntry(
        seq=row.seq,
        author=row.author,
        name=row.name,
        text=row.body,
        nonce=row.nonce,
        at=row.at,
        badge=row.badge,
        deleted=row.deleted,
    )
