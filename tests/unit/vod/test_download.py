"""A title as one file: its bytes are known before they are made, and are a file that plays."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import av
import pytest

from heliograph.model.errors import IncompatibleError, NotFoundError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.mp4 import TimedUnit
from heliograph.protocols.mp4.boxes import walk
from heliograph.vod import making
from heliograph.vod.download import Layout, carried, fill, lay_out
from heliograph.vod.making import Maker
from heliograph.vod.manifest import TitleTrack

from . import film
from .film import Film


async def written(title: Film) -> bytes:
    made = Maker()
    layout = await made.layout(title.manifest, title)
    places = [await made.place(title.manifest, title, layout, one) for one in layout.places]
    assert [len(data) for data in places] == [one.size for one in layout.places]
    assert made.counters["left_out"] == 0
    await made.close()
    data = layout.head + b"".join(places)
    assert len(data) == layout.size
    return data


@pytest.mark.parametrize("limit", [8 << 10, 64 << 10])
@pytest.mark.parametrize("bframes", [0, 2])
async def test_the_file_holds_every_unit_of_every_track(limit: int, bframes: int) -> None:
    source = film.mp4(8.0, heights=(180, 96), sounds=("eng", "deu"), bframes=bframes)
    title = film.title(source, limit=limit)
    data = await written(title)
    found: dict[int, list[tuple[int, int]]] = {}
    with av.open(io.BytesIO(data)) as container:
        for packet in container.demux():
            if packet.dts is not None:
                found.setdefault(packet.stream.index, []).append((packet.dts, packet.pts or 0))
        assert [one.language for one in container.streams] == ["und", "und", "eng", "deu"]
        assert [bool(one.disposition & 1) for one in container.streams] == [
            True,
            False,
            True,
            False,
        ]
        assert (container.duration or 0) / 1e6 == pytest.approx(8.0, abs=0.3)
    for track in range(4):
        assert found[track] == [unit[1:3] for unit in title.units if unit[0] == track]


async def test_little_of_it_is_filling() -> None:
    title = film.title(film.mp4(), ballast=5_000)
    assert len(await written(title)) < 1.06 * sum(one.bytes for one in title.manifest.blocks)


async def test_units_larger_than_a_block_fit() -> None:
    title = film.title(film.mp4(4.0, sounds=()), limit=4096, ballast=20_000)
    data = await written(title)
    with av.open(io.BytesIO(data)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 100


async def test_players_seek_by_its_index() -> None:
    title = film.title(film.mp4(12.0), limit=8 << 10)
    data = await written(title)
    with av.open(io.BytesIO(data)) as container:
        for second in (9.5, 3.0, 11.0):
            container.seek(round(second * 1e6))
            frame = next(container.decode(video=0))
            assert frame.key_frame
            assert second - 4.1 < float(frame.time or 0) <= second + 0.1


async def test_boxes_are_where_the_index_says() -> None:
    title = film.title(film.mp4(12.0))
    data = await written(title)
    kinds = [kind for kind, _ in walk(data)]
    assert kinds[:3] == ["ftyp", "moov", "sidx"]
    index = next(body for kind, body in walk(data) if kind == "sidx")
    rows = index[32:]
    sizes = [int.from_bytes(rows[at : at + 4], "big") for at in range(0, len(rows), 12)]
    at = len(data) - sum(sizes)
    for size in sizes:
        assert data[at + 4 : at + 8] == b"moof"
        at += size
    assert at == len(data)


async def test_units_without_room_are_left_out_and_counted_not_written_elsewhere() -> None:
    title, made = film.title(film.mp4()), Maker()
    layout = await made.layout(title.manifest, title)
    place = layout.places[0]
    units = [TimedUnit(1, 1024 * n, 1024 * n, True, bytes(100)) for n in range(5_000)]
    data, left = fill(layout, place, units)
    assert len(data) == place.size
    assert left > 0
    assert [kind for kind, _ in walk(data)] in (["moof", "mdat"], ["moof", "mdat", "free"])
    await made.close()


def test_what_mp4_cannot_carry_is_told() -> None:
    title = film.title(film.mp4()).manifest
    vp8 = Track(0, Kind.VIDEO, Codec.VP8, 90_000, 96)
    with pytest.raises(IncompatibleError):
        carried(replace(title, tracks=(TitleTrack(vp8, 1, 1, 1),)))
    with pytest.raises(NotFoundError):
        carried(replace(title, blocks=()))


def test_long_titles_share_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heliograph.vod.download.MAX_REFERENCES", 3)
    title = film.title(film.mp4())
    entries = [*_entries(title)]
    layout = lay_out(title.manifest, entries)
    index = next(body for kind, body in walk(layout.head) if kind == "sidx")
    assert int.from_bytes(index[30:32], "big") <= 3
    sizes = [int.from_bytes(index[32 + 12 * n : 36 + 12 * n], "big") for n in range(index[31])]
    assert sum(sizes) == layout.size - len(layout.head)


def _entries(title: Film) -> Iterator[object]:
    from heliograph.protocols.mp4 import describe

    for one in title.manifest.tracks:
        key = next(unit[4] for unit in title.units if unit[0] == one.track.id)
        yield describe(one.track, key)


async def test_a_long_title_is_laid_out_beside_the_event_loop_and_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    title, made = film.title(film.mp4(4.0)), Maker()
    threads: list[threading.Thread] = []

    def noting(*args: Any) -> Layout:
        threads.append(threading.current_thread())
        return lay_out(*args)

    monkeypatch.setattr(making, "lay_out", noting)
    both = [made.layout(title.manifest, title) for _ in range(2)]
    first, second = await asyncio.gather(*both)
    assert first is second
    assert await made.layout(title.manifest, title) is first
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()
    await made.close()
