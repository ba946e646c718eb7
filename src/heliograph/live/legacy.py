"""Channels as the version before accounts kept them: ``channels.json``, read once and set aside."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from heliograph.live.options import ChannelOptions
from heliograph.model.errors import HelioError, ResourceError
from heliograph.model.media import check_channel_name

#: Within the state directory. It holds keys: private.
CHANNELS_FILE = "channels.json"
FILE_VERSION = 1
#: Its name once its channels are in the catalogue.
TAKEN_OVER = "channels.json.imported"


@dataclass(frozen=True, slots=True)
class LegacyChannel:
    """A channel of the file."""

    name: str
    options: ChannelOptions
    """With the publisher's key in clear."""


def read_channels(state_dir: Path) -> list[LegacyChannel] | None:
    """The channels of the file; None without one. ``ResourceError`` where it cannot be read."""
    path = state_dir / CHANNELS_FILE
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text("utf-8"))
        if document["version"] != FILE_VERSION:
            raise ValueError(f"version {document['version']!r} is not known")
        return [
            LegacyChannel(check_channel_name(name), ChannelOptions.from_json(values))
            for name, values in document["channels"].items()
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, HelioError) as error:
        # Going on without them would leave people's encoders at a closed door.
        raise ResourceError(
            f"channels cannot be read from {path}: {error}", subject=str(path)
        ) from error


def set_aside(state_dir: Path) -> None:
    """Rename the file, so that it is not read again."""
    path = state_dir / CHANNELS_FILE
    try:
        path.replace(state_dir / TAKEN_OVER)
    except OSError as error:
        raise ResourceError(f"{path} cannot be renamed: {error}", subject=str(path)) from error
