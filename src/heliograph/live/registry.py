"""All live channels of a server, to be looked up at once; ``roster`` keeps those people made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import structlog

from heliograph.catalogue.values import Standing
from heliograph.live.admission import Load
from heliograph.live.channel import Channel
from heliograph.live.options import ChannelOptions, LiveOptions
from heliograph.live.seats import Seating
from heliograph.live.states import LiveEvent, Observer, State
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    NotFoundError,
)
from heliograph.model.media import check_channel_name
from heliograph.plane import EventsLost, Plane, PlaneLoop, PlaneTotals

log = structlog.get_logger(__name__)


class Channels:
    """Finds, opens and ends channels."""

    def __init__(
        self,
        loop: PlaneLoop,
        *,
        configured: Mapping[str, ChannelOptions] | None = None,
        options: LiveOptions | None = None,
    ) -> None:
        """``configured``: the channels of the settings."""
        self.loop = loop
        self.options = options or LiveOptions()
        self.seating: Seating | None = None
        """Who has the places of this node; None: there are as many as the limits allow."""
        self._channels: dict[str, Channel] = {}
        self._indices: set[int] = set()
        self._observers: list[Observer] = []
        loop.on_lost(self._on_lost)
        for name, channel in (configured or {}).items():
            self._open(check_channel_name(name), channel, None, configured=True)

    @property
    def plane(self) -> Plane:
        return self.loop.plane

    # look-ups

    def __iter__(self) -> Iterator[Channel]:
        return iter(sorted(self._channels.values(), key=lambda channel: channel.name))

    def __len__(self) -> int:
        return len(self._channels)

    def get(self, name: str) -> Channel:
        """The channel of that name; ``NotFoundError`` without one."""
        channel = self._channels.get(name)
        if channel is None:
            raise NotFoundError(f"no channel {name[:80]!r}", subject=name[:80])
        return channel

    def find(self, name: str) -> Channel | None:
        return self._channels.get(name)

    def on_air(self) -> list[Channel]:
        return [channel for channel in self if channel.state is State.ON_AIR]

    def totals(self) -> PlaneTotals:
        """Counters of the whole plane."""
        return PlaneTotals.of(self.plane.totals())

    def load(self) -> Load:
        """Readers and committed bandwidth of all channels."""
        loads = [channel.audience.load() for channel in self._channels.values()]
        return Load(sum(load.readers for load in loads), sum(load.bandwidth for load in loads))

    # changes

    def create(
        self,
        name: str,
        options: ChannelOptions | None = None,
        standing: Standing | None = None,
        *,
        keeper: str = "",
        home: str = "",
    ) -> Channel:
        """Open a channel that does not stand in the settings; ``roster`` keeps those, and those
        with a ``keeper`` that node of the cluster. ``home`` as of ``Channel``."""
        check_channel_name(name)
        if name in self._channels:
            raise ConflictError(f"channel {name!r} exists already", subject=name)
        self.check_room()
        return self._open(
            name, options or ChannelOptions(), standing, configured=False, keeper=keeper, home=home
        )

    def check_room(self) -> None:
        """``BusyError`` where there are as many channels as the server takes."""
        if len(self._channels) >= self.options.max_channels:
            raise BusyError(
                f"the server has {self.options.max_channels} channels, its most",
                subject="channels",
            )

    def delete(self, name: str) -> None:
        """End a channel that does not stand in the settings, with its publisher and readers."""
        channel = self.get(name)
        if not channel.configured:
            self._close(channel, "channel closed")

    def configure(
        self, name: str, options: ChannelOptions, standing: Standing | None = None
    ) -> Channel:
        """Open a channel that stands in the settings, when they are read anew."""
        check_channel_name(name)
        if name in self._channels:
            raise ConflictError(f"channel {name!r} exists already", subject=name)
        return self._open(name, options, standing, configured=True)

    def withdraw(self, name: str) -> None:
        """End a channel that stands in the settings no more; harmless without one."""
        channel = self._channels.get(name)
        if channel is not None and channel.configured:
            self._close(channel, "channel closed")

    def change(self, channel: Channel, options: ChannelOptions, standing: Standing | None) -> None:
        """Replace what is known of a channel. Ring times hold from the next opening on."""
        if (channel.options, channel.standing) != (options, standing):
            channel.options, channel.standing = options, standing
            self._notify(LiveEvent("changed", channel.name))

    def close(self, reason: str = "server stopping") -> None:
        """End all channels; what is kept stays kept."""
        for channel in list(self._channels.values()):
            self._close(channel, reason)

    # hooks

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Call ``observer`` for whatever happens; gives what ends that."""
        self._observers.append(observer)

        def unsubscribe() -> None:
            if observer in self._observers:
                self._observers.remove(observer)

        return unsubscribe

    def _notify(self, event: LiveEvent) -> None:
        for observer in list(self._observers):
            try:
                observer(event)
            except Exception:  # an observer's bug is not the channel's
                log.exception("observer of channels failed", kind=event.kind)

    def _on_lost(self, event: EventsLost) -> None:
        for channel in list(self._channels.values()):
            channel.resync()

    # opening and ending

    def _open(
        self,
        name: str,
        options: ChannelOptions,
        standing: Standing | None,
        *,
        configured: bool,
        keeper: str = "",
        home: str = "",
    ) -> Channel:
        # The lowest free place, so that multicast groups stay few and the same over restarts.
        index = next(i for i in range(len(self._indices) + 1) if i not in self._indices)
        channel = Channel(
            name,
            options,
            self.loop,
            live=self.options,
            server_load=self.load,
            observe=self._notify,
            seating=lambda: self.seating,
            index=index,
            configured=configured,
            standing=standing,
            keeper=keeper,
            home=home,
        )
        self._indices.add(index)
        self._channels[name] = channel
        self._notify(LiveEvent("channel-opened", name))
        return channel

    def _close(self, channel: Channel, reason: str) -> None:
        self._channels.pop(channel.name, None)
        self._indices.discard(channel.index)
        channel.close(reason)
        self._notify(LiveEvent("channel-closed", channel.name, reason))
