"""One connection of the chat: WebSocket frames in and out, requests and their answers.

Frames are cut and checked by ``websockets``' protocol object, which does no input or output. What
all members are sent is made once for them all (``chat_server``), and goes straight to the
transport.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
from typing import TYPE_CHECKING

import structlog
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from heliograph.live import chat_wire as wire
from heliograph.live.chat_entries import Member
from heliograph.live.chat_policy import Seat, Visitor
from heliograph.live.chat_rates import Bucket
from heliograph.model.errors import (
    BusyError,
    ForbiddenError,
    HelioError,
    MalformedError,
    PeerError,
)

if TYPE_CHECKING:
    from heliograph.servers.chat_server import ChatServer, Hall

log = structlog.get_logger(__name__)

#: Bytes that may wait for a client; above it nothing is read from it or sent to it. An entry has
#: some 300, a whole history 60 kB.
MAX_WAITING = 64 << 10
#: Frames that a client may send at once, and seconds until one more: a person who types, twice.
BURST = 40
REFILL_S = 0.2
#: Bytes looked at before the next look at the budget: what a flood costs us beyond it.
SLICE = 1024
#: Seconds that a client has to answer our close, and bytes that it may send until it does.
CLOSE_S = 2.0
CLOSE_BYTES = 64 << 10

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)
_GUEST_HEX = 24

#: ``websockets`` tells of each connection; we count.
_quiet = logging.getLogger("heliograph.chat.frames")
_quiet.setLevel(logging.ERROR)


class SilentError(PeerError):
    """The client did not say what it had to in time."""

    status = 408


class FloodError(PeerError):
    """The client sends more than anybody may."""

    status = 429


def frame(text: bytes) -> bytes:
    """A message of the server: the same bytes for every client."""
    return Frame(Opcode.TEXT, text).serialize(mask=False)


class ChatSocket(asyncio.Protocol):
    """A connection from its upgrade to its end."""

    __slots__ = (
        "_budget",
        "_late",
        "_parts",
        "_protocol",
        "asked",
        "hall",
        "heard",
        "member",
        "network",
        "paused",
        "seat",
        "server",
        "slot",
        "transport",
        "visitor",
    )

    def __init__(self, server: ChatServer, transport: asyncio.Transport, network: str) -> None:
        self.server = server
        self.transport = transport
        self.network = network
        """What connections are counted by: the address, or an IPv6 network."""
        self.slot = 0
        self.heard = True
        """Whether anything came since the last look."""
        self.asked = False
        """Whether it was asked for a sign of life."""
        self.paused = False
        """Whether too much waits for it."""
        self.hall: Hall | None = None
        self.visitor: Visitor | None = None
        self.seat: Seat | None = None
        self.member: Member | None = None
        """None until it said hello."""
        self._protocol = Protocol(
            Side.SERVER, state=State.OPEN, max_size=wire.MAX_MESSAGE, logger=_quiet
        )
        self._budget = Bucket(BURST, 0.0)
        self._parts: bytes | None = None
        """What came of a message in several frames."""
        self._late = 0
        """Bytes that came after our close."""
        transport.set_write_buffer_limits(high=MAX_WAITING)

    # what asyncio says

    def data_received(self, data: bytes) -> None:
        self.heard, self.asked = True, False
        for start in range(0, len(data), SLICE):
            if self._protocol.state is not State.OPEN:
                self._late += SLICE
                if self._protocol.eof_sent or self._late > CLOSE_BYTES:
                    self.transport.abort()
                    return
            self._protocol.receive_data(data[start : start + SLICE])
            for event in self._protocol.events_received():
                assert isinstance(event, Frame)
                self._frame(event)
            self._flush()

    def eof_received(self) -> bool:
        self._protocol.receive_eof()
        self._flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.gone(self)

    def pause_writing(self) -> None:
        self.paused = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.paused = False
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        if self.hall is not None and self.member is not None:
            self.server.fan_out(self.hall)

    # what the server says

    @property
    def open(self) -> bool:
        """Whether messages may be sent."""
        return self._protocol.state is State.OPEN and not self.transport.is_closing()

    def send(self, text: bytes) -> None:
        """Send a message; nothing happens once the end is near."""
        if self.open:
            self.transport.write(frame(text))

    def ping(self) -> None:
        """Ask for a sign of life; every client answers by itself (RFC 6455 section 5.5.2)."""
        if self.open:
            self._protocol.send_ping(b"")
            self._flush()

    def end(self, error: HelioError) -> None:
        """Say why, and close: the code is 4000 and the status."""
        self.send(wire.end(error))
        self.close(4000 + error.status, error.message)

    def close(self, code: int, reason: str) -> None:
        """Close with a code (RFC 6455 section 7.4); cut off if the client does not answer."""
        if not self.open:
            return
        self._protocol.send_close(code, reason.encode()[:120].decode("utf-8", "ignore"))
        self._flush()
        asyncio.get_running_loop().call_later(CLOSE_S, self.transport.abort)

    # frames

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()

    def _frame(self, frame: Frame) -> None:
        if self._protocol.state is not State.OPEN:
            return
        now = self.server.chats.now()
        if self._budget.wait(now, BURST, REFILL_S) > 0:
            self.server.chats.counters["chat_floods"] += 1
            self.end(FloodError("too many messages", subject="flood"))
            return
        self._budget.take()
        if frame.opcode is Opcode.BINARY:
            self.end(MalformedError("chat", "messages are texts"))
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
            whole = (self._parts or b"") + bytes(frame.data)
            self._parts = None if frame.fin else whole
            if frame.fin:
                self._message(whole)

    def _message(self, data: bytes) -> None:
        try:
            request = wire.parse(data)
        except MalformedError as error:
            self.end(error)
            return
        match request:
            case None:
                return
            case wire.Ping():
                self.send(wire.pong())
            case wire.Hello():
                self._hello(request)
            case _ if self.member is None:
                self.end(MalformedError("chat", "hello comes first"))
            case _:
                self._asked(request)

    # requests

    def _hello(self, hello: wire.Hello) -> None:
        if self.hall is None or self.seat is None or self.member is not None:
            self.end(MalformedError("chat", "hello comes once"))
            return
        seat, token, author = self.seat, "", self.seat.author
        if not author:
            token = hello.guest if _TOKEN.fullmatch(hello.guest) else secrets.token_urlsafe(16)
            author = "guest:" + hashlib.sha256(token.encode()).hexdigest()[:_GUEST_HEX]
        names = seat.names or ((hello.name,) if seat.write == "yes" else ("",))
        try:
            trouble = self._join(author, names, hello.cursor, token)
        except HelioError as error:
            self.end(error)
            return
        if trouble is not None:
            self.send(wire.refused("hello", trouble))

    def _join(
        self, author: str, names: tuple[str, ...], cursor: str, token: str
    ) -> HelioError | None:
        """Enter with the first name that can be had, else without; what was wrong with it."""
        assert self.hall is not None
        assert self.seat is not None
        assert self.visitor is not None
        room, now = self.hall.opened.room, self.server.chats.now()
        trouble: HelioError | None = None
        for name in dict.fromkeys((*names, "")):
            try:
                self.member, backlog = room.join(
                    author,
                    name,
                    now,
                    cursor=cursor,
                    badge=self.seat.badge,
                    moderator=self.seat.moderator,
                    net=self.visitor.net,
                )
            except BusyError:
                raise
            except PeerError as error:
                trouble = error
                continue
            break
        assert self.member is not None
        self.send(wire.welcome(token, room.limits))
        self.tell_seat()
        self.send(wire.history(backlog))
        return trouble if not self.member.name else None

    def tell_seat(self) -> None:
        """Say who the client is here."""
        if self.member is not None and self.seat is not None:
            write = self.seat.write
            if write == "yes" and not self.member.name:
                write = "name"
            self.send(wire.you(self.member, write))

    def _asked(self, request: wire.Request) -> None:
        nonce = getattr(request, "nonce", "")
        try:
            self._do(request)
        except HelioError as error:
            if isinstance(request, wire.Say):
                self.server.chats.counters["chat_messages_refused"] += 1
            self.send(wire.refused(nonce, error))

    def _do(self, request: wire.Request) -> None:
        assert self.hall is not None
        assert self.member is not None
        assert self.seat is not None
        room, now, member = self.hall.opened.room, self.server.chats.now(), self.member
        match request:
            case wire.Say(nonce, text):
                self._check_write()
                said = room.say(member, text, nonce, now)
                self.server.chats.counters["chat_messages"] += not said.repeated
                self._confirm(nonce, said.message.id)
            case wire.Name(nonce, name):
                self._check_write()
                if self.seat.names:
                    raise ForbiddenError("the name is your account's", subject="account")
                room.rename(member, name, now)
                self.tell_seat()
                self._confirm(nonce, None)
            case wire.Delete(nonce, message):
                deleted = room.delete(member, message)
                self._moderated(nonce, deleted.id, "chat.delete", message=message)
            case wire.Mute(nonce, author, seconds):
                muted = room.mute(member, author, now, seconds=seconds)
                self._moderated(nonce, muted.id, "chat.mute", author=author, seconds=seconds)
            case wire.Unmute(nonce, author):
                unmuted = room.unmute(member, author)
                id = None if unmuted is None else unmuted.id
                self._moderated(nonce, id, "chat.unmute", author=author)
            case wire.Clear(nonce):
                self._moderated(nonce, room.clear(member).id, "chat.clear")
            case wire.SetSlow(nonce, seconds):
                slow = room.set_slow(member, seconds)
                self.server.keep_slow(self, seconds)
                self._confirm(nonce, slow.id)

    def _check_write(self) -> None:
        assert self.seat is not None
        if self.seat.write == "sign_in":
            raise ForbiddenError("sign in to write here", subject="sign_in")
        if self.seat.write != "yes":
            raise ForbiddenError("you may not write here", subject="forbidden")

    def _moderated(
        self, nonce: str, id: int | None, action: str, **detail: str | float | None
    ) -> None:
        assert self.member is not None
        if self.member.moderator:
            self.server.note(self, action, detail)
        self._confirm(nonce, id)

    def _confirm(self, nonce: str, id: int | None) -> None:
        """Say that it is done, once it is safe."""
        assert self.hall is not None
        safe = self.hall.opened.safe()
        if safe is None:
            self.send(wire.done(nonce, id))
        else:
            safe.add_done_callback(lambda _: self.send(wire.done(nonce, id)))
