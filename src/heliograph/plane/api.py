"""The plane's surface as a protocol, so that code above runs on the native plane and its twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from heliograph.model.errors import ResourceError

if TYPE_CHECKING:
    from heliograph.plane._plane import _Event as Event
    from heliograph.plane._plane import _TrackSpec as RawTrackSpec


class RtcPort(Protocol):
    """See ``_plane.pyi``."""

    @property
    def port(self) -> int: ...
    def publish(
        self, offer: str, codecs: list[str]
    ) -> tuple[int, str, list[tuple[str, str, int, int, str, int, list[str]]]]: ...
    def attach(self, session: int, input: int, places: list[tuple[int, int]]) -> None: ...
    def view(
        self, channel: int, offer: str, tracks: list[tuple[int, str, str, int, int, str, int]]
    ) -> tuple[int, str]: ...
    def patch(self, session: int, fragment: str) -> str | None: ...
    def close_session(self, session: int) -> None: ...
    def limit(self, reader: int, track: int | None) -> None: ...
    def counters(self) -> dict[str, int]: ...
    def close(self) -> None: ...


class TlsPort(Protocol):
    """See ``_plane.pyi``."""

    def fileno(self) -> int: ...
    def accept(self, limit: int = 64) -> list[tuple[int, str, int]]: ...
    def certify(self, chain: bytes, key: bytes) -> None: ...
    def counters(self) -> dict[str, int]: ...
    def shut(self) -> None: ...


class Plane(Protocol):
    """See ``_plane.pyi`` for what each call does; names, order and defaults are the same."""

    def fileno(self) -> int: ...
    def drain(self, limit: int = 4096) -> list[Event]: ...
    def close(self) -> None: ...

    def open_channel(
        self,
        *,
        depth_ms: int = 3000,
        max_bytes: int = 16 << 20,
        silence_ms: int = 1000,
        return_ms: int = -1,
        coalesce_us: int = 1500,
        tcp_interval_ms: int = 0,
        lag_ms: int = 1000,
    ) -> int: ...
    def close_channel(self, channel: int) -> None: ...
    def add_source(self, channel: int, priority: int, tracks: list[RawTrackSpec]) -> int: ...
    def remove_source(self, source: int) -> None: ...
    def add_input(self, source: int) -> int: ...
    def remove_input(self, input: int) -> None: ...
    def push(self, input: int, track: int, packets: list[bytes]) -> int: ...
    def push_rtcp(self, input: int, track: int, packet: bytes) -> None: ...

    def bind_udp(
        self,
        address: str,
        port: int,
        *,
        rtcp: bool = True,
        group: str | None = None,
        interface: str | None = None,
        ttl: int = 16,
    ) -> tuple[int, int, int]: ...
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
    ) -> None: ...

    def adopt(
        self,
        fd: int,
        kind: Literal["rtsp", "websocket"],
        received: bytes = b"",
        max_message: int = 65536,
    ) -> int: ...
    def conn_send(self, conn: int, data: bytes) -> None: ...
    def conn_publish(self, conn: int, input: int, tracks: list[tuple[int, int, int]]) -> None: ...
    def conn_close(self, conn: int) -> None: ...

    def add_conn_reader(
        self, channel: int, conn: int, tracks: list[tuple[int, int, int]]
    ) -> int: ...
    def add_udp_reader(
        self, channel: int, endpoint: int, tracks: list[tuple[int, str, int, int]]
    ) -> int: ...
    def add_tap(
        self, channel: int, tracks: list[int], *, frames: bool = False, capacity: int = 1024
    ) -> int: ...
    def position_reader(self, reader: int) -> Sequence[tuple[int, int, int]]: ...
    def start_reader(self, reader: int) -> None: ...
    def pause_reader(self, reader: int) -> None: ...
    def remove_reader(self, reader: int) -> None: ...
    def read_tap(
        self, reader: int, limit: int = 256
    ) -> tuple[list[tuple[int, int, int, int, int, int, bytes]], int]: ...
    def keyframe(self, channel: int, track: int) -> bytes | None: ...

    def rtc_open(
        self, address: str, candidates: list[str], *, capacity: int = 10_000, tcp: bool = True
    ) -> RtcPort: ...

    def tls_open(
        self,
        fd: int,
        chain: bytes,
        key: bytes,
        *,
        connections: int = 20_000,
        handshake_ms: int = 5_000,
    ) -> TlsPort: ...

    def totals(self) -> dict[str, int]: ...
    # A plain dict is invariant in its values: what the twin and the extension nest differs.
    def channel_stats(self, channel: int) -> dict[str, Any]: ...
    def reader_stats(self, reader: int) -> dict[str, Any]: ...


def open_plane(workers: int = 1) -> Plane:
    """Open the native plane with ``workers`` threads that move packets.

    Raises ``ResourceError`` where the extension is not built or the machine refuses.
    """
    try:
        from heliograph.plane import _plane
    except ImportError as error:
        raise ResourceError(
            f"the packet plane's extension is not built ({error}); 'make build' builds it",
            subject="plane",
        ) from error
    try:
        return _plane.Plane(workers=workers)
    except OSError as error:
        raise ResourceError(f"the packet plane cannot start: {error}", subject="plane") from error
