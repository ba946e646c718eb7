"""WHEP and WHIP over the bus: a portal answers the browser, another unit serves it.

``Unit`` takes offers that portals forward, ``Viewers`` forwards them. The media go straight from
the unit to the browser. Errors cross the bus as they are, so that a page sees what it would have
seen at the unit. Whoever is let in is judged at the portal; the unit is told why, asks now and then
whether there still is a right to each session, and ends it where there is none (``vouching``).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import structlog

from heliograph.bus import Bus, Request
from heliograph.bus.wire import Json
from heliograph.catalogue.rights import Action
from heliograph.live.channel import Channel
from heliograph.live.grants import Grant, tell, vouched
from heliograph.live.offers import Offers
from heliograph.live.placing import (
    ANSWER_TIMEOUT,
    ATTEMPTS,
    Expecting,
    Place,
    Placer,
    elsewhere,
    home_of,
    keep,
    unserved,
    until_laid_out,
)
from heliograph.live.registry import Channels
from heliograph.live.vouching import Vouched
from heliograph.live.webrtc import MAX_BODY, Rtc, RtcSession
from heliograph.model.errors import (
    BusyError,
    HelioError,
    MalformedError,
    NotFoundError,
    RemoteError,
    TooLargeError,
    UnreachableError,
)
from heliograph.model.nodes import check_node_id

log = structlog.get_logger(__name__)

OPEN, PATCH, CLOSE = "whep.open", "whep.patch", "whep.close"
PUBLISH = "whip.open"
LOOK = "whep.look"
"""The bus's method that tells how the channel of a session is."""
ALIVE = "whep.alive"
"""The bus's method that tells which of some sessions live."""

#: Seconds for whatever else a page asks of its session.
TIMEOUT = 1.0
#: Seconds that a unit has to say that a session lives: the page's picture stands meanwhile.
LOOK_TIMEOUT = 0.4
#: Seconds between two looks at which sessions live.
EVERY = 5.0
#: Sessions that are asked after in one request.
MAX_ASKED = 2000
#: Sessions elsewhere that this portal remembers for their addresses' limits; the oldest are
#: forgotten first, and live on.
MAX_SESSIONS = 65_536

_NAME = re.compile(r"([A-Za-z0-9_-]{1,64})~([a-z2-7]{16})", re.ASCII)


class Opened(NamedTuple):
    """A session that was opened, here or elsewhere."""

    name: str
    """In its URL."""
    etag: str
    answer: str


def named(session: str, unit: str) -> str:
    """What a session of a unit is called in its URL at a portal."""
    return f"{session}~{unit}"


def parse_name(name: str) -> tuple[str, str]:
    """Session and unit of such a name, the unit empty where none stands in it.

    ``NotFoundError`` for what cannot be one.
    """
    if "~" not in name:
        return name, ""
    found = _NAME.fullmatch(name)
    if found is None:
        raise NotFoundError("no such session", subject=name[:80])
    return found[1], found[2]


class Unit:
    """Takes viewers whom portals send."""

    def __init__(
        self, bus: Bus, channels: Channels, rtc: Rtc, seats: Expecting | None = None
    ) -> None:
        """``seats``: keeps their places; None: there are as many as the limits allow."""
        self._bus = bus
        self._channels = channels
        self._rtc = rtc
        self._seats = seats
        self.vouched = Vouched(bus)
        self._registrations = [
            bus.serve(OPEN, self._open),
            bus.serve(PUBLISH, self._publish),
            bus.serve(PATCH, self._patch),
            bus.serve(CLOSE, self._close),
            bus.serve(LOOK, self._look),
            bus.serve(ALIVE, self._alive),
        ]

    def close(self) -> None:
        """Take nobody more; sessions go on."""
        for registration in self._registrations:
            registration.close()
        self.vouched.close()

    async def _open(self, request: Request) -> Json:
        said = _Said(request.value)
        channel = self._channel(said)
        grant = vouched(said.value.get("grant"), channel.name)
        await until_laid_out(channel)
        id = keep(self._seats, said.text("reservation", 200), channel.name, said.number("index"))
        session = self._rtc.view(channel, **said.peer(replace(grant, reservation=id)))
        self._keep(session, said, request)
        log.info("viewer taken for a portal", channel=channel.name, portal=request.caller)
        return _answer(session)

    async def _publish(self, request: Request) -> Json:
        said = _Said(request.value)
        channel = self._channel(said)
        grant = vouched(said.value.get("grant"), channel.name, Action.PUBLISH)
        session = self._rtc.publish(channel, **said.peer(grant))
        self._keep(session, said, request)
        log.info("publisher taken for a portal", channel=channel.name, portal=request.caller)
        return _answer(session)

    def _keep(self, session: RtcSession, said: _Said, request: Request) -> None:
        self.vouched.keep(
            session,
            home=said.text("home", 64),
            voucher=request.caller,
            accounts=said.text("accounts", 64),
            grant=said.value.get("grant"),
        )

    def _channel(self, said: _Said) -> Channel:
        name, home = said.text("channel", 64), said.text("home", 64)
        said.text("accounts", 64)  # needed once there is a session, and nobody knows it yet
        channel = self._channels.find(name)
        if channel is None or home_of(self._bus, channel) != home:
            raise NotFoundError("no such channel is offered here", subject=name)
        return channel

    async def _patch(self, request: Request) -> Json:
        said, session = self._session(request)
        session.check_match(said.text("if_match", 200))
        answer = session.patch(said.text("fragment", MAX_BODY))
        return {"etag": session.etag, "answer": answer}

    async def _close(self, request: Request) -> Json:
        _, session = self._session(request)
        session.end()
        return None

    async def _look(self, request: Request) -> Json:
        _, session = self._session(request)
        return session.channel.state.value

    async def _alive(self, request: Request) -> Json:
        asked = request.value
        if not isinstance(asked, list) or len(asked) > MAX_ASKED:
            raise MalformedError("sessions", "not a list, or too long")
        return [name for name in asked if isinstance(name, str) and self._rtc.has(name)]

    def _session(self, request: Request) -> tuple[_Said, RtcSession]:
        said = _Said(request.value)
        return said, self._rtc.find(said.text("session", 64), said.text("channel", 64))


class _Said:
    """A request's members, checked as they are read."""

    def __init__(self, value: Json) -> None:
        if not isinstance(value, Mapping):
            raise MalformedError("whep request", "no object")
        self.value = value

    def text(self, name: str, most: int) -> str:
        found = self.value.get(name, "")
        if not isinstance(found, str):
            raise MalformedError("whep request", f"{name} is no text")
        if len(found) > most:
            raise TooLargeError(f"{name} has more than {most} characters", subject=name)
        return found

    def peer(self, grant: Grant) -> dict[str, Any]:
        """Who comes, with what offer, as ``Rtc`` takes him."""
        return {
            "offer": self.text("offer", MAX_BODY),
            "peer": self.text("peer", 64),
            "agent": self.text("agent", 512),
            "grant": grant,
        }

    def number(self, name: str) -> int:
        found = self.value.get(name, 0)
        if not isinstance(found, int) or not 0 <= found < 1 << 16:
            raise MalformedError("whep request", f"{name} is no index")
        return found


@dataclass(slots=True, eq=False)
class _Session:
    """One that this portal opened elsewhere."""

    name: str
    unit: str
    peer: str


class Viewers:
    """Sessions at other units, as a portal has them."""

    def __init__(self, bus: Bus, offers: Offers, accounts: str = "") -> None:
        """``offers``: what one address may hold, of this node's own sessions too. ``accounts``: id
        of the database that has them, empty where it is this node's own."""
        self.offers = offers
        self._accounts = accounts or bus.node
        self._bus = bus
        self._sessions: dict[str, _Session] = {}
        self._watching: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    async def close(self) -> None:
        """Look after them no more; they go on."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def open(
        self, place: Place, channel: Channel, offer: str, *, peer: str, grant: Grant, agent: str
    ) -> Opened:
        """Forward an offer; errors of ``Rtc.view`` and of ``Bus.call``."""
        said = {"offer": offer, "reservation": place.id, "index": place.index}
        return await self._open(OPEN, place.unit, channel, said, peer, grant, agent)

    async def publish(
        self, unit: str, channel: Channel, offer: str, *, peer: str, grant: Grant, agent: str
    ) -> Opened:
        """Forward a publisher's offer; errors of ``Rtc.publish`` and of ``Bus.call``."""
        return await self._open(PUBLISH, unit, channel, {"offer": offer}, peer, grant, agent)

    async def _open(
        self,
        method: str,
        unit: str,
        channel: Channel,
        more: Mapping[str, Json],
        peer: str,
        grant: Grant,
        agent: str,
    ) -> Opened:
        self.offers.check(peer)
        said = {
            "channel": channel.name,
            "home": home_of(self._bus, channel),
            "peer": peer,
            "agent": agent[:512],
            "grant": tell(grant),
            "accounts": self._accounts,
            **more,
        }
        answer = await self._bus.call(check_node_id(unit), method, said, ANSWER_TIMEOUT)
        session, etag, text = _members(answer, "session", "etag", "answer")
        opened = Opened(named(session, unit), etag, text)
        if _NAME.fullmatch(opened.name) is None:
            raise RemoteError("the unit's session has no name", subject=unit)
        self._note(_Session(session, unit, peer))
        return opened

    async def patch(
        self, unit: str, session: str, channel: str, fragment: str, match: str
    ) -> tuple[str | None, str]:
        """Candidates, or a restart: the fragment that answers it, and the session's ETag."""
        said = {"fragment": fragment, "if_match": match}
        answer = await self._ask(unit, PATCH, session, channel, TIMEOUT, said)
        found = answer.get("answer") if isinstance(answer, Mapping) else ""
        etag, _ = _members(answer, "etag", "etag")
        return (found if isinstance(found, str) else None), etag

    async def end(self, unit: str, session: str, channel: str) -> None:
        """End one."""
        await self._ask(unit, CLOSE, session, channel, TIMEOUT)
        self._forget(session)

    async def look(self, unit: str, session: str, channel: str) -> str:
        """How the channel of a session is at its unit: ``on_air``, ``waiting``, ``idle``.

        ``NotFoundError`` where the session or its unit is gone; ``RemoteError`` where the unit says
        nothing.
        """
        return str(await self._ask(unit, LOOK, session, channel, LOOK_TIMEOUT))

    async def _ask(
        self,
        unit: str,
        method: str,
        session: str,
        channel: str,
        timeout: float,
        more: Mapping[str, str] | None = None,
    ) -> Json:
        said = {"session": session, "channel": channel, **(more or {})}
        try:
            return await self._bus.call(check_node_id(unit), method, said, timeout)
        except UnreachableError:
            self._forget(session)
            raise NotFoundError("no such session: its unit is gone", subject=channel) from None
        except NotFoundError:
            self._forget(session)
            raise

    # what is remembered of them

    def _note(self, session: _Session) -> None:
        self._sessions[session.name] = session
        self.offers.opened(session.peer)
        if len(self._sessions) > MAX_SESSIONS:
            self._forget(next(iter(self._sessions)))
        if self._watching is None or self._watching.done():
            self._watching = asyncio.get_running_loop().create_task(
                self._watch(), name="sessions at other units"
            )

    def _forget(self, name: str) -> None:
        session = self._sessions.pop(name, None)
        if session is not None:
            self.offers.closed(session.peer)

    async def _watch(self) -> None:
        while self._sessions:
            await asyncio.sleep(EVERY)
            try:
                await self.look_after()
            except Exception:
                log.exception("sessions at other units not looked after")

    async def look_after(self) -> None:
        """Forget those that have ended."""
        units: dict[str, list[str]] = {}
        for session in self._sessions.values():
            units.setdefault(session.unit, []).append(session.name)
        for unit, names in units.items():
            for first in range(0, len(names), MAX_ASKED):
                some = names[first : first + MAX_ASKED]
                try:
                    alive = await self._bus.call(unit, ALIVE, some, TIMEOUT)
                except UnreachableError:
                    alive = []
                except HelioError:
                    continue  # nobody knows; it is asked again
                for name in set(some).difference(alive if isinstance(alive, list) else some):
                    self._forget(name)


class Portal:
    """Sends viewers by WebRTC to where they are served best, and publishers to where they enter."""

    def __init__(
        self,
        bus: Bus,
        viewers: Viewers,
        placer: Placer | None = None,
        seats: Expecting | None = None,
    ) -> None:
        """``placer``: without one everybody is served here. ``seats``: keeps places here; None: the
        node is no unit, and has none."""
        self.node = bus.node
        self.viewers = viewers
        self._placer = placer
        self._seats = seats

    async def view(
        self,
        rtc: Rtc | None,
        channel: Channel,
        offer: str,
        *,
        peer: str,
        grant: Grant,
        agent: str = "",
        origin: str = "",
    ) -> Opened:
        """Open a session wherever there is a place; ``rtc``: of this node, None where it has none.

        ``origin``: the unit that the viewer had before. Errors of ``Rtc.view``; ``BusyError`` at a
        node without places where no unit has any, or none of those that have one takes him.
        """
        trouble: HelioError | None = None
        avoid: list[str] = []
        for _ in range(ATTEMPTS):
            try:
                place = await self._place(channel, peer, origin, avoid)
            except HelioError as error:
                if isinstance(error, BusyError) and self._seats is None and not avoid:
                    raise  # this node has no places of its own that could be free
                # What is wrong without the units left out is not what is wrong with the cluster.
                trouble = trouble or error
                break
            if place is None or place.unit in avoid:
                break
            try:
                if place.unit == self.node:
                    await until_laid_out(channel)
                    id = keep(self._seats, place.id, channel.name, place.index)
                    own = replace(grant, reservation=id)
                    return self._here(rtc, channel, offer, peer=peer, grant=own, agent=agent)
                return await self.viewers.open(
                    place, channel, offer, peer=peer, grant=grant, agent=agent
                )
            except HelioError as error:
                if not elsewhere(error):
                    raise
                trouble = error
                avoid.append(place.unit)
                log.info("unit took no viewer", channel=channel.name, unit=place.unit,
                         error=str(error))  # fmt: skip
        if avoid and self._seats is None and trouble is not None:
            raise unserved(trouble, channel)  # nobody counts whom such a node serves
        try:
            return self._here(rtc, channel, offer, peer=peer, grant=grant, agent=agent)
        except (BusyError, NotFoundError):
            if trouble is not None and (avoid or isinstance(trouble, BusyError)):
                raise unserved(trouble, channel) from None
            raise

    async def publish(
        self, rtc: Rtc, channel: Channel, offer: str, *, peer: str, grant: Grant, agent: str = ""
    ) -> Opened:
        """Open a publisher's session here, or where the channel is to enter in place of this node;
        errors of ``Rtc.publish``."""
        if channel.entrance:
            try:
                return await self.viewers.publish(
                    channel.entrance, channel, offer, peer=peer, grant=grant, agent=agent
                )
            except HelioError as error:
                if not elsewhere(error):
                    raise
                log.info("unit took no publisher", channel=channel.name, error=error.message)
        session = rtc.publish(channel, offer, peer=peer, grant=grant, agent=agent)
        return Opened(named(session.name, self.node), session.etag, session.answer)

    async def _place(
        self, channel: Channel, peer: str, origin: str, avoid: Collection[str]
    ) -> Place | None:
        if self._placer is None:
            return None
        return await self._placer.place(channel.name, peer=peer, origin=origin, avoid=avoid)

    def _here(self, rtc: Rtc | None, channel: Channel, offer: str, **viewer: Any) -> Opened:  # noqa: ANN401
        if rtc is None:
            raise BusyError("this server has WebRTC switched off", subject="webrtc")
        session = rtc.view(channel, offer, **viewer)
        return Opened(named(session.name, self.node), session.etag, session.answer)


def _answer(session: RtcSession) -> Json:
    return {"session": session.name, "etag": session.etag, "answer": session.answer}


def _members(answer: Json, *names: str) -> tuple[str, ...]:
    found = answer if isinstance(answer, Mapping) else {}
    values = [found.get(name) for name in names]
    if not all(isinstance(value, str) for value in values):
        raise RemoteError("the unit's answer was not understood")
    return tuple(str(value) for value in values)
