"""The chat's side of the HTTP port: takes upgrades of ``/chat/NAME`` and serves all connections.

One task sends what happened to the members of all rooms: it makes the bytes once for all that are
at the same place, and pauses in proportion to the time that took, so that a flood in a crowded
room takes a bounded share of the event loop. Another looks for connections that died.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from heliograph.live import chat_wire as wire
from heliograph.live.chat_policy import Policy, Visitor, judge
from heliograph.live.chat_rooms import Chats, OpenRoom
from heliograph.live.states import LiveEvent
from heliograph.model.addresses import stranger_of
from heliograph.model.errors import BusyError, HelioError, NotFoundError
from heliograph.servers.chat_socket import ChatSocket, SilentError, frame
from heliograph.servers.websocket import UpgradeRequest, accept, refusal

log = structlog.get_logger(__name__)

PREFIX: Final = "/chat/"
#: Seconds between two looks at a connection. It is asked for a sign of life at the first look that
#: finds nothing came, and ended at the next: a dead one goes within three times that.
LOOK_S: Final = 20
#: Seconds until it is known who comes and whether that one may: some reads of the database.
OPEN_S: Final = 10.0
#: Connections of which that is not known yet; a restart brings thousands at once, who try again.
MAX_OPENING: Final = 1000
#: Seconds that something said waits for more to be sent with it; nobody reads faster.
TICK_S: Final = 0.04
#: Seconds of pause for one of sending: at most a fifth of the event loop goes to chats.
REST: Final = 4.0
#: Connections written to before others get their turn.
CHUNK: Final = 200
#: Seconds between two looks for rooms that nobody is in any more.
TIDY_S: Final = 5.0
#: Looks after which it is asked anew whether accounts are signed in, and tokens good: two minutes.
ACCOUNT_LOOKS: Final = 6

#: Seconds that connections have to say goodbye when the server stops.
GOODBYE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """Bounds of all connections together."""

    max_connections: int = 15_000
    """In all rooms; one costs some 10 kB here, and the kernel's part."""
    max_per_network: int = 200
    """Of one address (IPv6: /64): a household, a class. Addresses of this machine are a proxy's,
    and not counted."""


class Gate(Protocol):
    """Says who comes; ``web.chat`` knows."""

    async def policy(self, channel: str) -> Policy:
        """What decides about a channel; ``NotFoundError`` without one."""

    async def identify(self, channel: str, request: UpgradeRequest) -> Visitor:
        """Who asks, if that one may watch the channel; ``HelioError`` otherwise."""

    async def again(self, policy: Policy, visitor: Visitor) -> Visitor:
        """Who that is now: the account may be signed out or disabled."""

    async def keep_slow(self, policy: Policy, visitor: Visitor, seconds: float) -> None:
        """Write the channel's slow mode down."""

    async def note(
        self, policy: Policy, visitor: Visitor, action: str, detail: Mapping[str, Any]
    ) -> None:
        """Write a moderator's act into the audit log."""


@dataclass(slots=True, eq=False)
class Hall:
    """A room and the connections in it."""

    opened: OpenRoom
    policy: Policy
    sockets: set[ChatSocket] = field(default_factory=set)


class ChatServer:
    """Everything that is connected to chats."""

    def __init__(
        self,
        chats: Chats,
        gate: Gate,
        options: ChatOptions | None = None,
        *,
        public_host: str = "",
    ) -> None:
        """``public_host``: a host whose pages may chat, beside the one asked for."""
        self.chats = chats
        self.options = options or ChatOptions()
        self._gate = gate
        self._public_host = public_host
        self._halls: dict[str, Hall] = {}
        self._networks: Counter[str] = Counter()
        self._slots: list[set[ChatSocket]] = [set() for _ in range(LOOK_S)]
        self._next_slot = 0
        self._looks = 0
        self._dirty: dict[str, Hall] = {}
        self._stir = asyncio.Event()
        self._opening = 0
        self._loops: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._nobody = asyncio.Event()
        """Set when the last connection goes."""
        chats.on_news = self._on_news
        chats.counters.update(chat_connects=0, chat_refused=0, chat_timeouts=0)

    @property
    def open(self) -> int:
        """Connections now."""
        return self.chats.connections

    def start(self) -> None:
        """Begin to send, and to look for the dead."""
        for work in (self._send_always(), self._look_always(), self._tidy_always()):
            self._loops.append(self._begin(work))

    # connections

    def wants(self, target: str) -> bool:
        """Whether an upgrade to this target is for the chat."""
        return target.startswith(PREFIX)

    def upgrade(self, request: UpgradeRequest, transport: asyncio.Transport) -> None:
        """Answer the handshake and keep the connection, or refuse it."""
        network = stranger_of(request.peer)
        try:
            channel = request.under(PREFIX)
            answer = accept(request, self._public_host, wire.SUBPROTOCOL)
            self._check_places(network)
        except HelioError as error:
            self.chats.counters["chat_refused"] += 1
            transport.write(refusal(error))
            transport.close()
            return
        socket = ChatSocket(self, transport, network)
        transport.set_protocol(socket)
        transport.pause_reading()  # until it is known who that is
        transport.write(answer)
        self.chats.connections += 1
        self.chats.counters["chat_connects"] += 1
        self._networks[network] += 1
        self._opening += 1
        self._next_slot = (self._next_slot + 1) % LOOK_S
        socket.slot = self._next_slot
        self._slots[socket.slot].add(socket)
        self._do(self._admit(socket, channel, request))

    def gone(self, socket: ChatSocket) -> None:
        """A connection ended."""
        self.chats.connections -= 1
        if not self.chats.connections:
            self._nobody.set()
        self._networks[socket.network] -= 1
        if not self._networks[socket.network]:
            del self._networks[socket.network]
        self._slots[socket.slot].discard(socket)
        hall = socket.hall
        if hall is None:
            return
        hall.sockets.discard(socket)
        if socket.member is not None:
            hall.opened.room.leave(socket.member)
        if not hall.sockets:
            hall.opened.empty_since = time.monotonic()
            if self._halls.get(hall.opened.channel) is hall:
                del self._halls[hall.opened.channel]

    def _check_places(self, network: str) -> None:
        full = self.chats.connections >= self.options.max_connections
        if self._closed or full or self._opening >= MAX_OPENING:
            raise BusyError("the chat has no free place", subject="places", retry_after=10)
        if network and self._networks[network] >= self.options.max_per_network:
            raise BusyError("too many connections of one address", subject="places", retry_after=30)

    async def _admit(self, socket: ChatSocket, channel: str, request: UpgradeRequest) -> None:
        try:
            async with asyncio.timeout(OPEN_S):
                visitor = await self._gate.identify(channel, request)
                policy = await self._gate.policy(channel)
                seat = judge(policy, visitor)
                opened = await self.chats.open(channel)
        except TimeoutError:
            socket.end(BusyError("the server is busy", subject="places", retry_after=5))
        except HelioError as error:
            socket.end(error)
        else:
            if socket.open and not self._closed:
                socket.visitor, socket.seat = visitor, seat
                socket.hall = self._enter(opened, policy)
                socket.hall.sockets.add(socket)
        finally:
            self._opening -= 1
        if not socket.transport.is_closing():
            socket.transport.resume_reading()
            if request.received:
                socket.data_received(request.received)

    def _enter(self, opened: OpenRoom, policy: Policy) -> Hall:
        hall = self._halls.get(opened.channel)
        if hall is None or hall.opened is not opened:
            hall = self._halls[opened.channel] = Hall(opened, policy)
            _reserve(hall)
        opened.empty_since = None
        return hall

    # what happens in rooms

    def fan_out(self, hall: Hall) -> None:
        """Send to the members of a hall what they have not been sent."""
        self._dirty[hall.opened.channel] = hall
        self._stir.set()

    def _on_news(self, opened: OpenRoom) -> None:
        hall = self._halls.get(opened.channel)
        if hall is not None:
            self.fan_out(hall)

    async def _send_always(self) -> None:
        while True:
            await self._stir.wait()
            self._stir.clear()
            dirty, self._dirty = list(self._dirty.values()), {}
            spent = 0.0
            for hall in dirty:
                try:
                    spent += await self._send(hall)
                except Exception:  # one room's fault must not silence the others
                    log.exception("chat not sent", channel=hall.opened.channel, limit="chat sent")
            await asyncio.sleep(max(TICK_S, REST * spent))

    async def _send(self, hall: Hall) -> float:
        """Send; the seconds of work that it took."""
        room = hall.opened.room
        sockets = list(hall.sockets)
        spent = 0.0
        for start in range(0, len(sockets), CHUNK):
            began = time.perf_counter()
            # Others may have said more meanwhile: what is made is for this chunk.
            made: dict[int, bytes | None] = {}
            for socket in sockets[start : start + CHUNK]:
                member = socket.member
                if member is None or socket.paused or member.seen == room.last or not socket.open:
                    continue
                if member.seen not in made:
                    entries = room.after(member.seen)
                    made[member.seen] = (
                        None
                        if entries is None
                        else b"".join(frame(wire.entry(entry)) for entry in entries)
                    )
                data = made[member.seen]
                if data is None:
                    self.chats.counters["chat_resyncs"] += 1
                    socket.send(wire.history(room.resume(member, self.chats.now())))
                else:
                    socket.transport.write(data)
                    member.seen = room.last
            spent += time.perf_counter() - began
            await asyncio.sleep(0)
        return spent

    def keep_slow(self, socket: ChatSocket, seconds: float) -> None:
        """Write down that a moderator changed the slow mode."""
        assert socket.hall is not None
        assert socket.visitor is not None
        hall = socket.hall
        self._do(self._gate.keep_slow(hall.policy, socket.visitor, seconds))

    def note(self, socket: ChatSocket, action: str, detail: Mapping[str, Any]) -> None:
        """Write down what a moderator did."""
        assert socket.hall is not None
        assert socket.visitor is not None
        self._do(self._gate.note(socket.hall.policy, socket.visitor, action, detail))

    # changes of rights

    def observe(self, event: LiveEvent) -> None:
        """What happens to channels (``Channels.subscribe``)."""
        if event.kind == "channel-closed":
            self.channel_closed(event.channel)
        elif event.kind == "changed":
            self.channel_changed(event.channel)

    def channel_closed(self, channel: str) -> None:
        """The channel is no more, nor is its chat."""
        self.chats.close_room(channel)
        hall = self._halls.pop(channel, None)
        for socket in list(hall.sockets) if hall is not None else ():
            socket.end(NotFoundError(f"no channel {channel[:80]!r}", subject=channel[:80]))

    def channel_changed(self, channel: str) -> None:
        """The channel's rules or its owner changed: they hold for who is there from now on."""
        hall = self._halls.get(channel)
        if hall is not None:
            self._do(self._follow(hall))

    async def _tidy_always(self) -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            self.chats.forget_empty(time.monotonic())

    async def _follow(self, hall: Hall) -> None:
        channel = hall.opened.channel
        try:
            policy = await self._gate.policy(channel)
        except NotFoundError:
            self.channel_closed(channel)
            return
        if policy == hall.policy:
            return
        before, hall.policy = hall.policy, policy
        _reserve(hall)
        if policy.slow != before.slow and policy.slow != hall.opened.room.slow:
            hall.opened.room.set_slow(None, policy.slow)
        for count, socket in enumerate(list(hall.sockets)):
            self._judge_again(hall, socket)
            if count % CHUNK == 0:
                await asyncio.sleep(0)

    def _judge_again(self, hall: Hall, socket: ChatSocket) -> None:
        if socket.visitor is None or not socket.open:
            return
        try:
            seat = judge(hall.policy, socket.visitor)
        except HelioError as error:
            socket.end(error)
            return
        before, socket.seat = socket.seat, seat
        if before == seat or before is None:
            return
        if before.author != seat.author:  # signed out: it comes back as a guest
            socket.close(1012, "who you are has changed")
            return
        if socket.member is not None:
            socket.member.badge, socket.member.moderator = seat.badge, seat.moderator
            socket.tell_seat()

    # signs of life

    async def _look_always(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._looks += 1
            slot = self._slots[self._looks % LOOK_S]
            changing = []
            for socket in list(slot):
                self._look(socket)
                if socket.visitor is not None and socket.visitor.may_change:
                    changing.append(socket)
            if self._looks // LOOK_S % ACCOUNT_LOOKS == 0 and changing:
                self._do(self._ask_again(changing))

    def _look(self, socket: ChatSocket) -> None:
        if socket.heard:
            socket.heard = False
            return
        counters = self.chats.counters
        if socket.asked:
            counters["chat_timeouts"] += 1
            socket.transport.abort()
        elif socket.member is None and socket.hall is not None:
            counters["chat_timeouts"] += 1
            socket.end(SilentError("no hello came", subject="hello"))
        else:
            socket.asked = True
            socket.ping()

    async def _ask_again(self, sockets: list[ChatSocket]) -> None:
        for socket in sockets:
            hall, visitor = socket.hall, socket.visitor
            if hall is None or visitor is None or not socket.open:
                continue
            try:
                socket.visitor = await self._gate.again(hall.policy, visitor)
            except HelioError as error:
                log.warning("chat account not looked up", error=str(error), limit="account")
                continue
            self._judge_again(hall, socket)

    # the end

    async def close(self) -> None:
        """Send everybody away, who may come back to another server, and write what is left."""
        self._closed = True
        self._nobody.clear()
        everybody = [socket for slot in self._slots for socket in slot]
        for socket in everybody:
            socket.close(1012, "the server restarts")
        for loop in self._loops:
            loop.cancel()
        if self._tasks:  # what moderators did, above all, is to be written down
            _, late = await asyncio.wait(self._tasks, timeout=GOODBYE_S)
            for task in late:
                task.cancel()
        if everybody:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await self._nobody.wait()
        for slot in self._slots:
            for socket in list(slot):
                socket.transport.abort()
        await self.chats.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._begin(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._logged(work))
        task.add_done_callback(lambda _: work.close())  # cancelled before it ran, nobody awaits it
        return task

    async def _logged(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except HelioError as error:
            log.warning("chat", error=str(error), limit="chat")
        except Exception:
            log.exception("chat task failed")


def _reserve(hall: Hall) -> None:
    """Keep the owner's name for the owner."""
    policy = hall.policy
    if policy.view.owner is not None and policy.owner_name:
        hall.opened.room.reserve(f"account:{policy.view.owner.id}", policy.owner_name)
