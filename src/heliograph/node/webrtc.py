"""WebRTC of a node: one port for all sessions, as the settings say."""

from __future__ import annotations

import structlog

from heliograph.live.offers import OfferLimits
from heliograph.live.transcoding import Transcodes
from heliograph.live.webrtc import Rtc
from heliograph.model.errors import ResourceError
from heliograph.node.addresses import candidates
from heliograph.node.settings import Settings
from heliograph.plane import PlaneLoop

log = structlog.get_logger(__name__)


def open_rtc(settings: Settings, loop: PlaneLoop, transcodes: Transcodes) -> Rtc | None:
    """Listen; None: it is switched off. ``ResourceError``: the port cannot be had."""
    webrtc = settings.webrtc
    if not webrtc.enabled:
        return None
    host = f"[{webrtc.host}]" if webrtc.host.version == 6 else str(webrtc.host)
    address = f"{host}:{webrtc.port}"
    known = candidates(str(webrtc.host), map(str, webrtc.public_addresses))
    try:
        port = loop.plane.rtc_open(address, known, capacity=webrtc.max_sessions, tcp=webrtc.tcp)
    except OSError as error:
        raise ResourceError(
            f"cannot listen for WebRTC at {address}: {error.strerror or error} (webrtc.port)",
            subject="webrtc.port",
        ) from error
    limits = OfferLimits(webrtc.max_sessions_per_address, webrtc.offers_per_minute)
    rtc = Rtc(loop, port, transcodes, limits)
    log.info("webrtc listens", port=port.port, addresses=[one[:-2] for one in known])
    return rtc
