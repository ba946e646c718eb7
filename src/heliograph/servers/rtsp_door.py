"""One RTSP connection at the gate: what its requests show, and what it was granted."""

from __future__ import annotations

import json
from collections.abc import Awaitable

from heliograph.catalogue.rights import Action, Reason
from heliograph.live.channel import Channel
from heliograph.live.gate import Asker, Decision, Gate
from heliograph.live.grants import Grant, tell, vouched
from heliograph.live.keys import Shown
from heliograph.live.registry import Channels
from heliograph.model.errors import MalformedError, NotFoundError, UnauthorizedError
from heliograph.protocols.rtsp import ServerSession, Target, Verdict
from heliograph.servers.rtsp_places import RtspPlaces
from heliograph.servers.rtsp_titles import RtspTitles

#: A nonce that is too old shows nothing: the client is asked again, and that is no guess.
_SHOWN = {Verdict.GOOD: Shown.GOOD, Verdict.WRONG: Shown.WRONG}


class Door:
    """Asks the gate for the connection's requests.

    What a connection was granted to watch it keeps: a token good for one use is shown with DESCRIBE
    alone, and players leave the query out of the addresses of tracks.
    """

    def __init__(
        self,
        gate: Gate,
        channels: Channels,
        session: ServerSession,
        methods: tuple[str, ...],
        places: RtspPlaces | None = None,
        titles: RtspTitles | None = None,
    ) -> None:
        """``places``: where viewers are served; None: here. ``titles``: sends those who ask for
        titles to servers; None: there are none."""
        self.peer = ""
        """Numeric address of the client."""
        self.digest = True
        """Whether the key that was missing can be shown by Digest, which needs it in clear here."""
        self._gate = gate
        self._channels = channels
        self._session = session
        self._digest_only = "basic" not in methods
        self._granted: tuple[Channel, Grant] | None = None
        self._places = places
        self._titles = titles
        self._placed: Channel | None = None

    def keep(self, channel: Channel, grant: Grant) -> None:
        """Remember what was granted to watch."""
        self._granted = channel, grant

    def resume(self, name: str, said: str) -> tuple[Channel, Grant]:
        """The channel by whose rules a session goes on that another node began, and what that was
        granted for, as ``grants.tell`` says it; ``NotFoundError`` where it would not be now."""
        channel = self._channels.find(name)
        if channel is not None and not said and channel.open_to_all:
            said = json.dumps(tell(Grant(Action.VIEW, Reason.PUBLIC)))  # there nobody was asked
        try:
            grant = vouched(json.loads(said), name)
        except (ValueError, MalformedError):
            grant = None
        if channel is None or grant is None or not self._gate.holds(channel, grant, {}):
            raise NotFoundError("no such session", subject="session")
        self.keep(channel, grant)
        return channel, grant

    def title(self, target: Target) -> str | None:
        """The address of what a request is for, where that is a title; errors as of
        ``RtspTitles.find``."""
        if self._titles is None or self._channels.find(target.path) is not None:
            return None
        return self._titles.find(target.path, target.query, self.peer)

    def instead(self, target: Target) -> str | None:
        """The same of a title that this node holds, where it is to be had from another server."""
        if self._titles is None:
            return None
        return self._titles.instead(target.path, target.host, target.query, self.peer)

    def best(self, target: Target) -> str | None:
        """The same of one that other nodes have as well; errors as of ``RtspTitles.best``."""
        if self._titles is None:
            return None
        return self._titles.best(target.path, target.query, self.peer)

    def view(self, target: Target, name: str = "") -> tuple[Channel, Decision]:
        """The channel, and whether the waiting request may watch it; errors as of ``Gate.view``.

        ``name``: of the channel whose rules decide, where that is not the target's path.
        """
        channel = self._channels.find(name or target.path)
        if channel is not None and self._granted is not None and self._granted[0] is channel:
            return self._granted
        self._gate.bar(name or target.path, self.peer)
        ticket = target.parameter("ticket")
        if channel is not None and self._places is not None and ticket:
            admitted = self._places.admit(channel, ticket, self.peer)
            if admitted is not None:
                self._placed = channel
                return channel, admitted
        keys = () if channel is None else self._gate.keys_to_view(channel)
        options = None if channel is None else channel.options
        self._offer(bool(options and (options.view_key or options.key)))
        asker = self._asker(target, keys)
        if channel is None:
            raise self._gate.stranger(name or target.path, asker)
        return channel, self._gate.view(channel, asker)

    def elsewhere(self, channel: Channel, grant: Grant) -> Awaitable[Grant | str] | None:
        """Ask where a viewer is served, once a connection: the address, or the grant for here.
        None: here."""
        if self._places is None or not self._places.sends or self._placed is channel:
            return None
        return self._place(self._places, channel, grant)

    async def _place(self, places: RtspPlaces, channel: Channel, grant: Grant) -> Grant | str:
        found = await places.find(channel, grant, self.peer)
        self._placed = channel  # but who was refused may ask again
        return found

    def moved(self, channel: Channel, grant: Grant) -> Awaitable[str] | None:
        """Ask where a viewer goes who is sent away from here; empty: wherever. None: nobody can be
        asked."""
        return None if self._places is None else self._places.next_of(channel, grant, self.peer)

    def entrance(self, channel: Channel) -> str:
        """The address at which publishers are to enter in place of this; empty: none is known."""
        return "" if self._places is None else self._places.entrance(channel)

    def publish(self, target: Target) -> tuple[Channel, Decision]:
        """The channel, and whether the waiting request may publish on it.

        Encoders show a user and a password only when they are asked to: who shows nothing is asked
        for a key also where the channel is private, or is not there.
        """
        channel = self._channels.find(target.path)
        hidden = channel is None or (
            channel.standing is not None and channel.standing.record.private
        )
        keys = () if channel is None else self._gate.keys_to_publish(channel)
        self._offer(channel is not None and not hidden and bool(channel.options.key))
        asker = self._asker(target, keys)
        try:
            if channel is None:
                raise self._gate.stranger(target.path, asker)
            return channel, self._gate.publish(channel, asker)
        except NotFoundError:
            if asker.shows_key:
                raise
            raise UnauthorizedError(
                f"a key is needed to publish channel {target.path[:80]!r}",
                subject=target.path[:80],
            ) from None

    def _offer(self, in_clear: bool) -> None:
        self.digest = in_clear or self._digest_only

    def _asker(self, target: Target, keys: tuple[str, ...]) -> Asker:
        verdict = self._session.authenticate(keys)
        token = target.parameter("token")
        return Asker(
            self.peer,
            "rtsp",
            secret=self._session.secret,
            digest=_SHOWN.get(verdict, Shown.NONE),
            tokens=(token,) if token else (),
            query=target.query,
        )
