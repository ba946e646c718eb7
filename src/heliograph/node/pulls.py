"""The sources that this node fetches by itself, by channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from heliograph.live.channel import Channel
from heliograph.live.options import ChannelOptions
from heliograph.live.pull import Pull
from heliograph.plane import PlaneLoop


class Pulls:
    """Of one node."""

    def __init__(self, loop: PlaneLoop, held: Callable[[str], bool]) -> None:
        """``held``: whether a channel's sources are not to be fetched just now."""
        self._loop, self._held = loop, held
        self._pulls: dict[str, list[Pull]] = {}

    def start(self, channel: Channel) -> None:
        """Fetch what the channel's options name."""
        pulls = [
            Pull(channel, options, self._loop, held=lambda: self._held(channel.name))
            for options in channel.options.pulls
        ]
        self._pulls[channel.name] = pulls
        for pull in pulls:
            pull.start()

    async def stop(self, name: str) -> None:
        """Fetch a channel's sources no more."""
        await asyncio.gather(*(pull.stop() for pull in self._pulls.pop(name, [])))

    async def close(self) -> None:
        """Fetch nothing more."""
        await asyncio.gather(*map(self.stop, list(self._pulls)))


def same_ring(before: ChannelOptions, after: ChannelOptions) -> bool:
    """Whether a channel can take new options without being closed and opened again.

    What its ring was made with, and what is pulled, cannot change while it runs.
    """
    fixed = {
        name: getattr(after, name)
        for name in (
            "pulls",
            "depth_ms",
            "max_bytes",
            "silence_ms",
            "return_ms",
            "coalesce_us",
            "tcp_interval_ms",
            "lag_ms",
        )
    }
    return replace(before, **fixed) == before
