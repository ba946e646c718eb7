"""Exports: other programs find in them what was in the file that was imported."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from tests.unit.vod.conftest import Files
from tests.unit.vod.imports import Title, titled
from tests.unit.vod.made_files import Made, demuxed, make

from heliograph.model.errors import (
    GoneError,
    MalformedError,
    ResourceError,
    UnsupportedError,
)
from heliograph.vod.export import ExportProgress, export_mp4

SOURCES = {
    "h264.mp4": Made(),
    "h265.mp4": Made(video="h265"),
    "vp9.mp4": Made(video="vp9", audio=["libopus"]),
    "av1.mp4": Made(video="av1", audio=["libopus"]),
}


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def probed(path: Path, entries: str) -> list[list[str]]:
    """What ffprobe says of each stream; it has nothing to complain of."""
    done = subprocess.run(
        ["ffprobe", "-v", "warning", "-show_entries", entries, "-of", "csv=p=0", str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return [line.split(",") for line in done.stdout.splitlines()]


def frame_sums(path: Path, stream: str) -> list[list[str]]:
    """Times and digests of the decoded frames, as ``ffmpeg -f framemd5`` writes them."""
    done = subprocess.run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-i",
            str(path),
            "-map",
            stream,
            "-fps_mode",
            "passthrough",
            "-f",
            "framemd5",
            "-",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    assert lines
    return [[field.strip() for field in line.split(",")] for line in lines]


@pytest.mark.parametrize("name", SOURCES)
async def test_ffmpeg_decodes_the_same_frames_at_the_same_times(
    media: Files, tmp_path: Path, name: str
) -> None:
    path = media(name, SOURCES[name])
    title = titled(path)
    out = tmp_path / "out.mp4"
    done = await export_mp4(title.manifest, title, out)
    assert done.bytes == out.stat().st_size
    assert (done.broken, done.tracks) == (0, (0, 1))
    for stream in ("0:v:0", "0:a:0"):
        assert frame_sums(out, stream) == frame_sums(path, stream)


async def test_a_frame_that_is_missing_is_seen(media: Files, tmp_path: Path) -> None:
    """The comparison above can fail."""
    path = media("h264.mp4", SOURCES["h264.mp4"])
    shorter = make(tmp_path / "shorter.mp4", Made(seconds=1.96))
    assert frame_sums(shorter, "0:v:0") != frame_sums(path, "0:v:0")
    assert frame_sums(shorter, "0:a:0") != frame_sums(path, "0:a:0")


async def test_what_was_cut_by_an_edit_list_stays_cut(media: Files, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    with (
        av.open(str(media("h264.mp4", SOURCES["h264.mp4"]))) as source,
        av.open(str(cut), "w") as made,
    ):
        streams = {one.index: made.add_stream_from_template(one) for one in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                shift = int(Fraction(13, 10) / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = streams[packet.stream_index]
                made.mux(packet)
    title = titled(cut)
    out = tmp_path / "out.mp4"
    await export_mp4(title.manifest, title, out)
    pictures = frame_sums(out, "0:v:0")
    assert [one[-1] for one in pictures] == [one[-1] for one in frame_sums(cut, "0:v:0")]
    assert len(pictures) in (17, 18)


async def test_ffprobe_finds_no_fault_in_tracks_languages_and_edits(
    media: Files, tmp_path: Path
) -> None:
    made = Made(sizes=[(320, 180)], audio=["aac", "libopus"], languages=["deu", "eng"], seconds=5)
    path = media("many.mkv", made)
    title = titled(path, block=64 << 10)
    assert len(title.blocks) > 3
    out = tmp_path / "out.mp4"
    await export_mp4(title.manifest, title, out)
    entries = "stream=codec_name,start_time,duration,nb_frames:stream_tags=language"
    rows = probed(out, entries + ":stream_disposition=default")
    assert [(row[0], row[3], row[4], row[5]) for row in rows] == [
        ("h264", "125", "1", "und"),
        ("h264", "125", "0", "und"),
        ("aac", rows[2][3], "1", "deu"),
        ("opus", rows[3][3], "0", "eng"),
    ]
    assert all(float(row[1]) == pytest.approx(0, abs=0.003) for row in rows)
    assert all(float(row[2]) == pytest.approx(5.0, abs=0.03) for row in rows)


async def test_times_and_keys_are_those_of_the_source(media: Files, tmp_path: Path) -> None:
    for name in SOURCES:
        path = media(name, SOURCES[name])
        title = titled(path)
        out = tmp_path / name
        await export_mp4(title.manifest, title, out)
        for stream in (0, 1):
            source, made = demuxed(path, stream), demuxed(out, stream)
            assert made.keys == source.keys
            assert made.pts == pytest.approx(source.pts, abs=2e-5)
            assert made.dts == pytest.approx(source.dts, abs=2e-5)
            assert [len(one) for one in made.payloads[1:]] == pytest.approx(
                [len(one) for one in source.payloads[1:]], abs=60
            )


async def test_the_tables_stand_in_front(media: Files, tmp_path: Path) -> None:
    title = titled(media("h264.mp4", SOURCES["h264.mp4"]))
    out = tmp_path / "out.mp4"
    told: list[ExportProgress] = []
    await export_mp4(title.manifest, title, out, progress=told.append)
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert [one.block for one in told] == list(range(1, len(title.blocks) + 1))
    assert names(tmp_path) == ["out.mp4"]


async def test_some_tracks_are_exported_alone(media: Files, tmp_path: Path) -> None:
    title = titled(media("h264.mp4", SOURCES["h264.mp4"]))
    out = tmp_path / "sound.mp4"
    done = await export_mp4(title.manifest, title, out, tracks={1})
    assert done.tracks == (1,)
    with av.open(str(out)) as file:
        assert [one.type for one in file.streams] == ["audio"]


async def test_a_codec_without_a_place_in_mp4_is_named(media: Files, tmp_path: Path) -> None:
    title = titled(media("vp8.webm", Made(video="vp8", audio=["libopus"])))
    with pytest.raises(UnsupportedError, match="no place for vp8"):
        await export_mp4(title.manifest, title, tmp_path / "out.mp4")
    assert names(tmp_path) == []


class Failing(Title):
    async def block(self, number: int, deadline: float | None = None) -> bytes:
        if number == 1:
            raise GoneError("block 1 is lost")
        return await super().block(number, deadline)


async def test_an_export_that_fails_or_is_cancelled_leaves_what_was_there(
    media: Files, tmp_path: Path
) -> None:
    title = titled(media("h264.mp4", SOURCES["h264.mp4"]), block=8192)
    out = tmp_path / "out.mp4"
    out.write_text("before")
    failing = Failing(title.manifest, title.blocks)
    with pytest.raises(GoneError):
        await export_mp4(title.manifest, failing, out)
    twisted = Title(title.manifest, [title.blocks[1], title.blocks[0], *title.blocks[2:]])
    with pytest.raises(MalformedError, match="number 0 is not the one"):
        await export_mp4(title.manifest, twisted, out)

    def stop(progress: ExportProgress) -> None:
        if progress.block == 2:
            task.cancel()

    task = asyncio.create_task(export_mp4(title.manifest, title, out, progress=stop))
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ResourceError):
        await export_mp4(title.manifest, title, tmp_path / "none" / "out.mp4")
    assert names(tmp_path) == ["out.mp4"]
    assert out.read_text() == "before"


async def test_a_stream_that_changes_its_parameter_sets_is_written_with_them(
    tmp_path: Path, media: Files
) -> None:
    """Two encodings one after another in a transport stream: their sets differ."""
    first = make(tmp_path / "1.ts", Made(audio=[], seconds=1, encoder={"bf": "0"}))
    other = {"bf": "0", "profile": "baseline", "refs": "3"}
    second = make(tmp_path / "2.ts", Made(audio=[], seconds=1, encoder=other))
    both = tmp_path / "both.ts"
    with av.open(str(both), "w") as out:
        stream = None
        for number, path in enumerate((first, second)):
            with av.open(str(path)) as source:
                if stream is None:
                    stream = out.add_stream_from_template(source.streams[0])
                for packet in source.demux(video=0):
                    if packet.dts is not None:
                        packet.pts += number * 90_000
                        packet.dts += number * 90_000
                        packet.stream = stream
                        out.mux(packet)
    title = titled(both)
    written = tmp_path / "out.mp4"
    done = await export_mp4(title.manifest, title, written)
    assert done.samples == 50
    assert b"avc3" in written.read_bytes()[:100_000]
    with av.open(str(written)) as file, av.open(str(both)) as source:
        decoded = [frame.to_ndarray().tobytes() for frame in file.decode(video=0)]
        wanted = [frame.to_ndarray().tobytes() for frame in source.decode(video=0)]
    assert len(decoded) == 50
    assert decoded == wanted


async def test_an_empty_title_cannot_be_exported(media: Files, tmp_path: Path) -> None:
    title = titled(media("h264.mp4", SOURCES["h264.mp4"]))
    tracks = tuple(replace(one, units=0, packets=0, bytes=0) for one in title.manifest.tracks)
    empty = replace(title.manifest, blocks=(), keys=(), tracks=tracks)
    with pytest.raises(UnsupportedError, match="nothing to export"):
        await export_mp4(empty, title, tmp_path / "out.mp4")
