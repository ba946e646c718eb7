"""The boundary between Python and the packet plane. Ids are positive integers, never reused.

Nothing here blocks beyond a short lock. A call that names an id which is gone raises ``KeyError``
where an answer is needed and is ignored where it is an order (closing twice is harmless).
System failures raise ``OSError`` with errno. Addresses are numeric, IPv4 or IPv6.
"""

from typing import Literal, TypeAlias, final

__all__ = ["MeshPort", "Plane", "RtcPort", "TlsPort"]

#: (track id 0–255, "video"|"audio"|"data", codec name as ``model.media.Codec``, clock rate,
#:  payload type, parameter sets sent out of band as NAL units without start codes,
#:  AAC (sizelength, indexlength, indexdeltalength) of RFC 3640)
_TrackSpec: TypeAlias = tuple[int, str, str, int, int, list[bytes], tuple[int, int, int]]

#: A track of a WebRTC publisher: kind, codec, clock rate, channels, format parameters as in
#: ``a=fmtp``, payload type, simulcast layers (rids) in the publisher's order.
_Published: TypeAlias = tuple[str, str, int, int, str, int, list[str]]
#: A track for a WebRTC viewer: (track id, kind, codec, clock rate, channels, format parameters,
#: bits a second or 0).
_Viewed: TypeAlias = tuple[int, str, str, int, int, str, int]

#: The first member is the event's name:
#: ("source-active", channel, source, epoch, layout_changed: bool)
#: ("source-silent", channel, source)       nothing came for the channel's silence time
#: ("channel-silent", channel)              no source of the channel delivers any more
#: ("control", conn, data: bytes)           an RTSP message or a WebSocket text message, whole
#: ("conn-closed", conn, reason: str)       "eof" | "reset" | "malformed" | "overflow" | "closed"
#: ("reader-closed", reader, reason: str)   its connection or its channel went away
#: ("tap-ready", reader)                    read_tap has something, where it had nothing
#: ("rtc-state", session, state: str)       "connected" | "disconnected": nothing heard for 8 s
#: ("rtc-closed", session, reason: str)     it is gone; for a viewer after its "reader-closed"
#: ("mesh-up", link)                        both ends of a mesh link hear each other
#: ("mesh-message", link, message: bytes)
#: ("mesh-silent", link)                    nothing is heard of its peer; before "mesh-up": for 2 s
#: ("mesh-back", link)                      the peer is heard again
#: ("mesh-closed", link, reason: str)       "peer": the peer ended it; "malformed": it sent nonsense
#: ("sender-low", sender, queued_us)        a paced sender wants to be fed
#: ("sender-ended", sender)                 everything is sent, or ``until_us`` is reached
#: ("sender-closed", sender, reason: str)   its connection went away
#: ("overflow", dropped: int)               events lost because Python did not drain
_Event: TypeAlias = tuple[str | int | bool | bytes, ...]

@final
class Plane:
    def __new__(cls, *, workers: int = 1, events: int = 65536) -> Plane: ...
    def fileno(self) -> int:
        """An eventfd, readable while events wait."""
    def drain(self, limit: int = 4096) -> list[_Event]:
        """Take up to ``limit`` events; clears the eventfd when none are left."""
    def close(self) -> None:
        """Stop the workers and close every socket; waits for the threads (bounded)."""

    # channels, sources, inputs
    def open_channel(
        self,
        *,
        depth_ms: int = 3000,
        max_bytes: int = ...,
        silence_ms: int = 1000,
        return_ms: int = ...,
        coalesce_us: int = 1500,
        tcp_interval_ms: int = 0,
        lag_ms: int = 1000,
    ) -> int:
        """Open a channel's ring.

        ``depth_ms``/``max_bytes``: how far the ring reaches back (to the last keyframe even beyond
        ``depth_ms``, never beyond ``max_bytes``; default 16 MiB). ``silence_ms``: an input that
        says nothing for so long is silent. ``return_ms``: a better source takes over again once it
        has been well for so long (default -1: never by itself). ``coalesce_us``: how long a packet
        may wait for the rest of its frame. ``tcp_interval_ms``: least time between two writes to
        one TCP reader (0: every frame). ``lag_ms``: a TCP reader further behind loses video.
        """
    def close_channel(self, channel: int) -> None: ...
    def add_source(self, channel: int, priority: int, tracks: list[_TrackSpec]) -> int:
        """Announce a source; lower ``priority`` is better. The best that delivers is relayed.

        ``tracks`` are as the source sends them. Readers see one payload type for the channel's
        life: that of the first source of the format.
        """
    def add_mesh_source(self, channel: int, priority: int, tracks: list[_TrackSpec]) -> int:
        """Announce a source whose packets another unit numbered; they are relayed as they are.

        Its inputs are fed by ``MeshPort.take``. Epoch, number and RTP header of a packet are kept;
        of copies over several inputs the first counts; packets of epochs that are over are dropped.
        ``tracks`` are as readers at the numbering unit see them. "source-active" is told for each
        epoch.
        """
    def channel_marks(self, channel: int) -> list[tuple[int, int, int]]:
        """What is here: (track, epoch, number), nothing before the number missing that a ring of
        this channel's depth may still hold. ``MeshPort.serve`` at another unit goes on after it."""
    def flush_channel(self, channel: int) -> None:
        """Forget what was relayed: who comes next begins with what comes next."""
    def claim_epoch(self, channel: int, epoch: int) -> None:
        """The next source of this unit that is relayed gets an epoch above this. After packets that
        another unit numbered it goes on with their numbers (256 left out) and timestamps."""
    def overtake_epoch(self, channel: int, epoch: int, numbers: list[tuple[int, int]]) -> None:
        """Claim an epoch that others have packets of: where a source of this unit is relayed in one
        that is not above it, its next packet begins another, 256 numbers above its own and those
        of ``numbers``, (track, number). Readers need no keyframe for it."""
    def remove_source(self, source: int) -> None: ...
    def add_input(self, source: int) -> int:
        """One way by which a source's packets come. Several are copies: first arrival wins."""
    def remove_input(self, input: int) -> None: ...
    def push(self, input: int, track: int, packets: list[bytes]) -> int:
        """RTP packets from Python; the number accepted."""
    def push_rtcp(self, input: int, track: int, packet: bytes) -> None: ...

    # UDP
    def bind_udp(
        self,
        address: str,
        port: int,
        *,
        rtcp: bool = True,
        group: str | None = None,
        interface: str | None = None,
        ttl: int = 16,
    ) -> tuple[int, int, int]:
        """Bind an endpoint; (endpoint, RTP port, RTCP port or 0). Port 0 picks an even/odd pair.

        ``group``: join this multicast group, on the interface with address ``interface``.
        """
    def close_endpoint(self, endpoint: int) -> None: ...
    def attach_udp(
        self,
        input: int,
        track: int,
        endpoint: int,
        *,
        payload_type: int,
        remote: str | None = None,
        rtp_port: int | None = None,
        rtcp_port: int | None = None,
    ) -> None:
        """Take a track's packets from an endpoint. Without a port the first sender is kept."""

    # TCP connections handed over
    def adopt(
        self,
        fd: int,
        kind: Literal["rtsp", "websocket"],
        received: bytes | None = None,
        max_message: int = 65536,
    ) -> int:
        """Take a connected socket (duplicated: close yours). ``received``: read so far.

        Behind a socket that ``TlsPort.accept`` gave, the plane takes the TLS connection itself.
        """
    def conn_send(self, conn: int, data: bytes) -> None:
        """Queue an RTSP message verbatim, or a WebSocket text message, in order with the media."""
    def conn_publish(self, conn: int, input: int, tracks: list[tuple[int, int, int]]) -> None:
        """Packets that come on the connection: (track, RTP channel, RTCP channel)."""
    def conn_close(self, conn: int) -> None:
        """Send what is queued (bounded), then close."""

    # readers
    def add_conn_reader(self, channel: int, conn: int, tracks: list[tuple[int, int, int]]) -> int:
        """A reader on a connection: (track, RTP channel, RTCP channel); frames on WebSocket."""
    def add_udp_reader(
        self, channel: int, endpoint: int, tracks: list[tuple[int, str, int, int]]
    ) -> int:
        """A reader by UDP: (track, address, RTP port, RTCP port or 0); a group is one reader."""
    def add_tap(
        self, channel: int, tracks: list[int], *, frames: bool = False, capacity: int = 1024
    ) -> int:
        """A reader in Python; of what waits the newest ``capacity`` are kept, the rest counted."""
    def position_reader(self, reader: int) -> list[tuple[int, int, int]]:
        """Put the reader at the last keyframe; (track, next sequence number, next timestamp)."""
    def start_reader(self, reader: int) -> None: ...
    def pause_reader(self, reader: int) -> None: ...
    def remove_reader(self, reader: int) -> None: ...
    def read_tap(
        self, reader: int, limit: int = 256
    ) -> tuple[list[tuple[int, int, int, int, int, int, bytes]], int]:
        """([(track, epoch, number, time, arrival µs, flags, data)], dropped since last call).

        Packets: ``time`` is the RTP timestamp, ``data`` the RTP packet. Frames: ``time`` is the
        presentation time in Unix µs, ``data`` the access unit. Flags: 1 keyframe, 2 discontinuity,
        4 RTCP (packets only), 8 marker.
        """
    def keyframe(self, channel: int, track: int) -> bytes | None:
        """The newest whole key access unit of a video track, parameter sets included."""
    def want_keyframe(self, channel: int, track: int) -> None:
        """Ask whoever feeds a channel's track, or ``attach_lower``'s, for a keyframe: a publisher
        by WebRTC, or the units it comes from. Requests that come together, or soon after another,
        are one; other publishers cannot be asked."""

    # paced senders of titles (docs/wire/blocks.md)
    def monotonic_us(self) -> int:
        """The clock of ``sender_start``'s ``at_us``: the machine's monotonic one, in µs."""
    def open_sender(
        self,
        tracks: list[tuple[int, int, int, int, int, int]],
        *,
        cname: str = "",
        low_us: int = 3_000_000,
        max_bytes: int = ...,
        node: tuple[int, int] | None = None,
        keep_us: int = 2_000_000,
        ahead_us: int = 0,
    ) -> int:
        """Open a sender for one viewer; idle until it has a destination, blocks and a start.

        ``tracks``: (track, SSRC, payload type, clock rate, sequence number of the first packet,
        timestamp of the media time of the first start). Records of other tracks are left out.
        ``low_us``: "sender-low" is told while it plays and less than so much, in time of the
        viewer, is fed. ``max_bytes`` of blocks wait at most (default 32 MiB).

        ``node``: (node number 0–65535, id 1–14 of an RTP header extension): packets carry
        docs/wire/bipartite.md's extension, sequence numbers and timestamps are the session's
        plus the title's own, whatever is sent from elsewhere, the clock given by ``at_us`` never
        slips, and packets are kept for ``keep_us`` for ``sender_resend``. By UDP they may go
        ``ahead_us`` before they are due, where ``limit_ahead`` leaves room: those of all senders
        that are due first, and of one at most half as many again as are due. ``ValueError``: a
        track twice, or a value out of its range.
        """
    def limit_ahead(self, bits: int) -> None:
        """Let packets go before they are due while all that is sent to viewers of channels and
        titles is less than so many bits a second, all headers counted; 0, as at the start: none
        does. What is due is sent in any case."""
    def sender_to_udp(
        self, sender: int, endpoint: int, destinations: list[tuple[int, str, int, int]]
    ) -> None:
        """Send by UDP: (track, address, RTP port, RTCP port or 0). Tracks not named are not sent.
        Receiver reports are known by address and RTCP port."""
    def sender_to_conn(self, sender: int, conn: int, tracks: list[tuple[int, int, int]]) -> None:
        """Send on an adopted RTSP connection: (track, RTP channel, RTCP channel). While it takes
        nothing the sender waits, and nothing is lost."""
    def sender_feed(self, sender: int, block: bytes) -> None:
        """Queue a block, in order of media time; of a node's part it may come late, and goes out
        before what waits. ``ValueError``: malformed, out of order, or after ``sender_end``;
        ``BlockingIOError``: more than ``max_bytes`` would wait."""
    def sender_start(
        self,
        sender: int,
        from_us: int,
        *,
        at_us: int | None = None,
        rate: float = 1.0,
        scale: float = 1.0,
        keys_only: bool | None = None,
        until_us: int | None = None,
        tracks: list[int] | None = None,
    ) -> list[tuple[int, int, int]]:
        """Play: media time ``from_us`` is due at ``at_us`` (default: now).

        Each track begins at its last key unit due at ``from_us`` or before, if that is fed and not
        sent yet; what is due before ``from_us`` goes out at once. Without such a unit it begins at
        ``from_us``; after a pause without ``sender_flush`` with the next packet not sent.
        ``rate``: how fast packets go out (RTSP's Speed), 1/64 to 64. ``scale``: how fast media time
        goes, timestamps divided by it. ``keys_only``: only packets of key units (default: when
        ``scale`` is above 1). ``until_us``: packets due from then on are not sent. ``tracks``: send
        only these. Returns (track, next sequence number, timestamp of ``from_us``) as for RTP-Info;
        timestamps go on as the wall clock does, over seeks and pauses (RFC 2326 appendix B).
        ``ValueError``: no destination, or a value out of its range.
        """
    def sender_pause(self, sender: int) -> int:
        """Stop for a while; the media time, µs, from which ``sender_start`` loses nothing."""
    def sender_rate(
        self, sender: int, rate: float, *, at_us: int | None = None, from_us: int | None = None
    ) -> None:
        """Change ``rate`` from ``at_us`` on (default: now), which may be a little ago: nodes that
        send parts of one title change together. ``from_us``: that media time is due then, so that
        clocks that drift apart are set. Timestamps stay as they are."""
    def sender_flush(self, sender: int) -> None:
        """Stop, and forget what was fed: feed and start anew. RTP numbering goes on."""
    def sender_end(self, sender: int) -> None:
        """Nothing more will be fed: after the last packet comes RTCP's BYE and "sender-ended"."""
    def sender_resend(self, sender: int, numbers: list[int]) -> int:
        """Send packets again by their node sequence numbers, each once at most; how many were.
        For a sender with ``node`` only. Its player asks by RTCP (docs/wire/bipartite.md)."""
    def sender_stats(self, sender: int) -> dict[str, int | str]: ...
    def close_sender(self, sender: int) -> None: ...

    # WebRTC
    def rtc_open(
        self, address: str, candidates: list[str], *, capacity: int = 10_000, tcp: bool = True
    ) -> RtcPort:
        """Bind a port (``address`` is ``host:port``, port 0: any) for all WebRTC sessions.

        ``candidates``: where peers are told to find it, ``host:port``, best first; port 0 stands
        for the port bound. At most ``capacity`` sessions. ``tcp``: the TCP port of the same number
        is listened on as well (RFC 6544), for at most ``capacity`` connections.
        """

    # mesh links
    def mesh_open(
        self,
        address: str,
        *,
        multicast_port: int = 0,
        multicast_interface: str = "",
        multicast_ttl: int = 1,
    ) -> MeshPort:
        """Bind a port (``host:port``, port 0: any) for mesh links, by UDP and by TCP.

        ``multicast_port``: the UDP port of the IPv4 groups of casts, which several ports may share;
        0: no multicast. ``multicast_interface``: address of its interface; empty: by the routes.
        """

    # HTTPS
    def tls_open(
        self,
        fd: int,
        chain: bytes,
        key: bytes,
        *,
        connections: int = 20_000,
        handshake_ms: int = 5_000,
    ) -> TlsPort:
        """End TLS on a listening socket (duplicated: close yours), in a thread of its own.

        ``chain``, ``key``: PEM, the server's own certificate first; ``ValueError`` says why they
        cannot be used. ``connections``: at a time, those adopted not counted. ``handshake_ms``:
        how long a handshake may take.
        """

    # numbers
    def totals(self) -> dict[str, int]: ...
    def channel_stats(self, channel: int) -> dict[str, int | list[dict[str, int | str]]]: ...
    def reader_stats(self, reader: int) -> dict[str, int | str]: ...

@final
class MeshPort:
    """Mesh links on one port; made by ``Plane.mesh_open``. A link's id is never reused.

    ``serve``, ``take``, ``send`` and ``stats`` of a link that is gone raise ``KeyError``.
    """

    @property
    def port(self) -> int: ...
    def link(
        self,
        local: int,
        remote: int,
        peer: str,
        send_key: bytes,
        receive_key: bytes,
        *,
        tcp: bool = False,
        connect: bool = True,
        keepalive_ms: int = 50,
        silence_ms: int = 200,
    ) -> int:
        """Open our end of a link; the peer opens its own with names and keys exchanged.

        ``local``, ``remote``: 32-bit names by which datagrams name the link at either end;
        ``ValueError`` when ``local`` is in use here. Keys, new ones for each link: 16 bytes for
        AES-128-GCM, 32 for ChaCha20-Poly1305. ``peer``: ``host:port``; without ``connect`` the peer
        speaks first (by TCP: makes the connection) and is answered wherever it is, and ``peer`` may
        be empty. Nothing is served while the peer is silent; what it may have missed is then sent
        out of the channels' rings.
        """
    def send(self, link: int, message: bytes) -> None:
        """Send a message of at most 64 KiB: reliable, in order, a "mesh-message" at the peer.

        ``ValueError``: too long; ``BlockingIOError``: 4 MiB wait already.
        """
    def serve(self, link: int, wire: int, channel: int, after: list[tuple[int, int, int]]) -> None:
        """Send a channel's packets under the number ``wire`` (0–65535), until ``stop``.

        They begin after (track, epoch, number), as far as the ring reaches; tracks that are not
        named, or all without ``after``, at the newest keyframe.
        """
    def stop(self, link: int, wire: int) -> None: ...
    def take(self, link: int, wire: int, input: int) -> None:
        """Feed an input with what comes under ``wire``: of a mesh source as it is, of any other
        source numbered anew here."""
    def release(self, link: int, wire: int) -> None: ...
    def rest(self, link: int, wire: int) -> None:
        """Send what the channel's ring holds by now under ``wire``, and then no more, as the peer
        hears a cast; what it wishes under the number is heard on. ``serve`` goes on."""
    def cast(
        self, name: int, key: bytes, channel: int, group: str, *, keepalive_ms: int = 50
    ) -> int:
        """Send what comes on a channel from now on to a multicast group; the cast's id.

        ``name``: 32 bits by which its datagrams are known; ``key``: of this cast alone, as for
        ``link``. ``ValueError``: no multicast at this port, or the name is in use.
        """
    def end_cast(self, cast: int) -> None: ...
    def admit(self, cast: int, link: int) -> None:
        """Answer what a link's peer misses of a cast, by the link; ``KeyError`` without one."""
    def dismiss(self, cast: int, link: int) -> None: ...
    def listen(self, link: int, wire: int, name: int, key: bytes, group: str) -> None:
        """Receive a cast of a link's peer: what it brings feeds what ``wire`` feeds, and what is
        missing is asked for over the link. "mesh-cast" tells when it is heard by multicast, and
        when it is not for the link's ``silence_ms``. ``KeyError``: no such link; ``ValueError``:
        the name is in use; ``OSError``: the group cannot be joined.
        """
    def ignore(self, link: int, name: int) -> None:
        """Receive it no more."""
    def cast_stats(self, cast: int) -> dict[str, int]: ...
    def heard_stats(self, link: int, name: int) -> dict[str, int]: ...
    def close_link(self, link: int) -> None:
        """Tell the peer and forget the link; no event tells of it here."""
    def stats(self, link: int) -> dict[str, int]: ...
    def counters(self) -> dict[str, int]: ...
    def close(self) -> None:
        """Close the port; the peers of its links are told."""

@final
class RtcPort:
    """WebRTC on one port; made by ``Plane.rtc_open``.

    Offers that are refused raise ``ValueError(kind, message)``, kind being "malformed",
    "too-large", "nothing" (no media in the direction wanted), "codec" (none in common, or pictures
    that come reordered), "full" or "unknown" (no such session). What brings a fault about is
    "malformed", and counted under "faults". A session's id is never reused.
    """

    @property
    def port(self) -> int: ...
    def publish(self, offer: str, codecs: list[str]) -> tuple[int, str, list[_Published]]:
        """Open a publisher's session: (session, answer, tracks). One codec a track is taken, of
        those named, the peer's favourite. Nothing is relayed before ``attach``."""
    def attach(self, session: int, input: int, places: list[tuple[int, int]]) -> None:
        """Let a publisher's tracks feed an input: (index of the track in the answer, track id). Of
        a track in several simulcast layers the best that comes feeds the input; viewers of this
        port get the one that their way has room for."""
    def attach_lower(self, session: int, input: int, place: int, track: int, below: int) -> None:
        """Let the layer so many places ``below`` the best of those that come feed a track of
        another channel's input too, until that is removed; the last one where they are fewer.
        ``place`` as for ``attach``; ``KeyError`` where that track has one layer only."""
    def view(self, channel: int, offer: str, tracks: list[_Viewed]) -> tuple[int, str]:
        """Open a viewer's session: (session, which is also the reader's id; answer). It plays from
        when it is connected. Where the channel's publisher sends layers, bandwidth is estimated."""
    def patch(self, session: int, fragment: str) -> str | None:
        """Take candidates, or an ICE restart, whose answering fragment is returned (RFC 9725)."""
    def close_session(self, session: int) -> None: ...
    def limit(self, reader: int, track: int | None) -> None:
        """Send a viewer no better rendition than this track."""
    def counters(self) -> dict[str, int]: ...
    def close(self) -> None:
        """Close the port; the peers of its sessions are told."""

@final
class TlsPort:
    """An HTTPS port; made by ``Plane.tls_open``. It is used like a listening socket."""

    def fileno(self) -> int:
        """An eventfd, readable while connections wait for ``accept``."""
    def accept(self, limit: int = 64) -> list[tuple[int, str, int]]:
        """Take connections whose handshake is done: (descriptor, peer's address, its port).

        The descriptor is a stream socket for plaintext, and the caller's to close; closing it ends
        the connection once everything written is sent.
        """
    def certify(self, chain: bytes, key: bytes) -> None:
        """Use another certificate for connections to come; ``ValueError``: the old one stays."""
    def counters(self) -> dict[str, int]: ...
    def shut(self) -> None:
        """Listen no more; what is open goes on until it ends or the plane is closed."""
