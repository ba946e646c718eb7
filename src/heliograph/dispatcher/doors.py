"""Nodes of ours as servers: each serves every title of our volumes, in every format.

A node counts as the server that the catalogue has under its name; what is said of that holds for
the node. Its copies of titles are in no table: they follow from who is there and what volumes have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from heliograph.catalogue.contents.values import File, Format, Server, Title

#: What a server is made of that is a node.
MAKE = "heliograph"
#: In the query of an address by RTSP to which a player was sent: he is not sent on from there.
SENT = "sent"


@dataclass(frozen=True, slots=True)
class Door:
    """Where a node serves titles."""

    name: str
    """The node's, and of its server in the catalogue."""
    http: str
    """``http://host:port``; empty: not for others."""
    rtsp: str
    """``rtsp://host:port``."""

    def addresses(self, title: str) -> Iterator[tuple[Format, str]]:
        """Where it has a title of that name."""
        if self.http:
            yield Format.HLS, f"{self.http}/hls/{title}/index.m3u8"
            yield Format.MP4, f"{self.http}/titles/{title}.mp4"
        if self.rtsp:
            yield Format.RTSP, f"{self.rtsp}/{title}?{SENT}=1"


def by_server(doors: Iterable[Door], servers: Mapping[int, Server]) -> dict[int, Door]:
    """Doors by the ids of their servers; those without one are left out."""
    known = {one.name: one for one in doors}
    return {
        id: known[server.name]
        for id, server in servers.items()
        if server.make == MAKE and server.name in known
    }


def copies(title: Title, bps: int, doors: Mapping[int, Door]) -> list[File]:
    """What nodes have of a title of our volumes; ``bps``: what a player of it draws."""
    return [
        File(0, title.id, server, format, uri, bps)
        for server, door in doors.items()
        for format, uri in door.addresses(title.name)
    ]
