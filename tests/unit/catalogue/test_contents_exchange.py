"""What is exported comes back as it was, whatever its texts are."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.catalogue.conftest import quick_passwords

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.contents.exchange import (
    CsvWriter,
    JsonWriter,
    guarded,
    order,
    read,
    unguarded,
)
from heliograph.catalogue.contents.fields import Kind, Record
from heliograph.catalogue.contents.values import Probe, ProbeKind

#: Texts that mean something to files, spreadsheets or databases.
HOSTILE = (
    *("", "none", "'", "''", "'=1", "'x", "=1+1", "+1", "-1", "@SUM(A1)", "a;b", ";", "\\", "\\;"),
    *("a\\;b;c\\", 'say "no"', ",", "\ufeffmark", "[]", "{}", "null", "true", "0", "a\tb", "%3B"),
)
LINES = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8"), max_size=20))
COUNTS = st.integers(0, 2**31 - 1)
PROBES = st.one_of(
    st.builds(Probe, st.just(ProbeKind.ICMP), st.floats(0.1, 3600)),
    st.builds(Probe, st.just(ProbeKind.TCP), st.floats(0.1, 3600), st.integers(1, 65_535)),
    st.builds(
        Probe,
        st.just(ProbeKind.HTTP),
        st.floats(0.1, 3600),
        st.integers(0, 65_535),
        st.sampled_from(["/film.mp4", "/a;b", "/'", "/x;;y=1?=2&'", "/@5/x", "/a%3Bb"]),
    ),
)
SERVERS = {
    "make": LINES,
    "region": LINES,
    "capacity_bps": COUNTS,
    "max_sessions": COUNTS,
    "weight": st.floats(1e-6, 1e6),
    "enabled": st.booleans(),
    "drained": st.booleans(),
    "probes": st.lists(PROBES, max_size=4).map(tuple),
}
TITLES = {
    "title": LINES,
    "description": st.lists(LINES, max_size=4).map("\n".join),
    "duration": st.none() | st.floats(0.001, 1e6),
    "level": st.sampled_from(["", "12"]),
    "classes": st.sampled_from([(), ("art",), ("art", "war")]),
    "regions": st.lists(LINES, max_size=5).map(tuple),
    "policy": st.sampled_from(["", "weighted"]),
    "published": st.booleans(),
}
FILES = {
    "bits_per_second": COUNTS,
    "size": st.none() | COUNTS,
    "codecs": LINES,
    "width": COUNTS,
    "height": COUNTS,
    "format": st.sampled_from(["mp4", "hls", "rtsp"]),
}


@st.composite
def contents(draw: st.DrawFn) -> list[Record]:
    """Some of each kind."""
    found = [Record(Kind.LEVEL, {"code": "12", "name": draw(LINES), "min_age": 12})]
    found += [Record(Kind.CLASS, {"code": one, "name": draw(LINES)}) for one in ("art", "war")]
    about = {"region": draw(LINES), "refused": draw(st.booleans())}
    found.append(Record(Kind.NETWORK, {"cidr": "192.0.2.0/24", **about}))
    for number in range(4):
        name, uri = f"some-{number}", f"http://h.example/{number};'\x3d"
        server = {"name": name, "host": "h.example", **draw(st.fixed_dictionaries(SERVERS))}
        title = {"name": name, **draw(st.fixed_dictionaries(TITLES))}
        file = {"title": name, "server": name, "uri": uri, **draw(st.fixed_dictionaries(FILES))}
        found += [Record(Kind.SERVER, server), Record(Kind.TITLE, title), Record(Kind.FILE, file)]
    return order(found)


async def put(path: Path, records: Sequence[Record]) -> list[Record]:
    """What a catalogue says that was empty before."""
    catalogue = await Catalogue.open(f"sqlite:///{path}", passwords=quick_passwords())
    try:
        outcome = await catalogue.contents.put(records)
        assert outcome.rejected == []
        return [one async for one in catalogue.contents.records()]
    finally:
        await catalogue.close()


def through(writer: CsvWriter | JsonWriter, records: Sequence[Record]) -> list[Record]:
    reading = read("".join((writer.begin(), *map(writer.line, records), writer.end())))
    assert reading.told == []
    return reading.records


@pytest.mark.timeout(180)
@settings(max_examples=10, deadline=None)
@given(contents())
def test_an_empty_catalogue_is_filled_with_the_same(
    tmp_path_factory: pytest.TempPathFactory, given: list[Record]
) -> None:
    directory = tmp_path_factory.mktemp("catalogues")
    there = asyncio.run(put(directory / "one.db", given))
    assert len(there) == len(given)
    for number, writer in enumerate((CsvWriter(), JsonWriter())):
        again = asyncio.run(put(directory / f"{number}.db", through(writer, there)))
        assert again == there


def test_what_was_cleared_is_cleared_by_an_import(tmp_path: Path) -> None:
    async def run() -> None:
        path = f"sqlite:///{tmp_path}/one.db"
        catalogue = await Catalogue.open(path, passwords=quick_passwords())
        store = catalogue.contents
        await store.add_server({"name": "one", "host": "h.example", "region": "north"})
        await store.add_title(
            {"name": "film", "description": "A", "regions": ["a;b"], "duration": 5.0}
        )
        await store.change_title("film", {"description": "", "regions": [], "duration": None})
        await store.change_server("one", {"region": "", "probes": []})
        files = [
            through(writer, [one async for one in store.records()])
            for writer in (CsvWriter(), JsonWriter())
        ]
        for records in files:
            await store.change_title(
                "film", {"description": "B", "regions": ["c"], "duration": 7.0}
            )
            await store.change_server("one", {"region": "south", "probes": [Probe(ProbeKind.ICMP)]})
            assert (await store.put(records)).changed == 2
            film, server = await store.get_title("film"), await store.get_server("one")
            assert (film.description, film.regions, film.duration) == ("", (), None)
            assert (server.region, server.probes) == ("", ())
        await catalogue.close()

    asyncio.run(run())


def test_no_cell_is_a_formula() -> None:
    title = {"name": "film", "title": "=cmd()", "description": "-2", "regions": ("@x", "a")}
    (cells,) = csv.reader([CsvWriter().line(Record(Kind.TITLE, title))])
    assert "'=cmd()" in cells
    assert not [one for one in cells if one.startswith(("=", "+", "-", "@"))]


@given(LINES)
def test_what_is_guarded_is_what_it_was(text: str) -> None:
    assert unguarded(guarded(text)) == text
    assert text == "" or not guarded(text).startswith(("=", "+", "-", "@", "\t", "\r"))
