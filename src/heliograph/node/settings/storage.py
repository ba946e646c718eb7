"""Settings of titles on this node's disks."""

from __future__ import annotations

from pydantic import Field, model_validator

from heliograph.node.settings.base import Section, fail


class StorageSettings(Section):
    """Titles on disks: see [storage](storage.md). Which disks there are is no setting: they are
    added and removed while the server runs, by `helio disk`."""

    port: int = Field(default=7460, ge=0, le=65535)
    """TCP port at which other nodes of a cluster read and write blocks; 0: any free one."""
    cache_bytes: int = Field(default=256 << 20, ge=0, le=1 << 40)
    """Bytes of blocks that are kept in memory because others are about to want them."""
    network_bps: int = Field(default=1_000_000_000, ge=1_000_000, le=1_000_000_000_000)
    """Bits a second that this node promises to viewers of titles at most: what its link carries."""
    ahead_bps: int | None = Field(default=None, ge=0, le=1_000_000_000_000)
    """Bits a second up to which blocks are sent before they are due, to players that take them so
    from several nodes; 0: none are. At most `network_bps`; without it 97 % of that. What the
    node sends viewers by RTSP and WebRTC is part of it; HLS, files and what other nodes get are
    not counted: they have to fit in the rest of its link."""
    packets_per_second: int | None = Field(default=None, ge=1_000, le=1_000_000_000)
    """Packets a second of titles that this node promises to send at most: what its cores can do
    beside all else; without it 100 000 for each core that the server may use."""
    max_upload_bytes: int = Field(default=1 << 40, ge=1 << 20, le=1 << 50)
    """Bytes of a file that is imported, at most."""

    @model_validator(mode="after")
    def _check(self) -> StorageSettings:
        if self.ahead_bps is not None and self.ahead_bps > self.network_bps:
            raise fail("must be at most storage.network_bps", "ahead_bps")
        return self
