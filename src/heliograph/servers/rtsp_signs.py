"""Signs of life that an RTSP client gives by its media."""

from __future__ import annotations

from heliograph.live.publish import Publishing
from heliograph.live.readers import Reader, ReaderKind


class Signs:
    """Of one connection."""

    def __init__(self) -> None:
        self._seen_packets = -1

    def age(self, publishing: Publishing | None, reader: Reader | None) -> float | None:
        """Seconds since the last one; None without any."""
        if publishing is not None:
            source = publishing.source
            stats = publishing.channel.stats()
            age_ms = next((s.last_packet_age_ms for s in stats.sources if s.source == source), -1)
            return age_ms / 1000 if age_ms >= 0 else None
        if reader is None:
            return None
        found = reader.stats()
        if reader.kind is ReaderKind.RTSP_TCP and found.packets != self._seen_packets:
            # TCP took packets since the last look: somebody at the other end reads them.
            self._seen_packets = found.packets
            return 0.0
        return found.last_rtcp_age_ms / 1000 if found.last_rtcp_age_ms >= 0 else None
