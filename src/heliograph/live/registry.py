"""All live channels of a server: those of the settings, and those made by the API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import structlog

from heliograph.live.admission import Load
from heliograph.live.channel import Channel
from heliograph.live.keys import new_key, write_private
from heliograph.live.options import ChannelOptions, LiveOptions
from heliograph.live.states import LiveEvent, Observer, State
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    HelioError,
    NotFoundError,
    ResourceError,
)
from heliograph.model.media import check_channel_name
from heliograph.plane import EventsLost, Plane, PlaneLoop, PlaneTotals

log = structlog.get_logger(__name__)

#: Channels made by the API, within the state directory. It holds their keys: private.
CHANNELS_FILE = "channels.json"
FILE_VERSION = 1


class Channels:
    """Finds, makes, changes and ends channels."""

    def __init__(
        self,
        loop: PlaneLoop,
        *,
        configured: Mapping[str, ChannelOptions] | None = None,
        options: LiveOptions | None = None,
        state_dir: Path | None = None,
    ) -> None:
        """``state_dir``: where channels made by the API are kept; None: nowhere."""
        self.loop = loop
        self.options = options or LiveOptions()
        self._path = None if state_dir is None else state_dir / CHANNELS_FILE
        self._channels: dict[str, Channel] = {}
        self._indices: set[int] = set()
        self._observers: list[Observer] = []
        loop.on_lost(self._on_lost)
        for name, channel in (configured or {}).items():
            self._open(check_channel_name(name), channel, configured=True)
        for name, channel in self._load().items():
            if name in self._channels:
                log.warning("settings hide a channel made by the API", channel=name)
            else:
                self._open(name, channel, configured=False)

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
        loads = [channel.load() for channel in self._channels.values()]
        return Load(sum(load.readers for load in loads), sum(load.bandwidth for load in loads))

    # changes

    def create(self, name: str, options: ChannelOptions | None = None) -> Channel:
        """Make a channel and keep it over restarts; a key is made where none is given."""
        check_channel_name(name)
        if name in self._channels:
            raise ConflictError(f"channel {name!r} exists already", subject=name)
        if len(self._channels) >= self.options.max_channels:
            raise BusyError(
                f"the server has {self.options.max_channels} channels, its most",
                subject="channels",
            )
        options = options or ChannelOptions()
        channel = self._open(name, replace(options, key=options.key or new_key()), configured=False)
        try:
            self._save()
        except ResourceError:
            self._close(channel, "not kept")
            raise
        return channel

    def update(self, name: str, options: ChannelOptions) -> Channel:
        """Change a channel made by the API. Ring times hold from the next opening on."""
        channel = self._own(name)
        old, channel.options = channel.options, options
        try:
            self._save()
        except ResourceError:
            channel.options = old
            raise
        return channel

    def delete(self, name: str) -> None:
        """End a channel made by the API, with its publisher and readers."""
        channel = self._own(name)
        self._close(channel, "channel closed")
        self._save()

    def configure(self, name: str, options: ChannelOptions) -> Channel:
        """Open a channel that stands in the settings, when they are read anew."""
        check_channel_name(name)
        if name in self._channels:
            raise ConflictError(f"channel {name!r} exists already", subject=name)
        return self._open(name, options, configured=True)

    def withdraw(self, name: str) -> None:
        """End a channel that stands in the settings no more; harmless without one."""
        channel = self._channels.get(name)
        if channel is not None and channel.configured:
            self._close(channel, "channel closed")

    def _own(self, name: str) -> Channel:
        channel = self.get(name)
        if channel.configured:
            raise ForbiddenError(
                f"channel {name!r} stands in the settings; change it there", subject=name
            )
        return channel

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

    # opening and keeping

    def _open(self, name: str, options: ChannelOptions, *, configured: bool) -> Channel:
        # The lowest free place, so that multicast groups stay few and the same over restarts.
        index = next(i for i in range(len(self._indices) + 1) if i not in self._indices)
        channel = Channel(
            name,
            options,
            self.loop,
            live=self.options,
            server_load=self.load,
            observe=self._notify,
            index=index,
            configured=configured,
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

    def _load(self) -> dict[str, ChannelOptions]:
        if self._path is None or not self._path.exists():
            return {}
        try:
            document = json.loads(self._path.read_text("utf-8"))
            if document["version"] != FILE_VERSION:
                raise ValueError(f"version {document['version']!r} is not known")
            return {
                check_channel_name(name): ChannelOptions.from_json(values)
                for name, values in document["channels"].items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError, HelioError) as error:
            # Going on would overwrite people's channels with the next change.
            raise ResourceError(
                f"channels cannot be read from {self._path}: {error}", subject=str(self._path)
            ) from error

    def _save(self) -> None:
        if self._path is None:
            return
        kept = {c.name: c.options.to_json() for c in self if not c.configured}
        text = json.dumps({"version": FILE_VERSION, "channels": kept}, indent=1, default=list)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_private(self._path, text + "\n")
        except OSError as error:
            raise ResourceError(
                f"channels cannot be kept in {self._path}: {error}", subject=str(self._path)
            ) from error
