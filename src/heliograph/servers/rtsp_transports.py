"""Which of a client's transports is taken, and where a multicast group is."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING

from heliograph.live.channel import Channel
from heliograph.model.errors import UnsupportedError
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
