"""HLS content steering (draft-pantos-hls-rfc8216bis, section 7): players that have begun move on.

A multivariant playlist names the copies of a title on all servers, each server as a *pathway*. The
steering manifest, asked for again each few seconds, tells in which order to use them.
"""

from __future__ import annotations

import json

from heliograph.catalogue.contents.values import File, Format
from heliograph.dispatcher.answers import Answer, Wish, document, location
from heliograph.dispatcher.choose import Dispatcher, Refusal
from heliograph.dispatcher.fleet import USUAL_BPS, Member

PLAYLIST = "application/vnd.apple.mpegurl"
MANIFEST = "application/vnd.apple.steering-list"
#: Characters of the pathway that a player says it uses.
MAX_PATHWAY = 128


def playlist(dispatcher: Dispatcher, name: str, wish: Wish, client: str, now: float) -> Answer:
    """The multivariant playlist of a title: all that is held in HLS, the best server first.

    Files in HLS are taken for media playlists, as a multivariant playlist may name no other.
    """
    wish = _hls(wish)
    found = dispatcher.decide(name, wish, client, now, 200)
    if isinstance(found, Refusal):
        return found.answer(wish)
    by_server: dict[int, list[File]] = {}
    for file in dispatcher.snapshot.entries[name].files:
        if file.format is Format.HLS:
            by_server.setdefault(file.server, []).append(file)
    steering = _address(name, wish)
    lines = [
        "#EXTM3U",
        f'#EXT-X-CONTENT-STEERING:SERVER-URI="{steering}",PATHWAY-ID="{found.server.name}"',
    ]
    for server in (found.server, *_others(dispatcher, name, found.server)):
        shown = wish.shown if server.ours else ""
        for file in by_server[server.id]:
            lines += [_variant(file, server), location(file.uri, shown)]
    return document("\n".join(lines) + "\n", PLAYLIST)


def manifest(
    dispatcher: Dispatcher, name: str, wish: Wish, client: str, now: float, pathway: str = ""
) -> Answer:
    """Which servers a player is to use, the best first. ``pathway``: the one that it uses now.

    It stays as long as that server answers, also when that is drained; else it is sent to another
    one like somebody new, which is recorded.
    """
    wish = _hls(wish)
    barred = dispatcher.barred(name, client)
    if barred is not None:
        return barred.answer(wish)
    best: Member | None = None
    for one in dispatcher.copies(name).get(Format.HLS, ()):
        if one.server.name == pathway[:MAX_PATHWAY] and one.server.alive:
            best = one.server
    if best is None:
        found = dispatcher.decide(name, wish, client, now, 200)
        if isinstance(found, Refusal):
            return found.answer(wish)
        if pathway:
            dispatcher.moved += 1
        best = found.server
    names = [best.name, *(one.name for one in _others(dispatcher, name, best))]
    told = {
        "VERSION": 1,
        "TTL": dispatcher.options.steering_ttl,
        "RELOAD-URI": _address(name, wish),
        "PATHWAY-PRIORITY": names,
    }
    return document(json.dumps(told), MANIFEST)


def _hls(wish: Wish) -> Wish:
    return Wish((Format.HLS,), wish.page, wish.shown, named=True)


def _address(name: str, wish: Wish) -> str:
    return f"/steering/{name}{'?' if wish.shown else ''}{wish.shown}"


def _others(dispatcher: Dispatcher, name: str, best: Member) -> list[Member]:
    """Other servers with the title in HLS, the least loaded first."""
    held = dispatcher.copies(name).get(Format.HLS, ())
    found = [one.server for one in held if one.server.usable and one.server is not best]
    return sorted(found, key=lambda one: (one.load * one.inverse / one.share, one.id))


def _variant(file: File, server: Member) -> str:
    told = [f"BANDWIDTH={file.bits_per_second or USUAL_BPS}"]
    if file.codecs:
        told.append(f'CODECS="{_quoted(file.codecs)}"')
    if file.width and file.height:
        told.append(f"RESOLUTION={file.width}x{file.height}")
    told.append(f'PATHWAY-ID="{server.name}"')
    return f"#EXT-X-STREAM-INF:{','.join(told)}"


def _quoted(text: str) -> str:
    """What may stand in a quoted string (section 4.2): no quotes, no line breaks."""
    return "".join(one for one in text if one.isprintable() and one != '"')
