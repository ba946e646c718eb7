"""Any bytes as a directory listing: entries, ``MalformedError`` or ``TooLargeError``.

Every entry is below the listing's address, is there once, and has a name that is a logical id or
none.
"""

from harness import instrumented, main

with instrumented():
    from heliograph.catalogue.contents import checks
    from heliograph.catalogue.contents.listing import parse_listing
    from heliograph.catalogue.contents.naming import name_of
    from heliograph.model.errors import MalformedError, TooLargeError

BASE = "http://media.example:8080/films/"


def one_input(data: bytes) -> None:
    """Parse, and look at each entry."""
    try:
        entries = parse_listing(data.decode("utf-8", "replace"), BASE)
    except (MalformedError, TooLargeError):
        return
    assert len({one.uri for one in entries}) == len(entries)
    for one in entries:
        assert one.uri.startswith(BASE)
        assert len(one.uri) > len(BASE)
        assert one.directory == one.uri.endswith("/")
        assert one.size is None or one.size >= 0
        named = name_of(one.uri)
        if named is not None and not one.directory:
            checks.name(named.name, "title name")


if __name__ == "__main__":
    main("listing", one_input)
