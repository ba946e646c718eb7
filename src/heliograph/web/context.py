"""What the web application knows of the server around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from heliograph.live.registry import Channels

if TYPE_CHECKING:
    from heliograph.web.pictures import Pictures

#: The pages as the build leaves them.
STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True)
class WebContext:
    """Made once by whoever assembles the server."""

    channels: Channels
    administrator_key: str
    """Shown as a bearer token by whoever may administrate."""
    version: str
    name: str = "heliograph"
    """How the server calls itself."""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When the server started, with time zone."""
    public_host: str = ""
    """Host in the URLs that are shown, without a port; empty: the one the client asked for."""
    rtsp_port: Callable[[], int] = lambda: 8554
    """The port really listened on; 0: no RTSP server."""
    pictures: Pictures | None = None
    """None: channels have no pictures."""
    problems: Callable[[], list[str]] = list
    """Why the server is not ready for work; empty: it is."""
    lost_log_lines: Callable[[], int] = lambda: 0
    http_counters: Callable[[], Mapping[str, int]] = dict
    """Counters of the HTTP server: name without prefix → value."""
    static: Path = STATIC
    """Directory of the built pages."""
