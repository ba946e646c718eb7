"""From settings, as people write them, to the options of channels and servers."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from heliograph.live.admission import Limits
from heliograph.live.connections.compose import Connection
from heliograph.live.keys import new_key
from heliograph.live.options import (
    ChannelOptions,
    Conflict,
    LiveOptions,
    PullOptions,
    Transport,
)
from heliograph.model.errors import ResourceError
from heliograph.model.files import write_private
from heliograph.node.certificates import (
    GivenCertificate,
    OwnCertificate,
    Source,
    machine_names,
)
from heliograph.node.roles import Role
from heliograph.node.settings.schema import ChannelSettings, Settings
from heliograph.servers.chat_server import ChatOptions
from heliograph.servers.forwarded import Language, Trust
from heliograph.servers.http import HttpOptions
from heliograph.servers.https import HttpsOptions
from heliograph.servers.rtmp import RtmpOptions
from heliograph.servers.rtsp import RtspOptions

#: Keys made for channels whose settings name none, within the state directory.
KEYS_FILE = "stream-keys.json"

#: The database where the settings name none, within the state directory.
DATABASE_FILE = "heliograph.db"

#: The channel that ``--demo`` runs.
DEMO = "demo"


def database_url(settings: Settings, roles: Collection[Role]) -> str:
    """Where the database is. A unit alone needs none: what it knows it is told."""
    if not set(roles) & {Role.PORTAL, Role.MANAGER}:
        return "sqlite://"
    path = settings.server.state_dir.absolute() / DATABASE_FILE
    return settings.database.url or f"sqlite:///{path}"


def live_options(settings: Settings) -> LiveOptions:
    """What holds for all channels together."""
    access = settings.access
    return LiveOptions(limits=Limits(access.max_readers or None, access.max_egress_bps or None))


def rtsp_options(settings: Settings) -> RtspOptions:
    """How the RTSP server listens."""
    rtsp = settings.rtsp
    return RtspOptions(
        address=rtsp.host,
        port=rtsp.port,
        rtp_port=rtsp.rtp_port,
        multicast_base=str(rtsp.multicast_base),
        multicast_port=rtsp.multicast_port,
        multicast_ttl=rtsp.multicast_ttl,
        session_timeout=round(rtsp.session_timeout_s),
        idle_timeout=rtsp.idle_timeout_s,
        max_connections=rtsp.max_connections,
        realm=rtsp.realm,
        auth_methods=settings.access.auth_methods,
    )


def chat_options(settings: Settings) -> ChatOptions:
    """How many may chat."""
    chat = settings.chat
    return ChatOptions(chat.max_connections, chat.max_per_network)


def rtmp_options(settings: Settings) -> RtmpOptions:
    """How the RTMP server listens."""
    rtmp = settings.rtmp
    return RtmpOptions(address=rtmp.host, port=rtmp.port, max_connections=rtmp.max_connections)


def http_options(settings: Settings) -> HttpOptions:
    """How the web server listens, and which proxies it believes."""
    http = settings.http
    return HttpOptions(
        address=http.host,
        port=http.port,
        max_connections=http.max_connections,
        head_timeout=http.head_timeout_s,
        trust=Trust(http.trusted_proxies, Language(http.proxy_header)),
    )


def https_options(settings: Settings) -> HttpsOptions:
    """How the web server listens for HTTPS."""
    https = settings.https
    return HttpsOptions(
        address=str(https.host),
        port=https.port,
        max_connections=https.max_connections,
        handshake_timeout=https.handshake_timeout_s,
    )


def certificate_source(settings: Settings, state_dir: Path) -> Source:
    """Where the certificate for HTTPS comes from."""
    https = settings.https
    if https.certificate is not None:
        return GivenCertificate(https.certificate, https.key or https.certificate)
    public_host, public = settings.server.public_host, settings.webrtc.public_addresses
    return OwnCertificate(state_dir, lambda: machine_names(public_host, public))


def channel_options(settings: Settings, state_dir: Path) -> dict[str, ChannelOptions]:
    """Every channel of the settings, the demo included, each with a key.

    Raises ``ResourceError`` where keys that were made cannot be kept.
    """
    channels = list(settings.channels)
    if settings.demo:
        channels.append(ChannelSettings(name=DEMO, title="Demo", on_conflict="replace"))
    keys = _keys([c.name for c in channels if c.key is None], state_dir / KEYS_FILE)
    return {
        channel.name: _channel(settings, channel, keys.get(channel.name, ""))
        for channel in channels
    }


def _channel(settings: Settings, channel: ChannelSettings, made_key: str) -> ChannelOptions:
    plane, access = settings.plane, settings.access

    def first(own: int | None, common: int) -> int:
        return common if own is None else own

    return ChannelOptions(
        title=channel.title,
        key=made_key if channel.key is None else channel.key.get_secret_value(),
        view_key="" if channel.view_key is None else channel.view_key.get_secret_value(),
        max_readers=first(channel.max_readers, access.max_readers_per_channel) or None,
        max_bandwidth=channel.max_egress_bps or None,
        conflict=Conflict(channel.on_conflict or access.publish_conflict),
        publish_from=_networks(
            access.publish_from if channel.publish_from is None else channel.publish_from
        ),
        view_from=_networks(access.view_from if channel.view_from is None else channel.view_from),
        multicast=channel.multicast,
        connection=Connection.parse(channel.connection),
        pulls=tuple(
            PullOptions(source.url, source.priority, Transport(source.transport))
            for source in channel.sources
        ),
        depth_ms=plane.depth_ms,
        max_bytes=plane.max_ring_bytes,
        silence_ms=first(channel.silence_ms, plane.silence_ms),
        return_ms=channel.return_ms,
        coalesce_us=first(channel.coalesce_us, plane.coalesce_us),
        tcp_interval_ms=first(channel.tcp_interval_ms, plane.tcp_interval_ms),
        lag_ms=plane.lag_ms,
    )


def _networks(networks: Iterable[IPv4Network | IPv6Network]) -> tuple[str, ...]:
    return tuple(str(network) for network in networks)


def _keys(names: list[str], path: Path) -> dict[str, str]:
    """Keys for channels that were given none: read, or made and kept."""
    try:
        kept: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        missing = [name for name in names if name not in kept]
        if missing:
            kept |= {name: new_key() for name in missing}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, json.dumps(kept, indent=1) + "\n")
    except (OSError, ValueError, TypeError) as error:
        raise ResourceError(f"stream keys in {path}: {error}", subject=str(path)) from error
    return kept
