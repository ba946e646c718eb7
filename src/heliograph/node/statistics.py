"""Statistics at one node: its recorder, its journal, and who writes them down."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from heliograph.bus import Bus, Registration
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.contents.batches import Addresses
from heliograph.catalogue.contents.following import LOOK, Following
from heliograph.dispatcher.statistics.delivery import Delivery, Sink
from heliograph.dispatcher.statistics.journal import Run
from heliograph.dispatcher.statistics.ranks import Ranks
from heliograph.dispatcher.statistics.recorder import Recorder
from heliograph.dispatcher.statistics.remote import RemoteSink, serve
from heliograph.live.plays import Plays
from heliograph.live.registry import Channels
from heliograph.node.periodic import Periodic
from heliograph.node.settings.statistics import StatisticsSettings
from heliograph.vod.plays import TitlePlays

#: The journal's directory, within the state directory.
DIRECTORY = "statistics"


class Statistics:
    """Made when the server starts; ``watch`` follows the plays of its channels."""

    def __init__(
        self,
        settings: StatisticsSettings,
        state_dir: Path,
        node: str,
        bus: Bus,
        writes: Catalogue | None,
    ) -> None:
        """``writes``: the catalogue, where this node writes statistics down, others' too; None: it
        has them written down. ``ResourceError`` where there is no journal to be made."""
        directory = state_dir / DIRECTORY
        addresses = Addresses(settings.addresses)
        run = Run.begin(directory)
        sink: Sink = RemoteSink(bus) if writes is None else writes.recording
        self.recorder = Recorder(run, addresses=addresses)
        """Takes decisions: ``record``."""
        self.delivery = Delivery(
            directory, run, self.recorder, sink, max_bytes=settings.journal_bytes
        )
        self._following = Following(node, self.recorder, addresses=addresses)
        self.plays = Plays(self._following)
        self.titles = TitlePlays(self._following)
        """Follows titles that are played, by whatever way."""
        self.ranks = (
            None if writes is None else Ranks(writes.reports, settings.half_life_hours * 3600)
        )
        """The popularity of titles; None: another node knows it."""
        self._settings = settings
        self._node = node
        self._bus = bus
        self._writes = writes
        self._served: list[Registration] = []
        self._looks = Periodic("plays", LOOK, self._look)

    def start(self) -> None:
        """Record, and write down."""
        if self._writes is not None:
            self._served = serve(self._bus, self._node, self._writes.recording)
        self.recorder.start()
        self.delivery.start()

    def watch(self, channels: Channels) -> None:
        """Follow what is played."""
        channels.subscribe(self.plays.observe)
        self._looks.start()

    async def _look(self) -> None:
        self._following.look()

    async def prune(self) -> None:
        """Remove what is too old, where this node writes."""
        if self._writes is not None:
            await self._writes.recording.prune(
                plays=timedelta(days=self._settings.plays_days),
                uses=timedelta(days=self._settings.retention_days),
            )

    def counters(self) -> dict[str, int]:
        """For the metrics."""
        return {
            **self.delivery.counters(),
            "plays_open": len(self._following),
            "plays_unfollowed": self._following.unfollowed,
        }

    async def close(self) -> None:
        """Record nothing more, and leave to the next start what cannot be written down now."""
        await self._looks.stop()
        for one in self._served:
            one.close()
        await self.delivery.close()
