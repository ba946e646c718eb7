"""Carries a plane's events into an asyncio loop and to whoever asked for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import structlog

from heliograph.plane.api import Plane
from heliograph.plane.types import (
    ChannelSilent,
    ConnectionClosed,
    ControlReceived,
    EventsLost,
    MeshBack,
    MeshCast,
    MeshClosed,
    MeshMessage,
    MeshSilent,
    MeshUp,
    PlaneEvent,
    ReaderClosed,
    RtcClosed,
    RtcState,
    SenderClosed,
    SenderEnded,
    SenderLow,
    SourceActive,
    SourceSilent,
    TapReady,
    parse_event,
)

log = structlog.get_logger(__name__)

#: Events taken at one wake-up. Enough for a burst of tap notices, and at some 2 µs each still a
#: few milliseconds only before the loop's other work gets its turn.
BATCH = 1024

#: What ``PlaneLoop`` may call with an event.
Handler = Callable[[PlaneEvent], None]
ConnEvent = ControlReceived | ConnectionClosed
ReaderEvent = ReaderClosed | TapReady
RtcEvent = RtcState | RtcClosed
MeshEvent = MeshUp | MeshMessage | MeshSilent | MeshBack | MeshCast | MeshClosed
SenderEvent = SenderLow | SenderEnded | SenderClosed
ChannelEvent = SourceActive | SourceSilent | ChannelSilent

_E = TypeVar("_E")


class PlaneLoop:
    """Drains ``plane`` whenever its descriptor is readable and calls handlers by id.

    One handler for one id. A handler that raises is logged and counted in ``handler_errors``; the
    others go on. Handlers run on the loop and must not block.
    """

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.handler_errors = 0
        self.unhandled = 0
        """Events for ids that nobody watches (late ones for what was just removed)."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fd = -1
        self._channels: dict[int, Callable[[ChannelEvent], None]] = {}
        self._sources: dict[int, Callable[[SourceActive | SourceSilent], None]] = {}
        self._conns: dict[int, Callable[[ConnEvent], None]] = {}
        self._readers: dict[int, Callable[[ReaderEvent], None]] = {}
        self._rtc: dict[int, Callable[[RtcEvent], None]] = {}
        self._mesh: dict[int, Callable[[MeshEvent], None]] = {}
        self._senders: dict[int, Callable[[SenderEvent], None]] = {}
        self._lost: list[Callable[[EventsLost], None]] = []

    def start(self) -> None:
        """Watch the plane from the running loop."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._fd = self.plane.fileno()
            self._loop.add_reader(self._fd, self.pump)

    def stop(self) -> None:
        """Watch no more; the plane stays open."""
        if self._loop is not None:
            self._loop.remove_reader(self._fd)
            self._loop = None

    def on_channel(self, channel: int, handler: Callable[[ChannelEvent], None]) -> None:
        """Call ``handler`` for what happens to the channel and to its sources."""
        self._channels[channel] = handler

    def on_source(
        self, source: int, handler: Callable[[SourceActive | SourceSilent], None]
    ) -> None:
        """Call ``handler`` when the source is relayed or falls silent (before the channel's)."""
        self._sources[source] = handler

    def on_conn(self, conn: int, handler: Callable[[ConnEvent], None]) -> None:
        """Call ``handler`` for messages and the end of an adopted connection."""
        self._conns[conn] = handler

    def on_reader(self, reader: int, handler: Callable[[ReaderEvent], None]) -> None:
        """Call ``handler`` when the reader is closed by the plane or, a tap, has something."""
        self._readers[reader] = handler

    def on_rtc(self, session: int, handler: Callable[[RtcEvent], None]) -> None:
        """Call ``handler`` for the states and the end of a WebRTC session."""
        self._rtc[session] = handler

    def on_mesh(self, link: int, handler: Callable[[MeshEvent], None]) -> None:
        """Call ``handler`` for the states, the messages and the end of a mesh link."""
        self._mesh[link] = handler

    def on_sender(self, sender: int, handler: Callable[[SenderEvent], None]) -> None:
        """Call ``handler`` when a paced sender wants to be fed, has ended or is gone."""
        self._senders[sender] = handler

    def on_lost(self, handler: Callable[[EventsLost], None]) -> None:
        """Call ``handler`` when events were lost and state is to be asked for anew."""
        self._lost.append(handler)

    def forget_channel(self, channel: int) -> None:
        self._channels.pop(channel, None)

    def forget_source(self, source: int) -> None:
        self._sources.pop(source, None)

    def forget_conn(self, conn: int) -> None:
        self._conns.pop(conn, None)

    def forget_reader(self, reader: int) -> None:
        self._readers.pop(reader, None)

    def forget_rtc(self, session: int) -> None:
        self._rtc.pop(session, None)

    def forget_mesh(self, link: int) -> None:
        self._mesh.pop(link, None)

    def forget_sender(self, sender: int) -> None:
        self._senders.pop(sender, None)

    def pump(self) -> int:
        """Take one batch and dispatch it; the number taken.

        What is left keeps the descriptor readable, so that the loop comes back for it.
        """
        taken = self.plane.drain(BATCH)
        for raw in taken:
            try:
                event = parse_event(raw)
            except ValueError as error:
                self.handler_errors += 1
                log.error("plane event not understood", error=str(error))
                continue
            self._dispatch(event)
        return len(taken)

    def _dispatch(self, event: PlaneEvent) -> None:
        match event:
            case ControlReceived(conn=conn):
                self._call(self._conns.get(conn), event)
            case ConnectionClosed(conn=conn):
                self._call(self._conns.pop(conn, None), event)
            case TapReady(reader=reader):
                self._call(self._readers.get(reader), event)
            case ReaderClosed(reader=reader):
                self._call(self._readers.pop(reader, None), event)
            case (
                SourceActive(channel=channel, source=source)
                | SourceSilent(channel=channel, source=source)
            ):
                if source in self._sources:
                    self._call(self._sources[source], event)
                self._call(self._channels.get(channel), event)
            case ChannelSilent(channel=channel):
                self._call(self._channels.get(channel), event)
            case RtcState(session=session):
                self._call(self._rtc.get(session), event)
            case RtcClosed(session=session):
                self._call(self._rtc.pop(session, None), event)
            case SenderLow() | SenderEnded() | SenderClosed():
                self._dispatch_sender(event)
            case EventsLost():
                self._dispatch_lost(event)
            case _:
                self._dispatch_mesh(event)

    def _dispatch_mesh(self, event: MeshEvent) -> None:
        handler = self._mesh.get(event.link)
        if isinstance(event, MeshClosed):
            self._mesh.pop(event.link, None)
        self._call(handler, event)

    def _dispatch_sender(self, event: SenderEvent) -> None:
        handler = self._senders.get(event.sender)
        if isinstance(event, SenderClosed):
            self._senders.pop(event.sender, None)
        self._call(handler, event)

    def _dispatch_lost(self, event: EventsLost) -> None:
        log.warning("plane events lost", count=event.count)
        for handler in list(self._lost):
            self._call(handler, event)

    def _call(self, handler: Callable[[_E], None] | None, event: _E) -> None:
        if handler is None:
            self.unhandled += 1
            return
        try:
            handler(event)
        except Exception:  # one handler's bug must not stop the relay of everybody's events
            self.handler_errors += 1
            log.exception("plane event handler failed", event_type=type(event).__name__)
