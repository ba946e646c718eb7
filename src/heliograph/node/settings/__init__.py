"""Settings: the schema, the sources that values come from, the difference of two versions.

One precedence, weakest first: defaults, TOML file, environment, command line.
"""

from heliograph.node.settings.diff import ChannelChanges, diff
from heliograph.node.settings.schema import (
    AccessSettings,
    ChannelSettings,
    HttpSettings,
    PlaneSettings,
    RtspSettings,
    ServerSettings,
    Settings,
    SourceSettings,
)
from heliograph.node.settings.sources import Loaded, load

__all__ = [
    "AccessSettings",
    "ChannelChanges",
    "ChannelSettings",
    "HttpSettings",
    "Loaded",
    "PlaneSettings",
    "RtspSettings",
    "ServerSettings",
    "Settings",
    "SourceSettings",
    "diff",
    "load",
]
