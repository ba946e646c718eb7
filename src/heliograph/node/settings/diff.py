"""What a new version of the settings means for the channels that run."""

from __future__ import annotations

from dataclasses import dataclass

from heliograph.node.settings.schema import ChannelSettings, Settings


@dataclass(frozen=True, slots=True)
class ChannelChanges:
    """Channels to open, to close and to change so that the new settings hold."""

    added: tuple[ChannelSettings, ...]
    """In the order of the new settings."""
    removed: tuple[ChannelSettings, ...]
    """As they were, in the order of the old settings."""
    changed: tuple[tuple[ChannelSettings, ChannelSettings], ...]
    """(before, after) of those with the same name and other values."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def diff(old: Settings, new: Settings) -> ChannelChanges:
    """Compare the channels of two settings by name; their order means nothing."""
    before = {channel.name: channel for channel in old.channels}
    after = {channel.name: channel for channel in new.channels}
    return ChannelChanges(
        added=tuple(c for name, c in after.items() if name not in before),
        removed=tuple(c for name, c in before.items() if name not in after),
        changed=tuple(
            (before[name], c) for name, c in after.items() if name in before and before[name] != c
        ),
    )
