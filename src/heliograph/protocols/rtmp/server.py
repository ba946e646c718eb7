"""The server's side of one RTMP connection that publishes, without input or output.

Feed what was received, take events, answer ``PublishRequested`` by ``accept`` or ``refuse``, send
what ``data_to_send`` gives. A connection publishes one stream; playing is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

from heliograph.model.errors import (
    BusyError,
    HelioError,
    MalformedError,
    PeerError,
    TooLargeError,
    UnauthorizedError,
    WrongStateError,
)
from heliograph.model.media import Kind
from heliograph.protocols.rtmp import amf, chunks, commands
from heliograph.protocols.rtmp.chunks import ChunkReader, ChunkWriter, Message
from heliograph.protocols.rtmp.commands import Command
from heliograph.protocols.rtmp.events import (
    Connected,
    ConnectionFailed,
    Ended,
    Metadata,
    PublishRequested,
    ServerEvent,
)
from heliograph.protocols.rtmp.handshake import ServerHandshake
from heliograph.protocols.rtmp.media import MediaReader

#: Seconds from the connection to an accepted publication; a client needs a second.
SETUP_TIMEOUT = 15.0
#: Seconds a publisher may be silent before it is asked for a sign of life, and before it is ended.
PING_AFTER = 10.0
IDLE_TIMEOUT = 30.0
#: Seconds to wait for the second track before going on with one.
GATHER_TIMEOUT = 2.0
#: Bytes that may wait while ``PublishRequested`` is not answered: clients send none until then.
MAX_WAITING = 1 << 20
#: Bytes of answers that may wait to be sent; a whole set-up is answered in 4 000.
MAX_OUT = 256 << 10
#: Message streams of a connection; clients make one, some two.
MAX_STREAMS = 16
#: What we announce: how often we want to be, and will be, acknowledged. 2.5 MB as Adobe's server.
WINDOW = 2_500_000
#: Bytes of a chunk we send; commands then go in one piece.
CHUNK_SIZE = 4096
#: User control events (§7.1.7).
_STREAM_BEGIN, _PING_REQUEST, _PING_RESPONSE = 0, 6, 7
#: Chunk streams as everybody uses them: 2 control, 3 commands, 5 status of a stream.
_CONTROL, _COMMANDS, _STATUS = 2, 3, 5


class State(Enum):
    """How far a connection is."""

    HANDSHAKE = "handshake"
    CONNECTING = "connecting"
    """Waits for connect."""
    CONNECTED = "connected"
    """Waits for publish."""
    ASKED = "asked"
    """The adapter is to answer ``PublishRequested``."""
    PUBLISHING = "publishing"
    ENDED = "ended"


class ServerSession:
    """The state machine of one connection."""

    def __init__(self, *, random: Callable[[int], bytes], now: float = 0.0) -> None:
        """``random``: so many random bytes, for the handshake. ``now``: seconds, any origin."""
        self.state = State.HANDSHAKE
        """How far the connection is."""
        self.closing = False
        """Whether the connection is to be closed once ``data_to_send`` has been sent."""
        self.received = 0
        """Bytes received."""
        self.ignored = 0
        """Messages of types, or at moments, that mean nothing here."""
        self.media = MediaReader()
        """Reads audio and video; its counters are worth reporting."""
        self._handshake = ServerHandshake(random)
        self._reader = ChunkReader()
        self._writer = ChunkWriter()
        self._events: deque[ServerEvent] = deque()
        self._out = bytearray()
        self._waiting = bytearray()
        self._started = self._last_seen = self._now = now
        self._pinged = False
        self._media_since: float | None = None  # until the tracks are told
        self._window = 0
        self._acknowledged = 0
        self._app = ""
        self._query: dict[str, str] = {}
        self._streams: set[int] = set()
        self._published = 0  # id of the message stream

    # --- bytes, events, time ------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes from the connection; ``now`` in seconds never goes back."""
        self._now = self._last_seen = now
        self._pinged = False
        self.received += len(data)
        if self.closing:
            return
        try:
            if self.state is State.HANDSHAKE:
                answer, data = self._handshake.receive(data)
                self._out += answer
                if not self._handshake.done:
                    return
                self.state = State.CONNECTING
            if self.state is State.ASKED:
                self._wait(data)
                return
            self._read(data)
        except PeerError as error:
            self._fail(error)

    def next_event(self) -> ServerEvent | None:
        """The next event, in order."""
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        """Everything to be written to the connection now."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def connection_lost(self, reason: str = "connection lost") -> None:
        """The connection is gone: ``Ended`` comes if something was published."""
        self._end(reason)
        self.closing = True

    def timer(self) -> float | None:
        """When ``handle_timer`` is due; ask again after every call."""
        if self.closing or self.state is State.ASKED:
            return None  # while the adapter thinks the silence is ours
        if self.state is not State.PUBLISHING:
            return self._started + SETUP_TIMEOUT
        due = self._last_seen + (IDLE_TIMEOUT if self._pinged else PING_AFTER)
        return due if self._media_since is None else min(due, self._media_since + GATHER_TIMEOUT)

    def handle_timer(self, now: float) -> None:
        """Ask a silent publisher, end what stays silent, stop waiting for a second track."""
        self._now = now
        due = self.timer()
        if due is None or now < due:
            return
        if self.state is not State.PUBLISHING:
            self._fail(BusyError("nothing was published in time", subject="rtmp"))
            return
        if self._media_since is not None and now >= self._media_since + GATHER_TIMEOUT:
            self._media_since = None
            self._events += self.media.gathered()
        if now >= self._last_seen + IDLE_TIMEOUT:
            self._fail(BusyError(f"silent for {IDLE_TIMEOUT:.0f} s", subject="rtmp"))
        elif now >= self._last_seen + PING_AFTER and not self._pinged:
            self._pinged = True
            stamp = int(now * 1000) & 0xFFFFFFFF
            self._user_control(_PING_REQUEST, stamp)

    def _fail(self, error: HelioError) -> None:
        self._end(error.message)
        self._events.append(ConnectionFailed(error))
        self.closing = True

    def _end(self, reason: str) -> None:
        if self.state is State.PUBLISHING:
            self._events += self.media.gathered()
            self._events.append(Ended(reason))
        self.state = State.ENDED

    def _wait(self, data: bytes) -> None:
        if len(self._waiting) + len(data) > MAX_WAITING:
            raise TooLargeError("rtmp: media before the publication was accepted", subject="rtmp")
        self._waiting += data

    # --- the adapter's answers ----------------------------------------------------------------

    def accept(self) -> None:
        """Let the publication begin."""
        self._check_asked()
        self.state = State.PUBLISHING
        self._user_control(_STREAM_BEGIN, self._published)
        self._status("status", "NetStream.Publish.Start", "Publishing.")
        data = bytes(self._waiting)
        self._waiting.clear()
        try:
            self._read(data)
        except PeerError as error:
            self._fail(error)

    def refuse(self, error: HelioError) -> None:
        """Refuse the publication, saying why; the connection is to be closed then."""
        self._check_asked()
        self._status("error", commands.refusal_code(error), error.message)
        self.state = State.ENDED
        self._waiting.clear()
        self.closing = True

    def close(self, reason: str) -> None:
        """End a publication from our side, saying why; no ``Ended`` comes."""
        if self.state is State.PUBLISHING:
            self._status("error", "NetStream.Publish.Rejected", reason)
        self.state = State.ENDED
        self.closing = True

    def _check_asked(self) -> None:
        if self.state is not State.ASKED:
            raise WrongStateError("no publication waits for an answer", subject="rtmp")

    # --- messages -----------------------------------------------------------------------------

    def _read(self, data: bytes) -> None:
        self._reader.feed(data)
        while not self.closing:
            if self.state is State.ASKED:
                return
            message = self._reader.next_message()
            if message is None:
                break
            self._take(message)
            if len(self._out) > MAX_OUT:
                raise TooLargeError("rtmp: answers are not taken", subject="rtmp")
        self._acknowledge()

    def _take(self, message: Message) -> None:
        match message.type:
            case chunks.AUDIO | chunks.VIDEO | chunks.AGGREGATE:
                self._take_media(message)
            case chunks.COMMAND | chunks.COMMAND_AMF3:
                self._command(commands.parse_command(message), message.stream)
            case chunks.DATA | chunks.DATA_AMF3:
                self._data(message)
            case chunks.WINDOW_SIZE:
                self._window = int.from_bytes(message.body[:4], "big")
            case chunks.USER_CONTROL:
                if message.body[:2] == _PING_REQUEST.to_bytes(2, "big"):
                    stamp = int.from_bytes(message.body[2:6], "big")
                    self._user_control(_PING_RESPONSE, stamp)
            case chunks.PEER_BANDWIDTH:
                # §5.4.5: answered with the window if it is not the one we told
                if message.body[:4] != WINDOW.to_bytes(4, "big"):
                    self._control(chunks.WINDOW_SIZE, WINDOW.to_bytes(4, "big"))
            case chunks.ACKNOWLEDGEMENT:
                pass
            case _:
                self.ignored += 1

    def _take_media(self, message: Message) -> None:
        if self.state is not State.PUBLISHING or message.stream != self._published:
            self.ignored += 1
            return
        for part in _aggregated(message) if message.type == chunks.AGGREGATE else (message,):
            kind = Kind.VIDEO if part.type == chunks.VIDEO else Kind.AUDIO
            events = self.media.push(kind, part.body, part.timestamp)
            self._events += events
            if self.media.told:
                self._media_since = None
            elif self._media_since is None:
                self._media_since = self._now

    def _data(self, message: Message) -> None:
        if self.state is not State.PUBLISHING or message.stream != self._published:
            self.ignored += 1
            return
        values = commands.decode_values(message)
        if values[:1] == ["@setDataFrame"]:
            values = values[1:]
        if len(values) < 2 or values[0] != "onMetaData" or not isinstance(values[1], dict):
            self.ignored += 1
            return
        self.media.metadata(values[1])
        self._events.append(Metadata(values[1]))

    def _acknowledge(self) -> None:
        """§5.4.3: tell the count of bytes each window, and some time before it is full."""
        if self._window and self.received - self._acknowledged >= max(1, self._window // 2):
            self._acknowledged = self.received
            count = self.received & 0xFFFFFFFF
            self._control(chunks.ACKNOWLEDGEMENT, count.to_bytes(4, "big"))

    # --- commands -----------------------------------------------------------------------------

    def _command(self, command: Command, stream: int) -> None:
        if self.state is State.CONNECTING and command.name != "connect":
            raise WrongStateError(f"{command.name[:40]} before connect", subject="rtmp")
        match command.name:
            case "connect":
                self._connect(command)
            case "createStream":
                self._create_stream(command)
            case "publish":
                self._publish(command, stream)
            case "play" | "play2":
                self._status(
                    "error",
                    "NetStream.Play.Failed",
                    "Channels are not played by RTMP here.",
                    stream,
                )
                self._fail(UnauthorizedError("playing by RTMP", subject="rtmp"))
            case "FCPublish" | "FCUnpublish":
                self._fc(command)
            case "deleteStream":
                number = command.arguments[1] if len(command.arguments) > 1 else None
                if isinstance(number, float) and number in self._streams:
                    self._close_stream(int(number))
                    self._streams.discard(int(number))
            case "closeStream":
                self._close_stream(stream)
            case "releaseStream" | "_checkbw" | "getStreamLength" | "setDataFrame":
                self._result(command, None, None)
            case _:
                self.ignored += 1
                if command.transaction and not command.name.startswith(("_", "on")):
                    self._send(_COMMANDS, commands.call_failed(command.transaction, command.name))

    def _connect(self, command: Command) -> None:
        if self.state is not State.CONNECTING:
            raise WrongStateError("connect for the second time", subject="rtmp")
        about = command.object()

        def text(name: str) -> str:
            value = about.get(name)
            return value if isinstance(value, str) else ""

        app, query = commands.split_name(text("app"))
        tc_url = text("tcUrl")[: commands.MAX_NAME]
        _, of_url = commands.split_name(tc_url)
        encoding = about.get("objectEncoding")
        self._app, self._query = app, {**of_url, **query}
        self._control(chunks.WINDOW_SIZE, WINDOW.to_bytes(4, "big"))
        self._control(chunks.PEER_BANDWIDTH, WINDOW.to_bytes(4, "big") + b"\x02")
        self._control(chunks.SET_CHUNK_SIZE, CHUNK_SIZE.to_bytes(4, "big"))
        self._writer.chunk_size = CHUNK_SIZE
        self._send(
            _COMMANDS,
            commands.connect_result(
                command.transaction, encoding if isinstance(encoding, float) else 0.0
            ),
        )
        self.state = State.CONNECTED
        enhanced = "fourCcList" in about or "videoFourCcInfoMap" in about
        self._events.append(Connected(app, tc_url, text("flashVer")[:100], enhanced))

    def _create_stream(self, command: Command) -> None:
        if len(self._streams) >= MAX_STREAMS:
            raise TooLargeError(f"rtmp: more than {MAX_STREAMS} streams", subject="rtmp")
        number = next(n for n in range(1, MAX_STREAMS + 1) if n not in self._streams)
        self._streams.add(number)
        self._result(command, None, number)

    def _publish(self, command: Command, stream: int) -> None:
        if self.state is State.PUBLISHING:
            self._status(
                "error", "NetStream.Publish.BadName", "This connection publishes already.", stream
            )
            return
        if stream not in self._streams:
            raise WrongStateError("publish on a stream that was not created", subject="rtmp")
        if self.state is not State.CONNECTED:
            raise WrongStateError("publish after the end", subject="rtmp")
        name, query = commands.split_name(command.text(1) or "")
        self._published = stream
        self.state = State.ASKED
        self._events.append(PublishRequested(self._app, name, {**self._query, **query}))

    def _fc(self, command: Command) -> None:
        """FCPublish and FCUnpublish of Flash Media Encoder and whoever took after it."""
        publish = command.name == "FCPublish"
        code = f"NetStream.{'Publish.Start' if publish else 'Unpublish.Success'}"
        information = {"level": "status", "code": code, "description": ""}
        self._send(_COMMANDS, amf.encode(f"on{command.name}", 0, None, information))
        if not publish:
            self._close_stream(self._published)

    def _close_stream(self, stream: int) -> None:
        if self.state is State.PUBLISHING and stream == self._published:
            self._status("status", "NetStream.Unpublish.Success", "Stopped.")
            self._end("unpublished")

    # --- answers ------------------------------------------------------------------------------

    def _result(self, command: Command, *values: object) -> None:
        if command.transaction:
            self._send(_COMMANDS, amf.encode("_result", command.transaction, *values))

    def _status(self, level: str, code: str, description: str, stream: int | None = None) -> None:
        body = commands.status(level, code, description)
        self._send(_STATUS, body, self._published if stream is None else stream)

    def _send(self, chunk_stream: int, body: bytes, stream: int = 0) -> None:
        self._out += self._writer.write(chunk_stream, Message(chunks.COMMAND, stream, 0, body))

    def _control(self, kind: int, body: bytes) -> None:
        self._out += self._writer.write(_CONTROL, Message(kind, 0, 0, body))

    def _user_control(self, event: int, value: int) -> None:
        self._control(chunks.USER_CONTROL, event.to_bytes(2, "big") + value.to_bytes(4, "big"))


def _aggregated(message: Message) -> list[Message]:
    """The tags of an aggregate message (§7.1.6); its timestamp is that of the first."""
    body, at = message.body, 0
    found: list[Message] = []
    first: int | None = None
    while at + 11 <= len(body):
        size = int.from_bytes(body[at + 1 : at + 4], "big")
        stamp = int.from_bytes(body[at + 4 : at + 7], "big") | body[at + 7] << 24
        first = stamp if first is None else first
        end = at + 11 + size
        if end > len(body):
            raise MalformedError("rtmp", "a tag reaches beyond its aggregate", offset=at)
        if body[at] in (chunks.AUDIO, chunks.VIDEO):
            when = (message.timestamp + stamp - first) & 0xFFFFFFFF
            found.append(Message(body[at], message.stream, when, body[at + 11 : end]))
        at = end + 4  # the size again
    return found
