"""An RTMP publisher without input or output, as far as tests need one."""

from __future__ import annotations

from pathlib import Path

from heliograph.protocols.rtmp import ServerSession, amf, chunks, events
from heliograph.protocols.rtmp.chunks import ChunkReader, ChunkWriter, Message
from heliograph.protocols.rtmp.commands import Command, parse_command

CAPTURES = Path(__file__).resolve().parents[3] / "data" / "rtmp"
_SPS = bytes.fromhex("6764000cacd941419f9e10000003001000000301e0f1429960")
_PPS = bytes.fromhex("68efbcb0")
#: An AVCDecoderConfigurationRecord of 320×180.
AVC_RECORD = b"".join(
    (
        b"\x01\x64\0\x0c\xff",
        b"\xe1" + len(_SPS).to_bytes(2, "big") + _SPS,
        b"\x01" + len(_PPS).to_bytes(2, "big") + _PPS,
    )
)
#: The tag it comes in.
AVC = b"\x17\0\0\0\0" + AVC_RECORD
HANDSHAKE = b"\x03" + bytes(1536) + bytes(1536)


def capture(name: str) -> bytes:
    """All bytes a publisher sent."""
    return (CAPTURES / f"{name}.bin").read_bytes()


class Client:
    """Writes commands and media to a session, reads its answers."""

    def __init__(self, session: ServerSession | None = None) -> None:
        self.session = session or ServerSession(random=lambda size: b"r" * size)
        self.now = 0.0
        self.events: list[events.ServerEvent] = []
        self._writer = ChunkWriter()
        self._reader = ChunkReader()
        self._greeting = bytearray()

    def give(self, data: bytes) -> list[Message]:
        """Bytes to the session; what it answered."""
        self.session.receive_data(data, self.now)
        return self.take()

    def take(self) -> list[Message]:
        """Collect events and answers."""
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
        data = self.session.data_to_send()
        if len(self._greeting) < 3073:
            room = 3073 - len(self._greeting)
            self._greeting += data[:room]
            data = data[room:]
        self._reader.feed(data)
        found = []
        while (message := self._reader.next_message()) is not None:
            found.append(message)
        return found

    def message(self, kind: int, body: bytes, *, stream: int = 0, timestamp: int = 0) -> bytes:
        """A message as bytes, on the chunk stream of its type."""
        return self._writer.write(kind + 2, Message(kind, stream, timestamp, body))

    def command(self, name: str, *arguments: object, stream: int = 0) -> list[Message]:
        """Send a command with transaction 1."""
        body = amf.encode(name, 1, *arguments)
        return self.give(self.message(chunks.COMMAND, body, stream=stream))

    def connect(self, app: str = "live", **about: object) -> list[Command]:
        """Handshake and connect."""
        self.give(HANDSHAKE)
        url = f"rtmp://host/{app}"
        return answers(self.command("connect", {"app": app, "tcUrl": url, **about}))

    def publish(self, name: str = "camera", app: str = "live") -> list[Command]:
        """Everything up to the publish command."""
        self.connect(app)
        self.command("releaseStream", None, name)
        self.command("FCPublish", None, name)
        self.command("createStream", None)
        return answers(self.command("publish", None, name, "live", stream=1))

    def media(self, kind: int, body: bytes, timestamp: int = 0) -> list[events.ServerEvent]:
        """Send audio or video; the events that came of it."""
        before = len(self.events)
        self.give(self.message(kind, body, stream=1, timestamp=timestamp))
        return self.events[before:]


def answers(messages: list[Message]) -> list[Command]:
    """The commands among messages."""
    return [parse_command(message) for message in messages if message.type == chunks.COMMAND]


def code(command: Command) -> object:
    """The status code in an answer."""
    information = command.arguments[-1]
    assert isinstance(information, dict)
    return information["code"]


def replay(data: bytes, sizes: list[int] | None = None) -> list[events.ServerEvent]:
    """Give a capture to a session in pieces of the sizes, over and over; accept what it asks."""
    session = ServerSession(random=bytes)
    found: list[events.ServerEvent] = []
    at = turn = 0
    sizes = sizes or [len(data)]
    while at < len(data):
        size = max(1, sizes[turn % len(sizes)])
        session.receive_data(data[at : at + size], 0.0)
        at, turn = at + size, turn + 1
        while (event := session.next_event()) is not None:
            found.append(event)
            if isinstance(event, events.PublishRequested):
                session.accept()
        session.data_to_send()
    session.connection_lost()
    while (event := session.next_event()) is not None:
        found.append(event)
    return found
