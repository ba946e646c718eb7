"""What nodes announce of channels: that they keep one, and that one enters there."""

from __future__ import annotations

from dataclasses import dataclass

from heliograph.bus import Name

CHANNEL = "channel"
"""Kind of the announcement of a node that keeps a channel."""
INGEST = "ingest"
"""Kind of the announcement of a node at which a channel enters."""


def home_in(value: object) -> str:
    """The node or database that the value of an announcement names; empty: it names none."""
    home = value.get("home") if isinstance(value, dict) else None
    return home if isinstance(home, str) else ""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a node says of a channel that it keeps."""

    home: str
    """Node or database that it is a channel of."""
    digest: str
    """Of its document; another one is news."""

    @classmethod
    def read(cls, name: Name) -> Kept:
        """Of its announcement; what is no home is the node, as for who says nothing."""
        value = name.value if isinstance(name.value, dict) else {}
        digest = value.get("digest")
        return cls(
            home_in(value) or name.node,
            digest if isinstance(digest, str) else "",
        )


@dataclass(frozen=True, slots=True)
class Entrance:
    """What a node says of a channel that enters there."""

    epoch: int
    """Of the source, 32 bits; 0: it did not say."""
    home: str

    @classmethod
    def read(cls, name: Name) -> Entrance:
        """Of its announcement."""
        value = name.value if isinstance(name.value, dict) else {}
        epoch = value.get("epoch")
        return cls(
            epoch if isinstance(epoch, int) and 0 <= epoch < 1 << 32 else 0,
            home_in(value),
        )
