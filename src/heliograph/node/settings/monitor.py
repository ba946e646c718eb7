"""Settings of the monitor: how servers are measured, and what makes them up or down."""

from __future__ import annotations

from pydantic import Field

from heliograph.node.settings.base import Section


class MonitorSettings(Section):
    """How the servers that hold titles are watched. See [monitor](monitor.md). All of it may be
    changed while the server runs: `SIGHUP` has it read again."""

    enabled: bool = True
    """Whether this node measures, if it is a portal or a manager; else it believes the others."""
    timeout_s: float = Field(default=2.0, gt=0, le=60)
    """Seconds that a probe waits for an answer; never more than nine tenths of its interval."""
    misses: int = Field(default=2, ge=1, le=100)
    """Probes in a row without an answer until a server is down."""
    successes: int = Field(default=3, ge=1, le=100)
    """Answers in a row of each of its probes until a server that was down is used again."""
    slow_start_s: float = Field(default=30.0, ge=0, le=3600)
    """Seconds in which its share grows to the full one then; 0: it has that at once."""
    recheck_s: float = Field(default=1.0, ge=0.1, le=60)
    """Seconds after a probe without an answer until the next one, where its interval is longer."""
    smoothing: float = Field(default=0.25, gt=0, le=1)
    """Weight of a new response time in the average."""
    doubt_percent: int = Field(default=80, ge=0, le=100)
    """The monitor doubts itself, and keeps what it knew, when so many percent of the servers fall
    silent at once; 0: never."""
    doubt_servers: int = Field(default=3, ge=2, le=1000)
    """With fewer servers than that it never doubts itself."""
    range_bytes: int = Field(default=65_536, ge=1, le=16 << 20)
    """Bytes of media that each probe by HTTP fetches; the throughput is measured from 32 KiB on."""
    verify_tls: bool = True
    """Whether certificates of servers probed by HTTPS or RTSPS have to be good."""
    concurrency: int = Field(default=256, ge=1, le=4096)
    """Probes at a time; others wait, and are counted."""
    save_s: float = Field(default=3.0, ge=1, le=60)
    """Seconds between two times that states and response times are saved to the database."""
