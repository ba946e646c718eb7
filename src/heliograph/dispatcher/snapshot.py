"""What a dispatcher decides by, at one time: found by name at once, never changed once made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from heliograph.catalogue.contents.values import Contents, File, Server, ServerState, Title
from heliograph.dispatcher import doors as own
from heliograph.dispatcher.conditions import Networks
from heliograph.dispatcher.doors import Door

#: Rows that are taken at a time: a millisecond of work.
STEP = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """A title with all its copies."""

    title: Title
    files: tuple[File, ...] = ()
    """On servers of the catalogue."""
    stored: int = 0
    """Bits a second that a player of it draws, where our volumes have it: all nodes serve it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Contents of the catalogue and states of servers, indexed."""

    version: int = 0
    """Of the contents; 0: there were none yet."""
    servers: Mapping[int, Server] = field(default_factory=dict)
    """By id."""
    entries: Mapping[str, Entry] = field(default_factory=dict)
    """Published titles by name."""
    unpublished: frozenset[str] = frozenset()
    """Names of the others."""
    stored: Mapping[str, str] = field(default_factory=dict)
    """What the catalogue calls titles of our volumes, by object, published or not."""
    networks: Networks = field(default_factory=Networks)
    states: Mapping[int, ServerState] = field(default_factory=dict)
    """What monitors say, by the server's id."""
    files: int = 0
    """Copies of all titles on servers of the catalogue."""
    doors: Mapping[int, Door] = field(default_factory=dict)
    """Nodes of ours that serve what our volumes have, by the server's id."""

    @classmethod
    def of(cls, contents: Contents) -> Snapshot:
        """Index contents, all at once."""
        for made in building(contents):
            if made is not None:
                return made
        raise AssertionError("building ends with a snapshot")

    def with_states(self, states: Mapping[int, ServerState]) -> Snapshot:
        """The same contents with what monitors say now."""
        return replace(self, states=states)

    def with_doors(self, doors: Iterable[Door]) -> Snapshot:
        """The same contents with the nodes of ours that are there now."""
        return replace(self, doors=own.by_server(doors, self.servers))

    def with_stored(self, names: Mapping[str, str]) -> Snapshot:
        """The same contents with the names of titles of our volumes, by object."""
        return replace(self, stored=names)

    def withheld(self, object: str, name: str) -> bool:
        """Whether nobody gets a title that our volumes have under a name: it is not published, or
        has another name in the catalogue. What the catalogue has not yet is for everybody."""
        return name in self.unpublished or self.stored.get(object, name) != name

    def held(self, entry: Entry) -> Sequence[File]:
        """All copies of a title, those of nodes of ours with the id 0."""
        if not entry.stored or not self.doors:
            return entry.files
        return (*entry.files, *own.copies(entry.title, entry.stored, self.doors))


def building(
    contents: Contents, before: Snapshot | None = None, stored: Mapping[str, int] | None = None
) -> Iterator[Snapshot | None]:
    """Index contents in steps of a millisecond: None after each, the snapshot in the end.

    Titles that are as they were ``before`` keep their entries, so that what is known of them stays.
    ``stored``: titles that our volumes have, with the bits a second that a player draws.
    """
    known = {} if before is None else before.entries
    servers = {server.id: server for server in contents.servers}
    files: dict[int, list[File]] = {}
    for count, file in enumerate(contents.files, 1):
        if file.server in servers:
            files.setdefault(file.title, []).append(file)
        if count % STEP == 0:
            yield None
    entries: dict[str, Entry] = {}
    unpublished: set[str] = set()
    total = 0
    for count, title in enumerate(contents.titles, 1):
        if title.published:
            held = tuple(files.get(title.id, ()))
            total += len(held)
            entry = known.get(title.name)
            bps = 0 if stored is None else stored.get(title.name, 0)
            if entry is None or (entry.title, entry.files, entry.stored) != (title, held, bps):
                entry = Entry(title, held, bps)
            entries[title.name] = entry
        else:
            unpublished.add(title.name)
        if count % STEP == 0:
            yield None
    yield Snapshot(
        contents.version,
        servers,
        entries,
        frozenset(unpublished),
        networks=Networks(contents.networks),
        files=total,
    )
