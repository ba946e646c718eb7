"""What the API answers and takes, as models for the OpenAPI description."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from heliograph.catalogue.values import ViewAccess
from heliograph.live.channel import Channel
from heliograph.live.connections.compose import AUTO, Connection
from heliograph.live.identity import Identity
from heliograph.live.options import MAX_KEY, MAX_TITLE, ChannelOptions, Conflict
from heliograph.live.states import State
from heliograph.web.context import WebContext

#: Places and bandwidths are 64 bit numbers further down.
MAX_NUMBER = 2**53


class TrackAnswer(BaseModel):
    """One elementary stream."""

    id: int
    kind: str = Field(description="`video`, `audio` or `data`.")
    codec: str
    clock_rate: int = Field(description="RTP timestamp units a second.")
    channels: int = Field(description="Audio channels; 0 for video and where unknown.")


class InputAnswer(BaseModel):
    """A publisher of a channel, as everybody may know it."""

    id: int
    kind: str = Field(
        description="`rtsp-udp`, `rtsp-tcp`, `whip`, `rtmp`, `pull`, `rtp` or `push`."
    )
    priority: int = Field(description="Lower is better; the best that delivers is relayed.")
    since: str = Field(description="When it came, ISO 8601.")
    active: bool = Field(description="Whether it is the one relayed.")


class InputDetails(InputAnswer):
    """A publisher with its address and counters."""

    peer: str = Field(description="Its address, or the URL pulled, without user and password.")
    agent: str = Field("", description="What the publisher's program calls itself.")
    packets: int = 0
    bytes: int = 0
    lost: int = Field(0, description="Packets that never came, as far as known.")
    duplicates: int = 0
    reordered: int = 0
    rejected: int = Field(0, description="Packets not relayed: malformed, late, before a keyframe.")
    jitter_us: int = Field(0, description="Interarrival jitter (RFC 3550 section 6.4.1), µs.")
    last_packet_age_ms: int = Field(-1, description="Since the newest packet; -1 before the first.")


class ReaderDetails(BaseModel):
    """A reader with its counters."""

    id: int
    kind: str = Field(description="`rtsp-udp`, `rtsp-tcp`, `multicast`, `websocket` or `whep`.")
    peer: str
    agent: str = Field(description="What the reader's program calls itself.")
    since: str
    state: str = Field(description="`playing`, `paused` or `audio-only` (behind, video left out).")
    packets: int
    bytes: int
    dropped_video: int = Field(description="Video packets left out because the reader was behind.")
    dropped_audio: int
    lag_ms: int = Field(description="How far behind the newest packet it is.")
    loss: float = Field(description="Fraction lost, by its newest receiver report.")
    jitter_us: int
    estimate_bps: int = Field(
        description="Bits a second its way takes, where that is measured (WebRTC); else 0."
    )
    layer: str = Field(
        description="The simulcast layer it gets, by its publisher's name, or empty."
    )


class Urls(BaseModel):
    page: str
    websocket: str
    rtsp: str = Field(description="Empty without an RTSP server.")
    rtmp: str = Field(
        description="For encoders, which add `/NAME?key=KEY`; empty without an RTMP server."
    )
    hls: str = Field(description="For players of HLS; 406 where they cannot take the codec.")


class ChannelAnswer(BaseModel):
    """A channel."""

    name: str
    title: str
    state: str = Field(
        description="`on_air`; `waiting`: the source is gone, readers stay; `idle`: never had one."
    )
    since: str | None = Field(description="When the state was entered, ISO 8601.")
    tracks: list[TrackAnswer]
    readers: int
    max_readers: int | None = Field(description="Places; null: as many as the server has.")
    bitrate: int = Field(description="Bits a second that come in.")
    inputs: list[InputAnswer]
    picture: str | None = Field(description="Where a picture of it is, while it is on air.")
    urls: Urls
    owner: str | None = Field(description="Display name; null: a channel of the server.")
    mine: bool = Field(description="Whether it belongs to who asks.")
    closed: bool = Field(description="Whether nobody gets in until an administrator opens it.")
    private: bool = Field(description="Whether it is unknown to who may not watch it.")
    view_access: ViewAccess = Field(description="Who may watch without a view token.")
    guests_chat: bool = Field(description="Whether who has no account may write in its chat.")
    on_air_since: str | None = Field(description="ISO 8601; null while it is not on air.")


class ChannelsAnswer(BaseModel):
    channels: list[ChannelAnswer] = Field(description="By name.")


class ChannelSettings(BaseModel):
    """How a channel is to be, as who may change it sees it."""

    open_publish: bool
    view_key: str
    max_readers: int | None
    max_bandwidth: int | None
    conflict: Conflict
    publish_from: list[str]
    view_from: list[str]
    multicast: bool
    connection: str


class ChannelManaged(ChannelAnswer):
    """A channel with what only its owner and administrators see."""

    settings: ChannelSettings


class ChannelMade(ChannelManaged):
    """A channel just made."""

    key: str = Field(description="Publishers must show this. It is told this once.")


class ChannelChange(BaseModel):
    """What may be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field("", max_length=MAX_TITLE, description="Empty: the name stands in.")
    private: bool = Field(False, description="Unknown to who may not watch it.")
    view_access: ViewAccess = Field(
        ViewAccess.EVERYONE, description="Who may watch without a view token; see `private`."
    )
    guests_chat: bool = Field(True, description="Whether who has no account may write in its chat.")
    open_publish: bool = Field(False, description="Whether anybody may publish, without a key.")
    view_key: str = Field("", max_length=MAX_KEY, description="Empty: none is needed.")
    max_readers: int | None = Field(None, ge=0, le=MAX_NUMBER)
    max_bandwidth: int | None = Field(
        None, ge=0, le=MAX_NUMBER, description="Bits a second to all readers together."
    )
    conflict: Conflict = Field(
        Conflict.REFUSE, description="What becomes of a second publisher's predecessor."
    )
    publish_from: list[str] = Field([], max_length=64, description="Networks (CIDR); empty: any.")
    view_from: list[str] = Field([], max_length=64, description="Networks (CIDR); empty: any.")
    multicast: bool = Field(True, description="Whether readers may ask for multicast.")
    connection: str = Field(
        AUTO,
        max_length=64,
        description="How it travels between the nodes of a cluster: kinds over each other, such as "
        "`crypto/multicast/udp`; what is left out is as each node is set.",
    )

    def rights(self) -> dict[str, Any]:
        """What was given of who may watch and write."""
        return self.model_dump(exclude_unset=True, include=_RIGHTS)

    def values(self) -> dict[str, Any]:
        """What was given besides, as ``ChannelOptions`` takes it."""
        given = self.model_dump(exclude_unset=True, exclude=_RIGHTS)
        for name in ("publish_from", "view_from"):
            if name in given:
                given[name] = tuple(given[name])
        if "connection" in given:
            given["connection"] = Connection.parse(given["connection"])
        return given


#: Fields of a channel that are not among its options.
_RIGHTS = {"private", "view_access", "guests_chat"}


class ChannelNew(ChannelChange):
    """A channel to be made."""

    name: str = Field(description="1 to 64 letters, digits, `.`, `_` or `-`; part of its URLs.")
    key: str = Field(
        "",
        max_length=MAX_KEY,
        description="A stream key that an administrator chose, 8 characters or more; empty: one "
        "is made.",
    )

    def values(self) -> dict[str, Any]:
        given = super().values()
        for name in ("name", "key"):
            given.pop(name, None)
        return given


class TotalsAnswer(BaseModel):
    """The whole server since it started."""

    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int
    foreign_packets: int = Field(description="From an address, SSRC or payload type not expected.")
    malformed_packets: int
    send_errors: int
    events_lost: int
    readers: int
    connections: int = Field(description="RTSP and WebSocket connections.")
    channels: int
    channels_on_air: int


class ServerAnswer(BaseModel):
    name: str
    version: str
    uptime: float = Field(description="Seconds since the start.")


def channel_answer(
    request: Request, context: WebContext, channel: Channel, identity: Identity
) -> dict[str, Any]:
    """A ``ChannelAnswer`` for who may know of the channel."""
    stats = channel.stats()
    on_air = channel.state is State.ON_AIR
    seen = on_air and context.pictures is not None and not channel.options.view_key
    has_video = any(track.kind == "video" for track in channel.tracks)
    since = None if channel.since is None else channel.since.isoformat()
    record = None if channel.standing is None else channel.standing.record
    owner = None if record is None else record.owner
    account = identity.account
    return {
        "name": channel.name,
        "title": channel.title,
        "state": channel.state.value,
        "since": since,
        "tracks": [
            {
                "id": track.id,
                "kind": track.kind.value,
                "codec": track.codec.value,
                "clock_rate": track.clock_rate,
                "channels": track.channels,
            }
            for track in channel.tracks
        ],
        "readers": channel.audience.places,
        "max_readers": channel.options.max_readers,
        "bitrate": stats.bitrate_bps,
        "inputs": [{"active": False} | row for row in channel.inputs()],
        "picture": f"/api/v1/channels/{channel.name}/picture" if seen and has_video else None,
        "urls": urls(request, context, channel.name),
        "owner": None if owner is None else owner.display_name,
        "mine": owner is not None and account is not None and owner.id == account.id,
        "closed": channel.name in context.roster.gate.closed,
        "private": record is not None and record.private,
        "view_access": ViewAccess.EVERYONE if record is None else record.view_access,
        "guests_chat": record is None or record.guests_chat,
        "on_air_since": since if on_air else None,
    }


def managed_answer(
    request: Request, context: WebContext, channel: Channel, identity: Identity
) -> dict[str, Any]:
    """A ``ChannelManaged``."""
    options = channel.options
    settings = {name: getattr(options, name) for name in ChannelSettings.model_fields}
    settings["connection"] = str(options.connection)
    return {**channel_answer(request, context, channel, identity), "settings": settings}


def changed(options: ChannelOptions, change: ChannelChange) -> ChannelOptions:
    """``options`` with what the change gives; the ring's settings stay."""
    kept = {name: getattr(options, name) for name in ChannelOptions.__dataclass_fields__}
    return ChannelOptions(**(kept | change.values()))


def urls(request: Request, context: WebContext, name: str) -> dict[str, str]:
    """Where to watch, by the host that the client asked for or the public one."""
    asked = request.url
    host, port = context.public_host or asked.hostname or "localhost", asked.port
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    place = host if port is None else f"{host}:{port}"
    secure = "s" if asked.scheme == "https" else ""
    rtsp, rtmp = context.rtsp_port, context.rtmp_port
    return {
        "page": f"http{secure}://{place}/watch/{name}",
        "websocket": f"ws{secure}://{place}/ws/{name}",
        "rtsp": f"rtsp://{host}:{rtsp}/{name}" if rtsp else "",
        "rtmp": f"rtmp://{host}:{rtmp}/live" if rtmp else "",
        "hls": f"http{secure}://{place}/hls/{name}/index.m3u8",
    }


def without_user(peer: str) -> str:
    """An address or URL without the user and password that a camera's URL may have."""
    scheme, mark, rest = peer.partition("://")
    if not mark:
        return peer
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
