"""Any bytes as an RTSP stream, cut anywhere: messages or ``MalformedError``.

The machines turn them into events and bytes, whatever the adapter answers; the first byte chooses
where the stream is cut and how the adapter behaves.
"""

import contextlib
import sys

from heliograph.model.errors import (
    ConflictError,
    HelioError,
    MalformedError,
    UnauthorizedError,
    WrongStateError,
)
from heliograph.protocols.rtsp import (
    Authenticator,
    ClientSession,
    MessageParser,
    ServerSession,
    Transport,
    events,
    headers,
)
from heliograph.protocols.rtsp.auth import parse_authorization, parse_challenges
from heliograph.protocols.rtsp.sharing import parse_ahead, parse_nodes
from heliograph.protocols.rtsp.targets import parse_target

SDP = "v=0\r\nm=video 0 RTP/AVP 32\r\na=control:trackID=0\r\nm=audio 0 RTP/AVP 0\r\na=control:1\r\n"
VALUES = (
    headers.parse_transports,
    headers.parse_session,
    headers.parse_range,
    headers.parse_rtp_info,
    headers.parse_scale,
    parse_authorization,
    parse_target,
    parse_nodes,
    parse_ahead,
)


def one_input(data: bytes) -> None:
    """Drive parser, header values, server and client with the same bytes."""
    if not data:
        return
    choice, data = data[0], data[1:]
    pieces = [data[i : i + 1 + choice] for i in range(0, len(data), 1 + choice)][:512]
    _parser(pieces)
    _values(data)
    _server(pieces, choice)
    _client(pieces, choice)


def _parser(pieces: list[bytes]) -> None:
    parser = MessageParser()
    for piece in pieces:
        parser.feed(piece)
        try:
            while (message := parser.next_message()) is not None:
                again = MessageParser()
                again.feed(message.serialize())
                assert again.next_message() is not None
        except MalformedError:
            return


def _values(data: bytes) -> None:
    text = data[:2048].decode("utf-8", "surrogateescape")
    for parse in VALUES:
        try:
            parse(text)
        except MalformedError:
            continue
    with contextlib.suppress(MalformedError):
        parse_challenges([text])
    with contextlib.suppress(MalformedError):
        nodes = parse_nodes(text)
        assert parse_nodes(nodes.serialize()) == nodes
    with contextlib.suppress(MalformedError):
        for transport in headers.parse_transports(text):
            headers.parse_transports(transport.serialize())


def _server(pieces: list[bytes], choice: int) -> None:
    session = ServerSession(
        new_session_id=lambda: "0123456789abcdef", authenticator=Authenticator("x", b"s" * 16)
    )
    now = 0.0
    for piece in pieces:
        now += 0.1
        session.receive_data(piece, now)
        while (event := session.next_event()) is not None:
            _answer(session, event, choice)
        session.data_to_send()
        session.handle_timer(now)


def _answer(session: ServerSession, event: object, choice: int) -> None:
    if not type(event).__name__.endswith("Requested"):
        return
    if choice & 0x40:
        session.authenticate(["key"])
        session.refuse(UnauthorizedError("no") if choice & 0x20 else ConflictError("no\r\n"))
        return
    match event:
        case events.DescribeRequested():
            session.describe_ok(SDP)
        case events.AnnounceRequested():
            session.announce_ok()
        case events.SetupRequested():
            session.setup_ok(event.transports[-1])
        case events.PlayRequested():
            session.play_ok({track: (1, 2) for track in event.tracks})
        case events.StrayPlayRequested():
            session.redirect("rtsp://other/demo")
        case events.RecordRequested():
            session.record_ok()
        case events.PauseRequested():
            session.pause_ok()
        case events.TeardownRequested():
            session.teardown_ok()
        case events.ParameterRequested():
            session.parameter_ok(b"x: 1\r\n")


def _client(pieces: list[bytes], choice: int) -> None:
    udp = bool(choice & 0x10)
    client = ClientSession("rtsp://a:b@host/demo", cnonce="0123456789abcdef", share=udp)
    wanted = Transport(client_port=(2, 3)) if udp else Transport(lower="TCP", interleaved=(0, 1))
    if choice & 0x80:
        client.announce(SDP, 0.0)
    else:
        client.connect(0.0)
        client.describe(0.0)
    now = 0.0
    for piece in pieces:
        now += 0.1
        client.receive_data(piece, now)
        while (event := client.next_event()) is not None:
            try:
                if isinstance(event, events.Described | events.Announced):
                    client.setup([(0, wanted)], now)
                elif isinstance(event, events.Ready):
                    client.play(now)
            except (WrongStateError, HelioError):
                break
        client.data_to_send()
        client.handle_timer(now)


if __name__ == "__main__":
    import atheris

    atheris.instrument_all()  # before the first input, after the imports
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
