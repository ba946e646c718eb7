"""Settings of what is counted, and for how long it is kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from heliograph.node.settings.base import Section


class StatisticsSettings(Section):
    """What was asked for and played: see [reports](reports.md)."""

    addresses: Literal["full", "network", "none"] = "network"
    """What is kept of clients' addresses: `full`, their `network` (a /24, of IPv6 a /48), or
    `none`; then there are no figures of clients. What was kept before stays as it is."""
    retention_days: int = Field(default=366, ge=1, le=3660)
    """Days that counts by hour and day are kept."""
    plays_days: int = Field(default=31, ge=1, le=3660)
    """Days that single plays are kept; reports count on without them."""
    half_life_hours: float = Field(default=168.0, ge=0.1, le=10_000)
    """Hours after which a use counts half for the popularity of titles."""
    journal_bytes: int = Field(default=64 << 20, ge=1 << 20, le=1 << 40)
    """Bytes that may wait on disk while the database is away; above, the oldest are dropped, and
    counted as missing."""
