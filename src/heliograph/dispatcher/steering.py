"""HLS content steering (draft-pantos-hls-rfc8216bis, section 7): players that have begun move on.

A multivariant playlist names the copies of a title on all servers that can be used, each server as
a *pathway*. The steering manifest, asked for again each few seconds, tells in which order to use
them; servers that came later it names as clones of the pathway in use.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from heliograph.catalogue.contents.values import File, Format
from heliograph.dispatcher.answers import Answer, Wish, document
from heliograph.dispatcher.barring import Refusal
from heliograph.dispatcher.choose import Dispatcher
from heliograph.dispatcher.fleet import Member
from heliograph.dispatcher.pathways import Find, Pathway, levelled, pathway

PLAYLIST = "application/vnd.apple.mpegurl"
MANIFEST = "application/vnd.apple.steering-list"
#: Characters of the pathway that a player says it uses.
MAX_PATHWAY = 128
#: Servers that a playlist or manifest names; the best: more are no help to one player.
MAX_PATHWAYS = 16
#: Of EXT-X-MEDIA and EXT-X-SESSION-KEY as we pass them on (section 8): SERVICE of INSTREAM-ID.
VERSION = 7


def addresses(dispatcher: Dispatcher, name: str) -> list[str]:
    """Of what has to be known of a title for its playlist: its files on servers in use."""
    return [
        file.uri
        for files in _held(dispatcher, name, _usable(dispatcher, name)[:MAX_PATHWAYS]).values()
        for file in files
    ]


def playlist(
    dispatcher: Dispatcher, find: Find, name: str, wish: Wish, client: str, now: float
) -> Answer:
    """The multivariant playlist of a title: all that is held in HLS, the best server first.

    ``find``: what files in HLS name. One that is not known is left out as long as others are.
    """
    wish = _hls(wish)
    found = dispatcher.decide(name, wish, client, now, 200)
    if isinstance(found, Refusal):
        return found.answer(wish)
    servers = [found.server, *_others(dispatcher, name, found.server)][:MAX_PATHWAYS]
    ways = _pathways(dispatcher, find, name, wish, servers)
    ways = [one for one in ways if one.known] or ways
    ways = levelled([one for one in ways if one.fits(ways[0])])
    steering, first = _address(name, wish), ways[0].server.name
    lines = ["#EXTM3U"]
    if any(one.renditions or one.keys for one in ways):
        lines.append(f"#EXT-X-VERSION:{VERSION}")
    if all(one.independent for one in ways):
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    lines.append(f'#EXT-X-CONTENT-STEERING:SERVER-URI="{steering}",PATHWAY-ID="{first}"')
    lines += dict.fromkeys(line for one in ways for line in one.session())
    for one in ways:
        lines += one.lines()
    return document("\n".join(lines) + "\n", PLAYLIST)


def manifest(
    dispatcher: Dispatcher,
    find: Find,
    name: str,
    wish: Wish,
    client: str,
    now: float,
    pathway: str = "",
) -> Answer:
    """Which servers a player is to use, the best first. ``pathway``: the one that it uses now.

    It stays as long as that server can be used; from one that is drained it moves where there is
    another. Then it is sent there like somebody new, which is recorded.
    """
    wish = _hls(wish)
    barred = dispatcher.barred(name, client)
    if barred is not None:
        return barred.answer(wish)
    held = dispatcher.copies(name).get(Format.HLS, ())
    used = next((one.server for one in held if one.server.name == pathway[:MAX_PATHWAY]), None)
    best = used
    if used is None or not (used.usable or (used.alive and not _usable(dispatcher, name))):
        found = dispatcher.decide(name, wish, client, now, 200)
        if not isinstance(found, Refusal):
            best = found.server
        elif used is None or not used.alive:
            return found.answer(wish)
        if pathway and best is not used:
            dispatcher.moved += 1
    assert best is not None
    servers = [best, *_others(dispatcher, name, best)][:MAX_PATHWAYS]
    told: dict[str, object] = {
        "VERSION": 1,
        "TTL": dispatcher.options.steering_ttl,
        "RELOAD-URI": _address(name, wish),
    }
    if used is not None:
        base, *ways = _pathways(dispatcher, find, name, wish, [used, *servers])
        if used is best:
            ways.insert(0, base)
        if base.known:  # the others are of no use to who plays it
            ways = [one for one in ways if one.known and one.fits(base)] or ways
            clones = [one.clone(base) for one in ways if one is not base]
            told["PATHWAY-CLONES"] = [one for one in clones if one is not None]
        servers = [one.server for one in ways]
    told["PATHWAY-PRIORITY"] = [one.name for one in servers]
    return document(json.dumps(told), MANIFEST)


def _hls(wish: Wish) -> Wish:
    return Wish((Format.HLS,), wish.page, wish.shown, named=True, head=wish.head)


def _address(name: str, wish: Wish) -> str:
    return f"/steering/{name}{'?' if wish.shown else ''}{wish.shown}"


def _usable(dispatcher: Dispatcher, name: str) -> list[Member]:
    """Servers in use with the title in HLS, the least loaded first."""
    held = dispatcher.copies(name).get(Format.HLS, ())
    found = [one.server for one in held if one.server.usable]
    return sorted(found, key=lambda one: (one.load * one.inverse / one.share, one.id))


def _others(dispatcher: Dispatcher, name: str, best: Member) -> list[Member]:
    return [one for one in _usable(dispatcher, name) if one is not best]


def _held(dispatcher: Dispatcher, name: str, servers: Iterable[Member]) -> dict[Member, list[File]]:
    """The files of a title in HLS on some servers, in their order."""
    found: dict[Member, list[File]] = {one: [] for one in servers}
    members = dispatcher.fleet.members
    entry = dispatcher.snapshot.entries.get(name)
    for file in () if entry is None else dispatcher.snapshot.held(entry):
        server = members.get(file.server)
        if file.format is Format.HLS and server in found:
            found[server].append(file)
    return found


def _pathways(
    dispatcher: Dispatcher, find: Find, name: str, wish: Wish, servers: Iterable[Member]
) -> list[Pathway]:
    held = _held(dispatcher, name, servers)
    return [pathway(server, files, find, wish.shown) for server, files in held.items()]
