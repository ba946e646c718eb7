"""Importing: what a viewer gets is what is in the file, at the file's times."""

from __future__ import annotations

import itertools
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest
from tests.unit.vod.conftest import Files
from tests.unit.vod.imports import Title, titled
from tests.unit.vod.made_files import Made, demuxed, make

from heliograph.model.media import Codec
from heliograph.protocols.payload import container, h264, nal
from heliograph.vod import blocks


def plain(data: bytes, codec: Codec) -> bytes:
    """A unit without what containers and RTP write differently."""
    if codec in (Codec.H264, Codec.H265):
        sets = {h264.SPS, h264.PPS, h264.DELIMITER, h264.SEI}
        kinds = (
            (lambda one: one[0] & 31)
            if codec is Codec.H264
            else (lambda one: {32: 7, 33: 8, 34: 7, 35: 9, 39: 6, 40: 6}.get(one[0] >> 1, 1))
        )
        return b"|".join(one for one in nal.split_annexb(data) if kinds(one) not in sets)
    return data.removeprefix(b"\x12\x00")  # AV1's temporal delimiter


FILES = {
    "h264.mp4": (Made(), Codec.H264, Codec.AAC),
    "h264.mov": (Made(audio=["pcm_s16le"]), Codec.H264, Codec.L16),
    "h264.mkv": (Made(audio=["libopus"]), Codec.H264, Codec.OPUS),
    "h264.ts": (Made(), Codec.H264, Codec.AAC),
    "h265.mp4": (Made(video="h265"), Codec.H265, Codec.AAC),
    "vp8.webm": (Made(video="vp8", audio=["libopus"]), Codec.VP8, Codec.OPUS),
    "vp9.webm": (Made(video="vp9", audio=["libopus"]), Codec.VP9, Codec.OPUS),
    "av1.mp4": (Made(video="av1", audio=["libopus"]), Codec.AV1, Codec.OPUS),
    "mpeg2.ts": (Made(video="mpeg2"), Codec.MPEG2, Codec.AAC),
    "laws.mov": (Made(audio=["pcm_mulaw", "pcm_alaw"]), Codec.H264, Codec.PCMU),
    "fine.mov": (Made(audio=["pcm_s24le"]), Codec.H264, Codec.L24),
}


@pytest.mark.parametrize("name", FILES)
def test_every_picture_and_sound_of_the_file_is_in_the_title(media: Files, name: str) -> None:
    made, picture, sound = FILES[name]
    path = media(name, made)
    title = titled(path)
    assert [one.track.codec for one in title.manifest.tracks][:2] == [picture, sound]
    assert title.remarks == []

    source = demuxed(path, 0)
    with av.open(str(path)) as file:
        context = file.streams[0].codec_context
        framing = container.framing(context.codec.canonical_name, context.extradata or b"")
    units = title.units(0)
    assert len(units) == 50 == len(source.payloads)
    for unit, data, key in zip(units, source.payloads, source.keys, strict=True):
        assert plain(unit.data, picture) == plain(framing(data)[0], picture)
        assert unit.key == key
        assert not unit.after_loss

    heard = demuxed(path, 1)
    received = [unit.data for unit in title.units(1)]
    if sound in (Codec.L16, Codec.L24):
        width = 2 if sound is Codec.L16 else 3
        both = b"".join(received), b"".join(heard.payloads)
        assert all(both[0][at::width] == both[1][width - 1 - at :: width] for at in range(width))
    elif name.endswith(".ts") and sound is Codec.AAC:
        assert [one[-20:] for one in received] == [one[-20:] for one in heard.payloads]
    else:
        assert b"".join(received) == b"".join(heard.payloads)


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "h264.ts", "h265.mp4", "vp9.webm"])
def test_times_are_those_of_the_file(media: Files, name: str) -> None:
    path = media(name, FILES[name][0])
    title = titled(path)
    offsets = []
    for index in (0, 1):
        clock = title.manifest.tracks[index].track.clock_rate
        first = [r for r in title.records(index) if r.flags & blocks.FIRST]
        source = demuxed(path, index)
        # one offset for all, by which the file's clock is another one than the title's
        offset = source.pts[0] - first[0].timestamp / clock
        offsets.append(offset)
        for record, pts in zip(first, source.pts, strict=True):
            # containers round to milliseconds; in sound that is mended
            assert record.timestamp / clock + offset == pytest.approx(pts, abs=0.0021)
        if index == 0:
            for record, dts in zip(first, source.dts, strict=True):
                if dts is not None:
                    assert record.due_us / 1e6 + offset == pytest.approx(dts, abs=0.0011)
    assert offsets[0] == pytest.approx(offsets[1], abs=0.0021)
    assert min(r.due_us for index in (0, 1) for r in title.records(index)) == 0


def test_sound_has_no_gaps_though_matroska_rounds_its_times(media: Files) -> None:
    title = titled(media("round.mkv", Made(audio=["aac"])))
    stamps = [record.timestamp for record in title.records(1)]
    assert {b - a for a, b in itertools.pairwise(stamps)} == {1024}


def test_all_packets_are_in_the_order_in_which_they_are_due(media: Files) -> None:
    title = titled(media("h264.ts", FILES["h264.ts"][0]))
    dues = [record.due_us for data in title.blocks for record in blocks.read(data)]
    assert dues == sorted(dues)
    assert title.manifest.duration_us == pytest.approx(2_040_000, abs=60_000)


def test_parameter_sets_are_told_and_stand_before_key_pictures(media: Files) -> None:
    for name in ("h264.mp4", "h265.mp4"):
        title = titled(media(name, FILES[name][0]))
        track = title.manifest.tracks[0].track
        assert any(key.startswith("sprop-") for key in track.fmtp)
        keys = [r for r in title.records(0) if r.flags & (blocks.KEY | blocks.FIRST) == 3]
        assert len(keys) == 2
        for record in keys:
            parameter = record.payload[0] & 31 == 24 or record.payload[0] >> 1 & 63 in (32, 48)
            assert parameter, "a key picture begins with an aggregate that has the sets"


def test_key_points_are_those_of_the_pictures(media: Files) -> None:
    title = titled(media("h264.mp4", FILES["h264.mp4"][0]))
    (first, second) = title.manifest.keys
    assert (first.due_us, first.pts_us) == (0, 80_000)
    assert (second.due_us, second.pts_us) == (1_000_000, 1_080_000)
    assert title.manifest.key_before(1_500_000, 0) == second


def test_the_run_up_and_padding_of_sound_are_told(media: Files) -> None:
    for name in ("h264.mp4", "av1.mp4", "vp9.webm"):
        title = titled(media(name, FILES[name][0]))
        for one in title.manifest.tracks:
            assert one.end_us - one.begin_us == pytest.approx(2_000_000, abs=100), name
        sound = title.records(1)
        clock = title.manifest.tracks[1].track.clock_rate
        run_up = title.manifest.tracks[1].begin_us / 1e6 - sound[0].timestamp / clock
        assert run_up == pytest.approx(
            {Codec.AAC: 1024, Codec.OPUS: 312}[title.manifest.tracks[1].track.codec] / 48_000,
            abs=1e-5,
        )


def test_sound_cut_off_by_an_edit_list_is_left_out_but_for_the_run_up(
    media: Files, tmp_path: Path
) -> None:
    whole = media("h264.mp4", FILES["h264.mp4"][0])
    cut = tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as out:
        streams = {one.index: out.add_stream_from_template(one) for one in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            index = packet.stream_index
            shift = int(Fraction(13, 10) / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = streams[index]
            out.mux(packet)
    title = titled(cut)
    video, sound = title.manifest.tracks
    # from the key picture at 1 s on, though shown only from 1.3 s
    assert video.units == 25
    assert video.end_us - video.begin_us == pytest.approx(700_000, abs=21_000)
    assert sound.begin_us == pytest.approx(video.begin_us, abs=21_000)
    first = title.records(1)[0].timestamp / 48_000 * 1e6
    assert 50_000 < sound.begin_us - first < 130_000


def test_several_tracks_of_sound_keep_their_languages(media: Files) -> None:
    made = Made(audio=["aac", "libopus", "aac"], languages=["deu", "eng"])
    title = titled(media("many.mkv", made))
    assert [one.language for one in title.manifest.tracks] == ["", "deu", "eng", ""]
    assert [one.track.id for one in title.manifest.tracks] == [0, 1, 2, 3]
    assert len({one.track.payload_type for one in title.manifest.tracks}) == 4


def renditions(title: Title) -> list[tuple[int, int]]:
    return [(one.track.id, one.rendition) for one in title.manifest.tracks]


def test_several_pictures_are_renditions_the_best_first(media: Files) -> None:
    title = titled(media("two.mkv", Made(sizes=[(320, 180)], audio=["aac"])))
    assert renditions(title) == [(0, 0), (1, 1), (2, 0)]
    big, small = (sum(len(r.payload) for r in title.records(track)) for track in (0, 1))
    assert big > small
    assert title.remarks == [
        "rendition 1 (160×90): all 2 key pictures are those of the best one",
    ]


def test_further_files_are_renditions_and_it_is_told_where_their_keys_differ(
    media: Files,
) -> None:
    best = media("h264.mp4", FILES["h264.mp4"][0])
    same = media("small.mkv", Made(size=(96, 64), audio=["aac"]))
    other = media("other.mp4", Made(size=(64, 64), audio=[], encoder={"g": "20"}))
    title = titled(best, same, other)
    assert renditions(title) == [(0, 0), (1, 1), (2, 2), (3, 0)]
    assert title.remarks[0].startswith("rendition 1 (96×64): all 2 key pictures")
    assert title.remarks[1].startswith("rendition 2 (64×64): 1 of 2 key pictures of the best one")
    # the same pictures are due and shown at the same time
    for track in (1, 2):
        first = [r.timestamp for r in title.records(track) if r.flags & blocks.FIRST]
        assert first[0] == pytest.approx(80 * 90, abs=200)


def test_pictures_before_the_first_key_picture_are_left_out(media: Files, tmp_path: Path) -> None:
    whole = media("h264.ts", FILES["h264.ts"][0])
    begun = tmp_path / "begun.ts"
    data = whole.read_bytes()
    begun.write_bytes(data[: 188 * 6] + data[188 * 60 :])
    title = titled(begun, partial=True)
    assert title.manifest.tracks[0].units == 25
    assert any("before the first key picture left out" in one for one in title.remarks)
    assert title.units(0)[0].key


def test_pictures_at_uneven_times_keep_them(tmp_path: Path) -> None:
    path = make(tmp_path / "even.mp4", Made(audio=[], encoder={"bf": "0"}))
    uneven = tmp_path / "uneven.mkv"
    with av.open(str(path)) as source, av.open(str(uneven), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is None:
                continue
            packet.pts = packet.dts = int((number + (number // 10) ** 2 * 20) * 512)
            packet.stream = stream
            out.mux(packet)
    title = titled(uneven)
    dues = [r.due_us for r in title.records(0) if r.flags & blocks.FIRST]
    assert dues == [(n + (n // 10) ** 2 * 20) * 40_000 for n in range(50)]


@pytest.mark.parametrize(("begins", "lasts"), [(0.0, 3.0), (13.0, 2.0)])
def test_sound_that_begins_late_or_ends_early_keeps_its_place(
    media: Files, tmp_path: Path, begins: float, lasts: float
) -> None:
    pictures = media("long.mkv", Made(audio=[], seconds=20, size=(64, 64)))
    sound = media(f"{lasts}.mkv", Made(video=None, audio=["libopus"], seconds=lasts))
    both = tmp_path / "both.mkv"
    with (
        av.open(str(pictures)) as one,
        av.open(str(sound)) as other,
        av.open(str(both), "w") as out,
    ):
        streams = [out.add_stream_from_template(file.streams[0]) for file in (one, other)]
        packets = []
        for index, file in enumerate((one, other)):
            for packet in file.demux():
                if packet.size:
                    shift = index * int(begins * 1000)
                    packet.pts += shift
                    packet.dts = packet.pts if packet.dts is None else packet.dts + shift
                    packet.stream = streams[index]
                    packets.append(packet)
        out.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))
    title = titled(both)
    assert title.remarks == []
    assert title.manifest.tracks[1].units == pytest.approx(lasts * 50, abs=2)
    assert title.manifest.duration_us == pytest.approx(20_080_000, abs=60_000)
    first = title.records(1)[0]
    assert first.timestamp / 48_000 == pytest.approx(begins + 0.08, abs=0.06)
    dues = [record.due_us for data in title.blocks for record in blocks.read(data)]
    assert dues == sorted(dues)


def test_a_packet_of_a_title_fits_a_network(media: Files) -> None:
    for name, (made, *_) in FILES.items():
        title = titled(media(name, made))
        for track in range(len(title.manifest.tracks)):
            assert max(len(r.payload) for r in title.records(track)) <= 1200, name


def test_the_server_does_not_load_ffmpeg_to_import_export_or_record() -> None:
    program = (
        "import sys, heliograph.vod.importing, heliograph.vod.recording, heliograph.vod.export,"
        " heliograph.vod.verify, heliograph.vod.folder, heliograph.vod.describe;"
        " assert not {'av', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_sound_that_says_what_it_is_only_late_is_left_out_with_a_remark(
    media: Files, tmp_path: Path
) -> None:
    """In a transport stream only the packets say so, and tracks are counted at the begin."""
    pictures = media("long.ts", Made(audio=[], seconds=20, size=(64, 64)))
    sound = media("2.ts", Made(video=None, audio=["aac"]))
    both = tmp_path / "both.ts"
    with (
        av.open(str(pictures)) as one,
        av.open(str(sound)) as other,
        av.open(str(both), "w") as out,
    ):
        streams = [out.add_stream_from_template(file.streams[0]) for file in (one, other)]
        packets = []
        for index, file in enumerate((one, other)):
            for packet in file.demux():
                if packet.size:
                    packet.pts += index * 15 * 90_000
                    packet.dts = packet.dts + index * 15 * 90_000
                    packet.stream = streams[index]
                    packets.append(packet)
        out.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))
    title = titled(both)
    assert [one.units for one in title.manifest.tracks] == [500]
    assert title.remarks == ["track 1 (aac) is left out: nothing comes of it at the begin"]
