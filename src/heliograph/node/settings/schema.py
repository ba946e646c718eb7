"""Everything that can be set, with its unit, range and default.

The text below a field is its documentation: ``docs/operate/settings.md`` is made from it.
"""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from heliograph.live.connections.compose import Connection
from heliograph.model.errors import MalformedError
from heliograph.node.settings.base import (
    ANYWHERE,
    Address,
    ChannelName,
    Key,
    Millis,
    Networks,
    PathSetting,
    Port,
    Section,
    fail,
)
from heliograph.node.settings.cluster import ClusterSettings, MeshSettings, UnitSettings
from heliograph.node.settings.dispatcher import DispatcherSettings
from heliograph.node.settings.monitor import MonitorSettings
from heliograph.node.settings.statistics import StatisticsSettings
from heliograph.node.settings.storage import StorageSettings
from heliograph.protocols.ice_servers import IceServer

#: More worker threads than this gain nothing: the kernel's send path is the cost long before.
MAX_WORKERS = 8
#: What a browser, a camera's menu and a table row can still show.
MAX_TITLE = 200


def _state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "heliograph"


class ServerSettings(Section):
    """The process as a whole."""

    name: str = Field(default="heliograph", min_length=1, max_length=64)
    """How the server calls itself in pages, metrics and protocol headers."""
    state_dir: PathSetting = Field(default_factory=_state_dir)
    """Directory for what must outlive the process; made when missing. Without this setting
    `$XDG_STATE_HOME/heliograph`, or `~/.local/state/heliograph`."""
    public_host: str = Field(default="", max_length=255)
    """Host name or address in the URLs that are shown; empty: the one the client asked for."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """`text` for people, `json` for collectors, one object a line; `auto` is text, coloured on a
    terminal."""
    log_file: PathSetting | None = None
    """Also write the log to this file."""
    log_file_bytes: int = Field(default=16 << 20, ge=64 << 10)
    """Size in bytes at which the log file is rotated."""
    log_file_keep: int = Field(default=3, ge=0, le=100)
    """Rotated log files kept."""


class DatabaseSettings(Section):
    """Where accounts, channels made by people, keys, chat and the audit log are kept."""

    url: str = Field(default="", max_length=2048)
    """`sqlite:///PATH` or `postgresql://user:password@host/name`; empty: `heliograph.db` in the
    state directory."""


class HttpSettings(Section):
    """Pages, REST API, WebSocket and metrics."""

    host: str = "0.0.0.0"
    """Address to listen on; `::` for IPv6 and IPv4."""
    port: Port = 8080
    """TCP port; 0: any free one."""
    max_connections: int = Field(default=20_000, ge=1, le=1_000_000)
    """Open connections, WebSockets included; more are closed at once and counted."""
    head_timeout_s: float = Field(default=5.0, gt=0, le=300)
    """Seconds a client has for the head of a request."""
    trusted_proxies: Networks = ()
    """Networks of proxies in front whose word counts for a client's address, for `http` or `https`
    and for the host asked for."""
    proxy_header: Literal["x-forwarded", "forwarded"] = "x-forwarded"
    """How they tell: `X-Forwarded-For`, `-Proto` and `-Host`, or `Forwarded` (RFC 7239). Only
    these are read, as a proxy passes on others as the client sent them."""


class HttpsSettings(Section):
    """The same as by HTTP, secure: cameras and decoders of browsers need it off this machine."""

    enabled: bool = True
    """Whether there is HTTPS."""
    host: Address = IPv4Address("0.0.0.0")
    """Address to listen on; `::` for IPv6 and IPv4."""
    port: Port = 8443
    """TCP port; 0: any free one."""
    certificate: PathSetting | None = None
    """File with the certificate and those between it and the authority, in PEM; read anew when it
    changes. Without one the server makes one and keeps it in its state directory."""
    key: PathSetting | None = None
    """File with the certificate's private key, in PEM, not encrypted; without one it is in the
    certificate's file."""
    max_connections: int = Field(default=20_000, ge=1, le=1_000_000)
    """Open connections, without WebSockets, which count with `http.max_connections`; more are
    closed at once and counted."""
    handshake_timeout_s: float = Field(default=5.0, gt=0, le=300)
    """Seconds a client has for the handshake of TLS."""

    @model_validator(mode="after")
    def _check(self) -> HttpsSettings:
        if self.key is not None and self.certificate is None:
            raise fail("needs https.certificate beside it", "key")
        return self


class RtspSettings(Section):
    """RTSP, and RTP and RTCP over UDP."""

    host: str = "0.0.0.0"
    """Address to listen on, for RTSP, RTP and RTCP; `::` for IPv6 and IPv4."""
    port: Port = 8554
    """TCP port; 0: any free one."""
    rtp_port: Port = 8000
    """UDP port for RTP of all channels, even; RTCP has the next one. 0: any free pair."""
    session_timeout_s: float = Field(default=60.0, ge=5, le=3600)
    """Seconds without a sign of life after which a session is ended."""
    idle_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """Seconds a connection without a session may say nothing."""
    max_connections: int = Field(default=20_000, ge=1, le=1_000_000)
    """Open RTSP connections; more are closed at once and counted."""
    multicast_base: IPv4Address = Field(default=IPv4Address("239.192.0.0"), strict=False)
    """First multicast address given to channels that are sent by multicast."""
    multicast_port: Port = 5004
    """First UDP port of multicast RTP, even and not 0."""
    multicast_ttl: int = Field(default=16, ge=0, le=255)
    """Routers a multicast packet may cross; 0 stays on this host, 1 on the local network."""
    realm: str = Field(default="heliograph", min_length=1, max_length=64, pattern=r'^[^"\\\r\n]+$')
    """Realm shown when credentials are asked for."""
    redirect: bool = True
    """Whether viewers are sent to the unit of the cluster that serves them best. Off: this node
    serves them, as where they cannot reach other units, or players know no redirects."""

    @model_validator(mode="after")
    def _check(self) -> RtspSettings:
        for name in ("rtp_port", "multicast_port"):
            if getattr(self, name) % 2:
                raise fail("must be even: RTCP has the odd port above (RFC 3550 §11)", name)
        if self.multicast_port == 0:
            raise fail("must not be 0: the port is announced before it is used", "multicast_port")
        if not self.multicast_base.is_multicast:
            raise fail(
                "must be a multicast address (224.0.0.0 to 239.255.255.255)", "multicast_base"
            )
        return self


class ChatSettings(Section):
    """The text channel beside every channel."""

    enabled: bool = True
    """Whether channels have a chat."""
    max_connections: int = Field(default=15_000, ge=1, le=1_000_000)
    """Connections to all chats; they are connections of `[http]` as well."""
    max_per_network: int = Field(default=200, ge=1, le=1_000_000)
    """Connections of one address (IPv6: a /64). The machine's own addresses are not counted: they
    are a proxy's."""


class RtmpSettings(Section):
    """Publishing by RTMP, as OBS and most encoders do."""

    enabled: bool = True
    """Whether RTMP is taken."""
    host: str = "0.0.0.0"
    """Address to listen on; `::` for IPv6 and IPv4."""
    port: Port = 1935
    """TCP port; 0: any free one."""
    max_connections: int = Field(default=1000, ge=1, le=100_000)
    """Open connections; more are closed at once and counted."""


class IceServerSettings(Section):
    """One STUN or TURN server that peers by WebRTC are told of with the answer to their offer."""

    url: str = Field(min_length=1, max_length=512)
    """`stun:HOST`, `turn:HOST`, or `turns:HOST`, which is by TLS; with `:PORT` or without, and for
    TURN with `?transport=udp` or `tcp` or without."""
    username: str = Field(default="", max_length=512)
    """For TURN."""
    credential: Annotated[SecretStr, Field(max_length=512)] | None = None
    """The password to it, for TURN. Everybody who may watch is told it."""

    def server(self) -> IceServer:
        """As it is told; ``ValueError`` where it makes no sense."""
        secret = self.credential
        return IceServer(
            self.url, self.username, "" if secret is None else secret.get_secret_value()
        )

    @model_validator(mode="after")
    def _check(self) -> IceServerSettings:
        try:
            self.server()
        except ValueError as error:
            raise fail(str(error), "url") from None
        return self


class WebrtcSettings(Section):
    """Going on air from a browser and watching by WebRTC, all on one port."""

    enabled: bool = True
    """Whether there is WebRTC; without it browsers watch by WebSocket."""
    host: Address = IPv4Address("0.0.0.0")
    """Address to listen on; `::` for IPv6 and IPv4."""
    port: Port = 8189
    """Port for UDP, and for TCP; 0: any that is free for both."""
    tcp: bool = True
    """Whether peers whose network blocks UDP may come by TCP (RFC 6544), to the same port."""
    public_addresses: Annotated[tuple[Address, ...], Field(strict=False, max_length=8)] = ()
    """Addresses peers reach the server by when it is behind a NAT that forwards the port."""
    ice_servers: Annotated[tuple[IceServerSettings, ...], Field(strict=False, max_length=8)] = ()
    """STUN and TURN servers that peers are told of, see below."""
    max_sessions: int = Field(default=10_000, ge=1, le=1_000_000)
    """Publishers and viewers by WebRTC together; more are refused."""
    max_sessions_per_address: int = Field(default=256, ge=1, le=1_000_000)
    """Sessions from one address (IPv6: one /64); more are refused with 429."""
    offers_per_minute: int = Field(default=120, ge=1, le=1_000_000)
    """Offers from one address; more are refused with 429. Half of it may come at once."""


class PlaneSettings(Section):
    """The packet plane. Most of these are defaults that a channel may change for itself."""

    workers: int = Field(default=0, ge=0, le=MAX_WORKERS)
    """Threads that move packets; 0: one for each core that may be used, at most 8."""
    depth_ms: int = Field(default=3000, ge=100, le=60_000)
    """How far a channel's ring reaches back, in ms; it reaches on to the last keyframe."""
    max_ring_bytes: int = Field(default=16 << 20, ge=256 << 10, le=1 << 30)
    """Bytes a channel's ring never exceeds."""
    silence_ms: int = Field(default=1000, ge=20, le=600_000)
    """An input that delivers nothing for so many ms is silent."""
    coalesce_us: int = Field(default=1500, ge=0, le=100_000)
    """How long a packet may wait for the rest of its frame, in µs."""
    tcp_interval_ms: Millis = 0
    """Least time between two writes to one TCP reader, in ms; 0: every frame is written at once."""
    lag_ms: int = Field(default=1000, ge=50, le=60_000)
    """A TCP reader that is further behind, in ms, loses video first and audio last."""

    @model_validator(mode="after")
    def _check(self) -> PlaneSettings:
        if self.lag_ms > self.depth_ms:
            raise fail("must not exceed plane.depth_ms: the ring holds no more than that", "lag_ms")
        return self

    def worker_count(self) -> int:
        """Number of worker threads to start on this machine."""
        return self.workers or min(len(os.sched_getaffinity(0)), MAX_WORKERS)


class AccessSettings(Section):
    """Who may publish and view, and how much."""

    publish_from: Networks = ANYWHERE
    """Networks from which publishing is allowed, besides showing the key."""
    view_from: Networks = ANYWHERE
    """Networks from which viewing is allowed."""
    max_readers: int = Field(default=0, ge=0)
    """Readers of all channels together; 0: no limit."""
    max_readers_per_channel: int = Field(default=0, ge=0)
    """Readers of one channel; 0: no limit."""
    max_hls_viewers_per_address: int = Field(default=256, ge=1, le=1_000_000)
    """Viewers by HLS of one address (IPv6: a /64); more are refused with 429. The machine's own
    addresses are not counted: they are a proxy's."""
    max_egress_bps: int = Field(default=0, ge=0)
    """Bits a second promised to all readers together; 0: no limit. A reader counts with its
    channel's rate."""
    auth_methods: Annotated[
        tuple[Literal["digest", "basic"], ...], Field(strict=False, min_length=1)
    ] = ("digest", "basic")
    """RTSP authentication methods offered, best first."""
    publish_conflict: Literal["refuse", "replace"] = "refuse"
    """What happens to a second publisher of a channel that is on air: it is refused, or it replaces
    the first."""


class AuthoritySettings(Section):
    """An external authority that is asked by HTTP who may publish and view."""

    url: str = Field(default="", max_length=2048, pattern=r"^(https?://[^\s]+)?$")
    """Address that questions are sent to by POST; empty: nobody is asked."""
    actions: Annotated[
        tuple[Literal["publish", "view"], ...], Field(strict=False, min_length=1)
    ] = ("publish", "view")
    """What it is asked about."""
    policy: Literal["agree", "extend"] = "agree"
    """`agree`: it has to agree with what the server would grant by itself. `extend`: it is asked
    about those whom the server would refuse, and may let them in."""
    timeout_s: float = Field(default=3.0, gt=0, le=10)
    """Seconds until no answer is a refusal."""
    key: SecretStr | None = None
    """Shown to the authority as a bearer token."""


class SourceSettings(Section):
    """One source that the server fetches by itself."""

    url: str = Field(min_length=1, max_length=2048)
    """`rtsp://[user:password@]host[:port]/path` to pull from, or the path of an SDP file that
    describes plain RTP."""
    priority: int = Field(default=0, ge=0, le=1000)
    """Lower is better: the best source that delivers is relayed, the others stand by."""
    transport: Literal["auto", "udp", "tcp"] = "auto"
    """How RTSP media come; `auto` is UDP, and TCP when nothing arrives."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url):
            try:
                parts = urlsplit(url)
                _ = parts.port  # raises on a port that is no number
            except ValueError as error:
                raise fail(f"is not a URL: {error}") from None
            if parts.scheme.lower() != "rtsp":
                raise fail("must begin with rtsp://, or name an SDP file")
            if not parts.hostname:
                raise fail("names no host")
        elif not url.lower().endswith(".sdp"):
            raise fail("must begin with rtsp://, or name a file that ends in .sdp")
        return url


class ChannelSettings(Section):
    """A channel that exists as long as the server runs."""

    name: ChannelName
    """Name in URLs: 1 to 64 letters, digits, `.`, `_` or `-`."""
    title: str = Field(default="", max_length=MAX_TITLE)
    """Title shown to people; empty: the name."""
    key: Key | None = None
    """Key a publisher must show, at least 8 characters. Without one the server makes one and keeps
    it in its state directory."""
    view_key: Key | None = None
    """Key a viewer must show; without one anybody may view."""
    max_readers: int | None = Field(default=None, ge=0)
    """As `access.max_readers_per_channel`, for this channel."""
    max_egress_bps: int | None = Field(default=None, ge=0)
    """Bits a second promised to this channel's readers; 0: no limit."""
    silence_ms: int | None = Field(default=None, ge=20, le=600_000)
    """As `plane.silence_ms`, for this channel."""
    return_ms: int = Field(default=-1, ge=-1, le=3_600_000)
    """A better source takes over again once it was well for so many ms; -1: never by itself."""
    coalesce_us: int | None = Field(default=None, ge=0, le=100_000)
    """As `plane.coalesce_us`, for this channel."""
    tcp_interval_ms: Millis | None = None
    """As `plane.tcp_interval_ms`, for this channel."""
    multicast: bool = False
    """Whether RTSP readers may ask for multicast."""
    connection: str = Field(default="auto", max_length=64)
    """How it travels between nodes: kinds over each other, such as `crypto/multicast/udp`. What is
    left out is as `mesh.connection` says; `auto` is all of that, and multicast where both nodes
    have `mesh.multicast` and at least two want the channel; with `multicast` from the first on."""
    on_conflict: Literal["refuse", "replace"] | None = None
    """As `access.publish_conflict`, for this channel."""
    publish_from: Networks | None = None
    """As `access.publish_from`, for this channel."""
    view_from: Networks | None = None
    """As `access.view_from`, for this channel."""
    sources: Annotated[tuple[SourceSettings, ...], Field(strict=False)] = ()
    """Sources the server fetches by itself, see below."""

    @field_validator("connection")
    @classmethod
    def _check_connection(cls, text: str) -> str:
        try:
            Connection.parse(text)
        except MalformedError as error:
            raise fail(error.reason) from None
        return text


class Settings(Section):
    """All settings of one server."""

    demo: bool = False
    """Whether to run the channel `demo`, a moving test pattern with a tone, and to make the title
    `demo-film` of it where there is none."""
    server: ServerSettings = Field(default_factory=ServerSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    https: HttpsSettings = Field(default_factory=HttpsSettings)
    rtsp: RtspSettings = Field(default_factory=RtspSettings)
    chat: ChatSettings = Field(default_factory=ChatSettings)
    rtmp: RtmpSettings = Field(default_factory=RtmpSettings)
    webrtc: WebrtcSettings = Field(default_factory=WebrtcSettings)
    mesh: MeshSettings = Field(default_factory=MeshSettings)
    plane: PlaneSettings = Field(default_factory=PlaneSettings)
    access: AccessSettings = Field(default_factory=AccessSettings)
    authority: AuthoritySettings = Field(default_factory=AuthoritySettings)
    cluster: ClusterSettings = Field(default_factory=ClusterSettings)
    unit: UnitSettings = Field(default_factory=UnitSettings)
    dispatcher: DispatcherSettings = Field(default_factory=DispatcherSettings)
    monitor: MonitorSettings = Field(default_factory=MonitorSettings)
    statistics: StatisticsSettings = Field(default_factory=StatisticsSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    channels: Annotated[tuple[ChannelSettings, ...], Field(strict=False)] = ()
    """Channels, each in a `[[channels]]` table of the file."""

    @model_validator(mode="after")
    def _check(self) -> Settings:
        seen: set[str] = set()
        for index, channel in enumerate(self.channels):
            if channel.name in seen:
                raise fail(f"{channel.name!r} is there twice", "channels", index, "name")
            seen.add(channel.name)
        if self.demo and "demo" in seen:
            raise fail("cannot be on while a channel is called 'demo'", "demo")
        if self.rtsp.port and self.rtsp.port == self.http.port:
            raise fail("is http.port already", "rtsp", "port")
        if self.rtmp.enabled and self.rtmp.port:
            for name, port in (("http", self.http.port), ("rtsp", self.rtsp.port)):
                if self.rtmp.port == port:
                    raise fail(f"is {name}.port already", "rtmp", "port")
        if self.cluster.active and self.cluster.port in self._tcp_ports():
            raise fail("is the port of another server already", "cluster", "port")
        if self.https.enabled and self.https.port:
            rtmp = self.rtmp.port if self.rtmp.enabled else 0
            for name, port in (("http", self.http.port), ("rtsp", self.rtsp.port), ("rtmp", rtmp)):
                if self.https.port == port:
                    raise fail(f"is {name}.port already", "https", "port")
        return self

    def _tcp_ports(self) -> set[int]:
        rtmp = self.rtmp.port if self.rtmp.enabled else 0
        https = self.https.port if self.https.enabled else 0
        return {self.http.port, self.rtsp.port, rtmp, https} - {0}
