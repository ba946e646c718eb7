"""Channels that people made, kept in the catalogue, and the live channels in step with it.

Every change goes to the database first and is then put in place of what the registry has in memory,
so that look-ups never wait. Who may change what is for the caller to ask of ``rights``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.desired import Closing, still_closed
from heliograph.catalogue.tokens import ViewToken
from heliograph.catalogue.values import SYSTEM, Account, Actor, NewStreamKey, Standing, ViewAccess
from heliograph.live.channel import Channel
from heliograph.live.gate import Gate
from heliograph.live.grants import Grant
from heliograph.live.legacy import LegacyChannel, read_channels, set_aside
from heliograph.live.options import ChannelOptions
from heliograph.live.registry import Channels
from heliograph.model.errors import (
    ConflictError,
    ForbiddenError,
    HelioError,
)

log = structlog.get_logger(__name__)

#: Who acts for the settings file.
SETTINGS = Actor("settings")
#: No token is issued later than this.
NEVER = 2**53
#: Channels that are looked up one by one; more of them are with all others.
FEW = 8
#: What is told to those whose right has ended.
ENDED = "no right any more"


class Roster:
    """Makes, changes and deletes channels, their keys and tokens."""

    def __init__(
        self,
        channels: Channels,
        catalogue: Catalogue,
        gate: Gate,
        *,
        home: str = "",
        node: str = "",
    ) -> None:
        """``home``: id of the catalogue where other nodes share it, and ``node`` that of this one
        among them; empty: it is this node's own."""
        self.channels = channels
        self.home, self.node = home, node
        self.catalogue = catalogue
        self.gate = gate
        self._turn = asyncio.Lock()
        self.ended = 0
        """Publishers and readers ended because their right did."""

    # --- start and upkeep ---------------------------------------------------------------------

    async def open(self, state_dir: Path | None = None) -> None:
        """Open what people made, and give each channel of the settings its place.

        ``state_dir``: where an earlier version kept its channels, which are taken over once.
        ``ResourceError`` where they cannot be read.
        """
        if state_dir is not None:
            await self._take_over(state_dir)
        for channel in self.channels:
            await self._enrol(channel.name)
        await self.refresh()

    async def upkeep(self) -> None:
        """Follow what other processes changed, and end what nobody has a right to any more.

        To be called every quarter of a minute or so: a right that expires ends within a minute,
        also while the database is away, which is raised after that.
        """
        try:
            await self._note_used()
            await self.catalogue.permits.load()
            await self.refresh()
        finally:
            await self.recheck()

    async def _note_used(self) -> None:
        used, self.gate.used = self.gate.used, set()
        if used:
            try:
                await self.catalogue.stream_keys.used(used)
            except HelioError:
                self.gate.used |= used
                raise

    async def follow(self, names: Collection[str]) -> None:
        """Others changed these channels: see what is stored of them, and end what they ended."""
        few = len(names) <= FEW
        for name in sorted(names) if few else (None,):
            await self.refresh(name)
            await self.recheck(name)

    async def refresh(self, name: str | None = None) -> None:
        """Bring the live channels, or one of them, to what the catalogue says."""
        async with self._turn:  # what was read first must not be put in place last
            standings = await self.catalogue.channels.standings(name)
            for standing in standings.values():
                self._place(standing)
            gone = [
                channel.name
                for channel in self.channels
                if channel.name not in standings
                and not channel.configured
                and not channel.elsewhere
                and name in (None, channel.name)
            ]
            for one in gone:
                self.channels.delete(one)

    async def recheck(self, name: str | None = None) -> None:
        """End publishers and readers, of one channel or of all, whose right is gone.

        Where the database does not say who they are, those whom it takes no account to judge; then
        its error is raised.
        """
        channels = [one for one in self.channels if name in (None, one.name)]
        ids = {
            grant.person.id
            for channel in channels
            for grant in channel.grants()
            if grant.person is not None
        }
        people: Mapping[int, Account] = {}
        trouble: HelioError | None = None
        if ids:
            try:
                people = await self.catalogue.accounts.people(ids)
            except HelioError as error:
                trouble = error

        def over(channel: Channel, grant: Grant | None) -> bool:
            if grant is None or (grant.person is not None and trouble is not None):
                return False
            return not self.gate.holds(channel, grant, people)

        for channel in channels:
            for publishing in list(channel.publishings.values()):
                if over(channel, publishing.grant):
                    self.ended += 1
                    channel.dismiss(publishing, ENDED)
            for viewer in channel.viewers():
                if over(channel, viewer.grant):
                    self.ended += 1
                    viewer.kick(ENDED)
        if trouble is not None:
            raise trouble

    def _place(self, standing: Standing) -> None:
        record = standing.record
        channel = self.channels.find(record.name)
        if channel is not None and channel.configured:
            self.channels.change(channel, channel.options, _of_settings(standing))
            return
        if channel is not None and channel.elsewhere:
            return  # its name was taken, as long as that one is open
        if record.configured:  # it stands in the settings no more; what it had waits there
            return
        try:
            options = ChannelOptions.from_json({**record.options, "title": record.title})
            if channel is not None:
                self.channels.change(channel, options, standing)
            else:
                self.channels.create(record.name, options, standing, home=self.home)
        except HelioError as error:
            log.error("channel not opened", channel=record.name, error=error.message)

    async def _enrol(self, name: str) -> None:
        """Make a row for a channel of the settings, so that it can have keys, tokens and a chat."""
        channels = self.catalogue.channels
        known = (await channels.standings(name)).get(name)
        if known is None:
            try:
                await channels.create(name, configured=True, settings_of=self.node, by=SETTINGS)
                return
            except ConflictError:  # another node may have been quicker
                known = (await channels.standings(name)).get(name)
        if known is None:
            log.error("a channel made by the API differs in the case of letters", channel=name)
        elif not known.record.configured:
            log.warning("settings hide a channel made by the API", channel=name)
        elif known.record.settings_of != self.node:
            await channels.enrol(name, self.node)

    async def _take_over(self, state_dir: Path) -> None:
        found = read_channels(state_dir)
        if found is None:
            return
        for old in found:
            await self._import(old)
        set_aside(state_dir)
        log.info("channels of an earlier version taken over", count=len(found))

    async def _import(self, old: LegacyChannel) -> None:
        """May be called again for what was taken over in part."""
        known = (await self.catalogue.channels.standings(old.name)).get(old.name)
        try:
            if known is None:
                await self.catalogue.channels.create(
                    old.name, title=old.options.title, options=_stored(old.options), by=SETTINGS
                )
            if old.options.key and (known is None or not known.keys):
                await self.catalogue.stream_keys.create(
                    old.name, label="before accounts", key=old.options.key, by=SETTINGS
                )
        except ConflictError as error:
            log.error("channel not taken over", channel=old.name, error=error.message)

    # --- channels -----------------------------------------------------------------------------

    def own(self, name: str) -> Channel:
        """A channel that can be changed here; ``ForbiddenError`` for one of the settings."""
        channel = self.channels.get(name)
        _kept_here(channel)
        if channel.configured:
            raise ForbiddenError(
                f"channel {name!r} stands in the settings; change it there", subject=name
            )
        return channel

    async def create(
        self,
        name: str,
        options: ChannelOptions | None = None,
        *,
        owner: str | None = None,
        private: bool = False,
        view_access: ViewAccess = ViewAccess.EVERYONE,
        guests_chat: bool = True,
        key: str = "",
        by: Actor = SYSTEM,
    ) -> tuple[Channel, NewStreamKey]:
        """Make a channel with its first stream key: ``key``, or a fresh one."""
        options = options or ChannelOptions()
        if self.channels.find(name) is not None:
            raise ConflictError(f"channel {name!r} exists already", subject=name)
        self.channels.check_room()
        left = (await self.catalogue.channels.standings(name)).get(name)
        if left is not None and left.record.configured:
            if left.record.settings_of not in ("", self.node):
                raise ConflictError(
                    f"channel {name!r} stands in the settings of another node", subject=name
                )
            # It stood in the settings once; keys, tokens and chat of then are not the new owner's.
            await self.catalogue.channels.delete(name, by=by)
        await self.catalogue.channels.create(
            name,
            owner=owner,
            title=options.title,
            private=private,
            view_access=view_access,
            guests_chat=guests_chat,
            options=_stored(options),
            by=by,
        )
        try:
            made = await self.catalogue.stream_keys.create(name, key=key, by=by)
            await self.refresh(name)
            return self.channels.get(name), made
        except HelioError:
            await self.catalogue.channels.delete(name, by=by)
            await self.refresh(name)
            raise

    async def update(
        self,
        name: str,
        options: ChannelOptions | None = None,
        *,
        private: bool | None = None,
        view_access: ViewAccess | None = None,
        guests_chat: bool | None = None,
        slow_mode: float | None = None,
        by: Actor = SYSTEM,
    ) -> Channel:
        """Change what is given. The options of a channel of the settings are changed there.

        Who is on the channel and may not be any more is sent away.
        """
        if options is not None:
            self.own(name)
        await self.catalogue.channels.update(
            name,
            title=None if options is None else options.title,
            private=private,
            view_access=view_access,
            options=None if options is None else _stored(options),
            guests_chat=guests_chat,
            slow_mode=slow_mode,
            by=by,
        )
        await self.refresh(name)
        await self.recheck(name)
        return self.channels.get(name)

    async def delete(
        self, name: str, *, by: Actor = SYSTEM, closing: Closing = Closing.REFUSED
    ) -> None:
        """End a channel, with its publisher and readers, and forget its keys and its chat.

        ``ForbiddenError`` where it is closed, unless ``closing`` says what becomes of that.
        """
        self.own(name)
        if closing is Closing.REFUSED and name in self.gate.closed:
            raise still_closed(name)  # the catalogue knows that only if it is the manager's, too
        await self.catalogue.channels.delete(name, by=by, closing=closing)
        await self.refresh(name)

    async def configure(self, name: str, options: ChannelOptions) -> Channel:
        """Open a channel that stands in the settings, when they are read anew."""
        await self._enrol(name)
        channel = self.channels.find(name)
        if channel is not None and not channel.configured:
            self.channels.delete(name)  # the settings hide it
        channel = self.channels.configure(name, options)
        await self.refresh(name)
        return channel

    async def withdraw(self, name: str) -> None:
        """End a channel that stands in the settings no more; one that it hid comes back."""
        self.channels.withdraw(name)
        await self.refresh(name)

    async def people_changed(self) -> None:
        """Roles or accounts changed: owners may not broadcast any more, or viewers not view."""
        await self.refresh()
        await self.recheck()

    # --- keys and tokens ----------------------------------------------------------------------

    async def add_key(self, name: str, *, label: str = "", by: Actor = SYSTEM) -> NewStreamKey:
        """Make a stream key; it is told once."""
        self._visible(name)
        made = await self.catalogue.stream_keys.create(name, label=label, by=by)
        await self.refresh(name)
        return made

    async def revoke_key(self, name: str, key_id: int, *, by: Actor = SYSTEM) -> None:
        """Revoke a stream key, and end who publishes with it."""
        self._visible(name)
        await self.catalogue.stream_keys.revoke(name, key_id, by=by)
        await self.refresh(name)
        await self.recheck(name)

    async def issue_token(
        self, name: str, subject: str, lifetime: float, *, single: bool, by: Actor = SYSTEM
    ) -> tuple[str, ViewToken]:
        """A view token for so many seconds: text and content."""
        self._visible(name)
        self.gate.counters["tokens_issued"] += 1
        return await self.catalogue.permits.issue(name, subject, lifetime, single=single, by=by)

    async def withdraw_tokens(self, name: str, *, by: Actor = SYSTEM) -> None:
        """Withdraw all view tokens of a channel, and end what they opened."""
        self._visible(name)
        await self.catalogue.permits.revoke_all(name, by=by)
        await self.refresh(name)
        await self.recheck(name)

    def _visible(self, name: str) -> None:
        """``ConflictError`` where the row is another's than the live channel's."""
        channel = self.channels.get(name)
        _kept_here(channel)
        standing = channel.standing
        if standing is None or (channel.configured and not standing.record.configured):
            raise ConflictError(
                f"channel {name!r} of the settings hides one made by the API", subject=name
            )


def _kept_here(channel: Channel) -> None:
    if channel.elsewhere:
        raise ForbiddenError(
            f"channel {channel.name!r} is kept by another node; change it there",
            subject=channel.name,
        )


def _stored(options: ChannelOptions) -> Mapping[str, Any]:
    """What is kept of the options: the title has a column, and keys only their hashes."""
    return replace(options, title="", key="").to_json()


def _of_settings(standing: Standing) -> Standing:
    """How a channel of the settings stands: one that it hides gives it nothing."""
    if standing.record.configured:
        return standing
    record = replace(standing.record, owner=None, private=False, view_access=ViewAccess.EVERYONE)
    return Standing(record, {}, NEVER)
