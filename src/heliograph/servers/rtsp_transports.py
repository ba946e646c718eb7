"""Which of a client's transports is taken, where a multicast group is, how media come in."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from heliograph.live.channel import Channel
from heliograph.live.publish import Publishing, PublishKind
from heliograph.model.errors import UnsupportedError
from heliograph.model.media import Track
from heliograph.protocols.rtsp import Transport
from heliograph.protocols.rtsp.events import SetupRequested

if TYPE_CHECKING:
    from heliograph.servers.rtsp import RtspOptions, RtspServer


def choose(
    server: RtspServer, event: SetupRequested, channel: Channel | None, *, connected: bool
) -> Transport:
    """The client's best alternative that this server does; ``UnsupportedError`` without one.

    ``channel``: to be read; None for a publisher. ``connected``: whether there is a connection for
    media to go on.
    """
    options = server.options
    for transport in event.transports:
        if transport.is_tcp:
            if connected:
                return transport
        elif transport.multicast:
            usable = options.multicast_base is not None and server.endpoint
            if channel is not None and usable and channel.options.multicast:
                return transport
        elif server.endpoint:
            # Media go to whoever asked and to nobody else, whatever ``destination`` says.
            ports = server.rtp_ports
            return replace(transport, server_port=ports, destination=None, source=None)
    raise UnsupportedError("none of the transports is offered", subject="transport")


def group_address(options: RtspOptions, channel: Channel) -> str:
    """Where the channel's multicast goes."""
    assert options.multicast_base is not None
    return str(ipaddress.ip_address(options.multicast_base) + channel.index)


def in_group(options: RtspOptions, channel: Channel, place: int, transport: Transport) -> Transport:
    """What a member is told of its track, the one at ``place`` of the channel's."""
    port = options.multicast_port + 2 * place
    return replace(
        transport,
        destination=group_address(options, channel),
        port=(port, port + 1),
        client_port=None,
        ttl=options.multicast_ttl,
    )


def attach_inputs(
    server: RtspServer,
    publishing: Publishing,
    tracks: Sequence[Track],
    transports: Mapping[int, Transport],
    *,
    peer: str,
    conn: int,
) -> None:
    """Let the plane take a publisher's media: from its connection, or by UDP from its address."""
    input, plane = publishing.add_input(), server.plane_loop.plane
    if publishing.kind is PublishKind.RTSP_TCP:
        lanes = [(id, *t.interleaved) for id, t in transports.items() if t.interleaved]
        plane.conn_publish(conn, input, lanes)
        return
    for track in tracks:
        ports = transports[track.id].client_port
        assert ports is not None
        plane.attach_udp(
            input,
            track.id,
            server.endpoint,
            payload_type=track.payload_type,
            remote=peer,
            rtp_port=ports[0],
            rtcp_port=ports[1],
        )
