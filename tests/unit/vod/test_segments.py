"""How titles are cut for browsers, and what is written of them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import av
import pytest

from heliograph.model.errors import (
    BusyError,
    GoneError,
    IncompatibleError,
    NotFoundError,
    ResourceError,
)
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.hls.ondemand import render
from heliograph.protocols.mp4 import Entry
from heliograph.storage.values import ObjectId
from heliograph.vod import blocks
from heliograph.vod.making import Maker
from heliograph.vod.manifest import BlockEntry, KeyPoint, Manifest, TitleTrack
from heliograph.vod.segments import LONGEST, TARGET, Plan, Rendition, index, plan

from . import film
from .film import Film

VIDEO = Track(0, Kind.VIDEO, Codec.H264, 90_000, 96)
SOUND = Track(1, Kind.AUDIO, Codec.AAC, 48_000, 97, channels=2)


def manifest(keys: Sequence[float], end: float, **fields: Any) -> Manifest:
    """A title with a block each second and key units at some seconds."""
    at = [round(key * 1e6) for key in keys]
    seconds = range(int(end))
    entries = [
        BlockEntry(n * 1_000_000, (n + 1) * 1_000_000, 100_000, (n * 100, n * 50)) for n in seconds
    ]
    return Manifest(
        "film",
        ObjectId("ab" * 16),
        "A film",
        round(end * 1e6),
        (TitleTrack(VIDEO, 100, 100, 10_000), TitleTrack(SOUND, 50, 50, 1_000)),
        entries,
        [KeyPoint(due, due + 80_000, due // 1_000_000, 0) for due in at],
        peak_bps=2_000_000,
        **fields,
    )


def starts(title: Manifest) -> list[float]:
    (only,) = plan(title).variants
    return [one.start_us / 1e6 for one in only.segments]


@pytest.mark.parametrize(
    ("keys", "cuts"),
    [
        ([*range(0, 20, 2)], [0, 4, 8, 12, 16]),
        ([n / 2 for n in range(40)], [0, 4, 8, 12, 16]),
        ([*range(0, 20, 3)], [0, 3, 6, 9, 12, 15]),
        ([0, 10], [0, 10]),
        ([0, 1, 1.5, 9, 9.5, 13], [0, 9, 13]),
    ],
)
def test_cuts_are_at_key_units_near_four_seconds(keys: list[float], cuts: list[float]) -> None:
    assert starts(manifest(keys, 20.0)) == cuts


def test_a_rest_that_is_short_stays_with_the_segment_before() -> None:
    assert starts(manifest([*range(0, 12, 2)], 11.5)) == [0, 4, 8]


def test_durations_add_up_to_what_is_shown() -> None:
    (only,) = plan(manifest([0, 3.96, 8.2, 11], 14.0)).variants
    assert [one.duration_us for one in only.segments] == [3_960_000, 4_240_000, 5_720_000]
    # shown from 0.08 s on
    assert sum(one.duration_us for one in only.segments) == 14_000_000 - 80_000


def test_without_key_units_for_long_it_is_cut_in_between_and_that_is_told() -> None:
    made = plan(manifest([0, 70], 75.0))
    assert [one.start_us for one in made.variants[0].segments] == [
        0,
        LONGEST,
        2 * LONGEST,
        70_000_000,
    ]
    assert not made.listing(made.variants[0]).independent
    assert "INDEPENDENT" not in render(made.listing(made.variants[0]))
    assert made.target == 30


def test_slides_are_not_cut_in_between() -> None:
    title = manifest([0, 200, 500], 600.0)
    slides = replace(title, tracks=(replace(title.tracks[0], units=3), title.tracks[1]))
    assert starts(slides) == [0, 200, 500]


def test_blocks_of_a_segment_are_those_that_may_hold_its_packets() -> None:
    (only,) = plan(manifest([0, 4, 8.5], 12.0)).variants
    assert [one.blocks for one in only.segments] == [range(4), range(3, 9), range(8, 12)]


def test_sound_alone_is_cut_evenly_at_whole_frames() -> None:
    alone = replace(manifest([], 20.0), tracks=(TitleTrack(SOUND, 50, 50, 1_000),), keys=())
    (only,) = plan(alone).variants
    frames = [one.duration_us * 48_000 / 1024e6 for one in only.segments[:-1]]
    assert frames == pytest.approx([188] * 4, abs=1e-4)
    assert not only.pictures


@pytest.mark.parametrize(
    "keys",
    [
        [0, 2, 3, 6, 7, 8.5, 12, 13, 44, 48, 50],
        [0, 1, 2, 40, 41],
        [n * 2 for n in range(30)],
        [n * 3.3 for n in range(18)],
    ],
)
def test_what_was_listed_of_a_recording_stays(keys: list[float]) -> None:
    whole = plan(manifest(keys, 60.0)).variants[0]
    all_blocks = manifest(keys, 60.0).blocks
    known = None
    for end in (0.5, 3, 5.9, 6, 9, 11.2, 14, 17, 33.5, 47, 52, 55, 60):
        last = BlockEntry(int(end) * 10**6, round(end * 1e6), 9, (0, 0))
        growing = replace(
            manifest([key for key in keys if key < end], 60.0),
            live=end < 60,
            blocks=[*all_blocks[: int(end)], last][: None if end < 60 else -1],
        )
        # the same whether it was looked at before or not
        made = plan(growing, known)
        assert made.variants == plan(growing).variants
        known = made
        found = made.variants[0].segments
        assert [(one.start_us, one.end_us, one.duration_us) for one in found] == [
            (one.start_us, one.end_us, one.duration_us) for one in whole.segments[: len(found)]
        ]
        assert end == 60 or len(found) < len(whole.segments)
    assert len(found) == len(whole.segments)


def test_a_recording_that_begins_has_nothing_to_list_yet() -> None:
    made = plan(replace(manifest([0], 2.0), live=True))
    with pytest.raises(NotFoundError):
        made.listing(made.variants[0])
    with pytest.raises(NotFoundError):
        plan(replace(manifest([0], 2.0), blocks=()))


def test_a_recording_is_told_to_grow_and_by_differences() -> None:
    made = plan(replace(manifest([*range(0, 200, 2)], 200.0), live=True))
    listing = made.listing(made.variants[0])
    text = render(listing)
    assert "#EXT-X-PLAYLIST-TYPE:EVENT" in text
    assert "ENDLIST" not in text
    assert f"#EXT-X-TARGETDURATION:{TARGET}" in text
    skipped = render(listing, skip=True)
    found = int(skipped.partition("SKIPPED-SEGMENTS=")[2].split("\n")[0])
    # no more than what ends 36 s before the end
    assert found == len(listing.durations_us) - 9
    assert skipped.splitlines()[-1] == text.splitlines()[-1]
    assert "EXT-X-MAP" not in skipped


def test_what_mp4_cannot_carry_is_left_out_or_refused() -> None:
    pcma = Track(1, Kind.AUDIO, Codec.PCMA, 8000, 8, channels=1)
    title = manifest([0, 4], 8.0)
    mute = replace(title, tracks=(title.tracks[0], TitleTrack(pcma, 5, 5, 5)))
    assert [one.media for one in plan(mute).variants] == [(VIDEO,)]
    vp8 = replace(VIDEO, codec=Codec.VP8)
    with pytest.raises(IncompatibleError, match="vp8"):
        plan(replace(title, tracks=(TitleTrack(vp8, 5, 5, 5), title.tracks[1])))


# --- real media -----------------------------------------------------------------------------------


async def whole(made: Maker, title: Film, rendition: Rendition) -> bytes:
    parts = [await made.init(title.manifest, title, rendition)]
    for number in range(len(rendition.segments)):
        parts.append(await made.segment(title.manifest, title, rendition, number))  # noqa: PERF401
    return b"".join(parts)


def packets(data: bytes) -> dict[str, list[tuple[int, int, bool, int]]]:
    """By kind: decoding and presentation time, key, size."""
    found: dict[str, list[tuple[int, int, bool, int]]] = {"video": [], "audio": []}
    with av.open(io.BytesIO(data)) as container:
        for packet in container.demux():
            if packet.dts is not None:
                row = packet.dts, packet.pts or 0, packet.is_keyframe, packet.size
                found[packet.stream.type].append(row)
    return found


def given(title: Film, track: int) -> list[tuple[int, int, bool]]:
    return [unit[1:4] for unit in title.units if unit[0] == track]


async def lines(made: Maker, title: Film, cut: Plan) -> list[str]:
    entries = {
        one.name: await made.entries(title.manifest, title, one.media)
        for one in (*cut.variants, *cut.sounds)
    }
    return index(cut, entries, "?token=x").splitlines()


@pytest.mark.parametrize(
    ("codec", "bframes", "sound"),
    [("libx264", 2, "aac"), ("libx264", 0, "libopus"), ("libx265", 0, "aac")],
)
async def test_segments_hold_every_unit_with_its_times(
    codec: str, bframes: int, sound: str
) -> None:
    title = film.title(
        film.mp4(10.0, codec=codec, bframes=bframes, sound_codec=sound), limit=16 << 10
    )
    made = Maker()
    (only,) = made.plan(title.manifest).variants
    assert len(title.data) > 3
    found = packets(await whole(made, title, only))
    assert [row[:3] for row in found["video"]] == given(title, 0)
    assert [row[:2] for row in found["audio"]] == [row[:2] for row in given(title, 1)]
    await made.close()


def test_the_rate_of_pictures_is_that_of_the_time_in_which_they_are_shown() -> None:
    entry = Entry(VIDEO, "avc1.42001e", 320, 180, b"")
    title = manifest([0, 2, 4], 6.08)  # sound goes on, and reordered pictures begin late
    video = replace(title.tracks[0], units=150, begin_us=80_000, end_us=6_080_000)
    title = replace(title, tracks=(video, title.tracks[1]))
    cut = plan(title)
    assert "FRAME-RATE=25.000" in index(cut, {cut.variants[0].name: [entry]})
    # The control: without knowing when its pictures end it is that of the whole title.
    video = replace(video, end_us=0)
    cut = plan(replace(title, tracks=(video, title.tracks[1]), duration_us=7_000_000))
    assert "FRAME-RATE=21.676" in index(cut, {cut.variants[0].name: [entry]})


async def test_pictures_of_a_title_decode_as_those_of_its_source() -> None:
    source = film.mp4(10.0)
    title, made = film.title(source), Maker()
    (only,) = made.plan(title.manifest).variants

    def pictures(data: bytes) -> list[int]:
        with av.open(io.BytesIO(data)) as container:
            return [hash(bytes(frame.planes[0])) for frame in container.decode(video=0)]

    assert pictures(await whole(made, title, only)) == pictures(source)
    # and any segment can be entered
    late = await made.init(title.manifest, title, only)
    late += await made.segment(title.manifest, title, only, 1)
    assert pictures(late) == pictures(source)[100:200]
    await made.close()


async def test_a_source_that_changed_its_size_is_seen_on() -> None:
    small, large = (film.title(film.mp4(6.0, heights=(h,), sounds=())) for h in (96, 180))
    title, made = film.joined(small, large), Maker()
    (only,) = made.plan(title.manifest).variants
    layout = await made.layout(title.manifest, title)
    file = [await made.place(title.manifest, title, layout, one) for one in layout.places]
    for data in (await whole(made, title, only), layout.head + b"".join(file)):
        with av.open(io.BytesIO(data)) as container:
            heights = [frame.height for frame in container.decode(video=0)]
        assert heights == [96] * 150 + [180] * 150
    await made.close()


async def test_renditions_and_languages_are_offered() -> None:
    title, made = film.title(film.mp4(8.0, heights=(180, 96), sounds=("eng", "deu"))), Maker()
    cut = made.plan(title.manifest)
    text = await lines(made, title, cut)
    media = [line for line in text if line.startswith("#EXT-X-MEDIA:")]
    assert [('LANGUAGE="eng"' in line, "DEFAULT=YES" in line) for line in media] == [
        (True, True),
        (False, False),
    ]
    best, worse = (line for line in text if line.startswith("#EXT-X-STREAM-INF:"))
    assert "RESOLUTION=320x180" in best
    assert "RESOLUTION=170x96" in worse
    assert 'AUDIO="sound"' in best
    assert 'CODECS="avc1.' in best
    assert "mp4a.40.2" in best
    assert sum(line.endswith("media.m3u8?token=x") for line in text) == 2
    sizes = [int(line.split("BANDWIDTH=")[1].split(",")[0]) for line in (best, worse)]
    assert sizes[0] > sizes[1]
    for one in (*cut.variants, *cut.sounds):
        found = packets(await whole(made, title, one))
        rows = found["video" if one.pictures else "audio"]
        assert [row[:2] for row in rows] == [row[:2] for row in given(title, one.lead.id)]
    await made.close()


async def test_peaks_are_not_higher_than_said() -> None:
    title, made = film.title(film.mp4(12.0)), Maker()
    cut = made.plan(title.manifest)
    (said,) = (line for line in await lines(made, title, cut) if "STREAM-INF" in line)
    peak = int(said.split(":BANDWIDTH=")[1].split(",")[0])
    only = cut.variants[0]
    for number, segment in enumerate(only.segments):
        data = await made.segment(title.manifest, title, only, number)
        assert 8e6 * len(data) / segment.duration_us <= peak * 1.1
    await made.close()


async def test_the_same_segment_is_made_once_for_many_and_the_same_everywhere() -> None:
    title, made = film.title(film.mp4()), Maker()
    (only,) = made.plan(title.manifest).variants
    await made.init(title.manifest, title, only)
    title.reads.clear()
    found = await asyncio.gather(*(made.segment(title.manifest, title, only, 1) for _ in range(20)))
    assert len({*found}) == 1
    assert set(title.reads.values()) == {1}
    assert await made.segment(title.manifest, title, only, 1) == found[0]
    assert made.counters["made"] == 1
    assert made.counters["shared"] == 20
    other = Maker()
    assert await other.segment(title.manifest, title, only, 1) == found[0]
    await made.close()
    await other.close()


async def test_what_is_kept_has_a_bound() -> None:
    title, made = film.title(film.mp4()), Maker(max_kept=200_000)
    (only,) = made.plan(title.manifest).variants
    for number in range(len(only.segments)):
        await made.segment(title.manifest, title, only, number)
    for place in (layout := await made.layout(title.manifest, title)).places:
        await made.place(title.manifest, title, layout, place)
    assert 0 < made.kept <= 200_000
    await made.close()


async def test_lost_blocks_are_told_and_tried_again() -> None:
    title, made = film.title(film.mp4()), Maker()
    (only,) = made.plan(title.manifest).variants
    await made.init(title.manifest, title, only)
    number = only.segments[1].blocks[-1]
    title.broken[number] = GoneError("lost")
    with pytest.raises(GoneError):
        await made.segment(title.manifest, title, only, 1)
    title.data[number], good = b"HGB1 and nothing else", title.data[number]
    title.broken.clear()
    with pytest.raises(ResourceError, match="cannot be used"):
        await made.segment(title.manifest, title, only, 1)
    title.data[number] = good
    assert await made.segment(title.manifest, title, only, 1)
    assert made.counters["failed"] == 2
    await made.close()


async def test_units_that_cannot_be_put_together_are_left_out_and_counted() -> None:
    title, made = film.title(film.mp4(), ballast=3000), Maker()
    (only,) = made.plan(title.manifest).variants
    number = only.segments[1].blocks[1]
    inner = next(
        one.payload
        for one in blocks.read(title.data[number])
        if one.track == 0 and not one.flags & (blocks.FIRST | blocks.LAST)
    )
    begins_again = inner[:1] + bytes((inner[1] | 0x80,)) + inner[2:]
    title.data[number] = title.data[number].replace(inner, begins_again, 1)
    data = await made.init(title.manifest, title, only)
    data += await made.segment(title.manifest, title, only, 1)
    assert len(packets(data)["video"]) == 99
    assert made.counters["broken"] >= 1
    await made.close()


async def test_blocks_that_do_not_come_end_in_a_refusal_and_too_many_are_refused() -> None:
    title, made = film.title(film.mp4()), Maker(patience=0.05, max_waiting=2)
    (only,) = made.plan(title.manifest).variants
    await made.init(title.manifest, title, only)
    never = asyncio.Event()

    class Slow:
        async def block(self, number: int, deadline: float | None = None) -> bytes:
            assert deadline is not None
            await never.wait()
            return b""

    asked = [
        asyncio.create_task(made.segment(title.manifest, Slow(), only, number)) for number in (0, 1)
    ]
    while made.waiting < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await made.segment(title.manifest, Slow(), only, 2)
    for one in asked:
        with pytest.raises(BusyError) as late:
            await one
        assert late.value.retry_after
    assert made.counters["timeouts"] == 2
    assert made.counters["refused"] == 1
    assert made.waiting == 0
    await made.close()


def test_neighbouring_segments_share_no_time() -> None:
    (only,) = plan(film.title(film.mp4()).manifest).variants
    assert all(before.end_us == after.start_us for before, after in pairwise(only.segments))
    assert only.segments[-1].end_us is None
