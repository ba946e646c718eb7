"""Signs of life that an RTSP client gives by its media."""

from __future__ import annotations

from heliograph.live.publish import Publishing
from heliograph.plane import ReaderStats, SenderStats


class Signs:
    """Of one connection."""

    def __init__(self) -> None:
        self._seen_packets = -1

    def of_publisher(self, publishing: Publishing) -> float | None:
        """Seconds since its newest packet; None without any."""
        source = publishing.source
        stats = publishing.channel.stats()
        age_ms = next((s.last_packet_age_ms for s in stats.sources if s.source == source), -1)
        return age_ms / 1000 if age_ms >= 0 else None

    def of_viewer(self, found: ReaderStats | SenderStats, *, tcp: bool) -> float | None:
        """Seconds since the last sign of a viewer with those counters; None without any."""
        if tcp and found.packets != self._seen_packets:
            # TCP took packets since the last look: somebody at the other end reads them.
            self._seen_packets = found.packets
            return 0.0
        return found.last_rtcp_age_ms / 1000 if found.last_rtcp_age_ms >= 0 else None
