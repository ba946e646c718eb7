"""Any bytes as a playlist: a playlist, ``MalformedError`` or ``TooLargeError``.

Items have absolute addresses, and what is told in numbers is not negative.
"""

from harness import instrumented, main

with instrumented():
    from heliograph.catalogue.contents.naming import name_of
    from heliograph.catalogue.contents.playlist import PlaylistKind, parse_playlist
    from heliograph.model.errors import MalformedError, TooLargeError

BASE = "http://media.example:8080/films/all.m3u"


def one_input(data: bytes) -> None:
    """Parse, and look at all that is said."""
    try:
        playlist = parse_playlist(data.decode("utf-8", "replace"), BASE)
    except (MalformedError, TooLargeError):
        return
    assert playlist.kind is PlaylistKind.LIST or not playlist.items
    assert min(playlist.bits_per_second, playlist.width, playlist.height) >= 0
    assert playlist.duration is None or playlist.duration > 0
    for item in playlist.items:
        assert "://" in item.uri
        assert len(item.uri) <= 2000
        assert item.duration is None or item.duration > 0
        name_of(item.uri)


if __name__ == "__main__":
    main("playlist", one_input)
