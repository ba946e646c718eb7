"""Decisions and plays, counted together: what recorders hand on and what is written down.

Times are whole hours and days since 1970, in UTC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from heapq import merge
from ipaddress import IPv6Address, ip_address, ip_network
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import Any, TypeAlias

from heliograph.catalogue.contents.statistics import Decision, Play
from heliograph.model.errors import MalformedError

HOUR = 3600
#: Hours of a day.
DAY = 24
#: Status of a decision that sent somebody somewhere.
REDIRECT = 302
#: Status of one for a logical id that there is not. These are counted together, without a name.
UNKNOWN = 404
#: Characters of a logical id, of a play's id, and of the other texts.
MAX_NAME, MAX_ID, MAX_TEXT = 128, 64, 64
#: Clients are counted by networks of so many bits: the least that sites are given.
BITS_4, BITS_6 = 24, 48

#: Entries sorted in one go, while nothing else runs: less than a millisecond.
SORTED = 1000

_START = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_HOURS = 10_000_000
_MOST = 1 << 62

#: Logical id, server, file, status.
Request: TypeAlias = tuple[str, int, int, int]

_NOTHING: Request = ("", 0, 0, UNKNOWN)
_request = itemgetter(*map(Decision._fields.index, ("name", "server", "file", "status")))
_client = itemgetter(Decision._fields.index("client"))


class Addresses(StrEnum):
    """What is kept of clients' addresses."""

    FULL = "full"
    NETWORK = "network"
    NONE = "none"


@dataclass(slots=True)
class Batch:
    """Counts that can be added to others."""

    requests: dict[int, Counter[Request]] = field(default_factory=dict)
    """By hour."""
    clients: dict[int, Counter[str]] = field(default_factory=dict)
    """Redirects by network, by day."""
    plays: dict[str, Play] = field(default_factory=dict)
    """By their ids, the newest word of each."""
    records: int = 0
    """Decisions and words of plays that are in it."""

    def __len__(self) -> int:
        """How much there is to write."""
        counted: Iterable[Sized] = chain(self.requests.values(), self.clients.values())
        return sum(len(some) for some in counted) + len(self.plays)

    def count(self, decisions: Sequence[Decision], addresses: Addresses) -> None:
        """Count decisions in; those of one hour are best given together."""
        if not decisions:
            return
        if decisions[0].at // HOUR == decisions[-1].at // HOUR:
            self._count_hour(int(decisions[0].at // HOUR), decisions, addresses)
        else:
            for hour, found in groupby(decisions, key=lambda one: int(one.at // HOUR)):
                self._count_hour(hour, [*found], addresses)
        self.records += len(decisions)

    def _count_hour(self, hour: int, some: Sequence[Decision], addresses: Addresses) -> None:
        requests = self.requests.setdefault(hour, Counter())
        # What nobody knows is one thing: else whoever asks for nonsense fills the database.
        known = [one for one in some if one.status != UNKNOWN]
        requests.update(map(_request, known))
        if len(known) < len(some):
            requests[_NOTHING] += len(some) - len(known)
        if addresses is Addresses.NONE:
            return
        sent = [one for one in some if one.status == REDIRECT or one.server]
        redirected = Counter(map(_client, sent))
        if redirected:
            networks = self.clients.setdefault(hour // DAY, Counter())
            for client, times in redirected.items():
                networks[network_of(client)] += times

    def add(self, other: Batch) -> None:
        """Count another one in."""
        for hour, requests in other.requests.items():
            known = self.requests.setdefault(hour, Counter())
            # Of many titles each is asked for once; to count keys takes a third of the time.
            known.update(requests if requests.total() > len(requests) else requests.keys())
        for day, clients in other.clients.items():
            self.clients.setdefault(day, Counter()).update(clients)
        self.add_plays(other.plays.values())
        self.records += other.records

    def add_plays(self, plays: Iterable[Play]) -> None:
        """Keep of each play the newest word; ``records`` is not changed."""
        for play in plays:
            known = self.plays.get(play.id)
            if known is None or known.ended <= play.ended:
                self.plays[play.id] = play

    def parts(self, most: int) -> Iterator[Batch]:
        """Batches of at most ``most`` entries that are this one together; one at least."""
        size = len(self)
        if size <= most:
            yield self
            return
        # No record has more than two entries, so each part is given one record at least.
        count, index = -(-size // most), 0
        room, part = most, Batch()
        tables: Iterable[tuple[str, int, Mapping[Any, Any]]] = chain(
            (("requests", hour, some) for hour, some in self.requests.items()),
            (("clients", day, some) for day, some in self.clients.items()),
            (("plays", 0, self.plays),),
        )
        for kind, when, some in tables:
            items = iter(some.items())
            while piece := dict(islice(items, room)):
                if kind == "plays":
                    part.plays = piece
                else:
                    getattr(part, kind)[when] = Counter(piece)
                room -= len(piece)
                if room == 0:
                    part.records = _share(self.records, index, count)
                    yield part
                    index, room, part = index + 1, most, Batch()
        if room < most:
            part.records = _share(self.records, index, count)
            yield part

    def ordered(self) -> Batch:
        """The same with requests by name, so that parts of it are of few titles each: of a table's
        pages a part changes few then. For a thread; others have their turn meanwhile."""
        requests = {hour: _ordered(some) for hour, some in self.requests.items()}
        return replace(self, requests=requests)

    def to_json(self) -> dict[str, Any]:
        """As ``from_json`` reads it. Requests are told by columns, name, server, file, status and
        times, which is written twice as fast as rows."""
        return {
            "records": self.records,
            "requests": [
                [hour, *zip(*requests, strict=True), [*requests.values()]]
                for hour, requests in self.requests.items()
                if requests
            ],
            "clients": [
                [day, network, count]
                for day, clients in self.clients.items()
                for network, count in clients.items()
            ],
            "plays": [play_row(play) for play in self.plays.values()],
        }

    @classmethod
    def from_json(cls, value: object) -> Batch:
        """A batch that came from a file or another node; ``MalformedError`` where it is none."""
        if not isinstance(value, dict):
            raise MalformedError("batch of statistics", "not an object")
        try:
            batch = cls(records=_number(value["records"]))
            for hour, *columns in value["requests"]:
                requests = batch.requests.setdefault(_number(hour, _MOST_HOURS), Counter())
                for name, server, file, status, times in zip(*columns, strict=True):
                    key = (
                        _text(name, MAX_NAME),
                        _number(server),
                        _number(file),
                        _number(status, 1000),
                    )
                    requests[key] += _times(times)
            for day, network, times in value["clients"]:
                clients = batch.clients.setdefault(_number(day, _MOST_HOURS // DAY), Counter())
                clients[_text(network, MAX_TEXT)] += _times(times)
            batch.add_plays(play_of(row) for row in value["plays"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise MalformedError("batch of statistics", str(error)[:200]) from None
        return batch


def _ordered(requests: Counter[Request]) -> Counter[Request]:
    items = iter(requests.items())
    pieces = []
    while piece := sorted(islice(items, SORTED)):
        pieces.append(piece)
    return Counter(dict(merge(*pieces)))


def network_of(client: str) -> str:
    """The network by which a client is counted: a /24, or a /48; empty where it is no address."""
    head, dot, last = client.rpartition(".")
    if dot and last.isdecimal() and ":" not in head:
        return _network_4(head)
    return _network(client)


@lru_cache(maxsize=65_536)
def _network_4(head: str) -> str:
    return _network(f"{head}.0")


@lru_cache(maxsize=65_536)
def _network(client: str) -> str:
    try:
        if "/" in client:
            address = ip_network(client, strict=False).network_address
        else:
            address = ip_address(client.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    bits = BITS_4 if address.version == 4 else BITS_6
    return str(ip_network(f"{address}/{bits}", strict=False))


def shown(client: str, addresses: Addresses) -> str:
    """What is kept of a client's address."""
    if addresses is Addresses.FULL:
        return client.partition("%")[0][:MAX_TEXT]
    return network_of(client) if addresses is Addresses.NETWORK else ""


def hour_start(hour: int) -> datetime:
    """When an hour since 1970 began."""
    return _START + timedelta(hours=hour)


def hour_of(at: datetime) -> int:
    """The hour since 1970 of a time."""
    return int((at - _START).total_seconds() // HOUR)


def play_row(play: Play) -> list[Any]:
    """A play for JSON; times in microseconds since 1970."""
    return [
        play.id,
        play.name,
        play.unit,
        play.client,
        play.way,
        micros(play.started),
        micros(play.ended),
        play.sent_bytes,
        play.stalls,
    ]


def play_of(row: list[Any]) -> Play:
    """A play from such a row; ``TypeError`` or ``ValueError`` where it is none."""
    id, name, unit, client, way, started, ended, sent_bytes, stalls = row
    begin, end = _number(started), _number(ended)
    return Play(
        _text(id, MAX_ID),
        _text(name, MAX_NAME),
        _text(unit, 16),
        _text(client, MAX_TEXT),
        _text(way, 16),
        _START + timedelta(microseconds=begin),
        _START + timedelta(microseconds=max(begin, end)),
        _number(sent_bytes),
        _number(stalls, 1 << 31),
    )


def micros(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - _START) // timedelta(microseconds=1)


def _number(value: object, most: int = _MOST) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < most:
        raise ValueError(f"{value!r:.40} is no such number")
    return value


def _times(value: object) -> int:
    """How often something was, which is in a batch only where it was at all."""
    times = _number(value)
    if not times:
        raise ValueError("0 times")
    return times


def _text(value: object, most: int) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value[:most].replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _share(total: int, index: int, count: int) -> int:
    """What one of ``count`` gets, so that all get ``total`` together."""
    return (index + 1) * total // count - index * total // count
