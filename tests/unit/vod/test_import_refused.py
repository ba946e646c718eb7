"""Files that are refused: with reason and place, within bounds, and nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from tests.unit.vod.conftest import Files
from tests.unit.vod.imports import MemorySink, titled
from tests.unit.vod.made_files import Made, make

from heliograph.model.errors import (
    HelioError,
    MalformedError,
    NotFoundError,
    PeerError,
    ResourceError,
    UnsupportedError,
)
from heliograph.vod.encoding import decode_manifest
from heliograph.vod.folder import FolderSink, FolderSource
from heliograph.vod.importing import ImportOptions, Progress, import_file

#: For conditions; a test that works takes a fraction of it.
PATIENCE = 30.0


def shown(path: Path) -> bytes:
    return path.read_bytes()


def boxes(data: bytes) -> dict[bytes, int]:
    """Where the first box of each kind is."""
    found: dict[bytes, int] = {}
    for kind in (b"moov", b"mdat", b"trak", b"stsz", b"stco", b"stts", b"ctts", b"mdhd", b"elst"):
        at = data.find(kind)
        if at >= 0:
            found[kind] = at
    return found


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


Break = Callable[[bytes], bytes]

BROKEN: dict[str, tuple[Break, str]] = {
    "empty": (lambda data: b"", "the file is empty"),
    "text": (lambda data: b"Dear reader,\n" * 500, "not media"),
    "zeros": (lambda data: bytes(100_000), "not media"),
    "no index": (lambda data: data[: boxes(data)[b"moov"] - 4], "moov atom not found"),
    "only a head": (lambda data: data[:32], "not media"),
    "huge atom": (
        lambda data: patched(data, boxes(data)[b"stsz"] + 12, b"\xff\xff\xff\xf0"),
        "media file",
    ),
    "no samples": (
        lambda data: patched(data, boxes(data)[b"stsz"] + 12, bytes(4)),
        "media file",
    ),
    "huge samples": (
        lambda data: patched(data, boxes(data)[b"stsz"] + 16, b"\x7f\xff\xff\xff" * 3),
        "reaches to byte|damaged|broken",
    ),
    "places beyond the end": (
        lambda data: patched(data, boxes(data)[b"stco"] + 12, b"\x7f\xff\xff\xff" * 2),
        "reaches to byte|damaged|broken",
    ),
    "times that jump": (
        lambda data: patched(data, boxes(data)[b"stts"] + 16, b"\x7f\xff\xff\xff"),
        "time jumps|a time of|lasts",
    ),
    "negative durations": (
        lambda data: patched(data, boxes(data)[b"stts"] + 16, b"\xff\xff\xff\x00"),
        "",
    ),
    "shown long before or after": (
        lambda data: patched(data, boxes(data)[b"ctts"] + 16, b"\x7f\xff\xff\x00"),
        "shown at|a time of|time jumps|lasts",
    ),
    "a clock that stands": (
        lambda data: patched(data, boxes(data)[b"mdhd"] + 16, bytes(4)),
        "",
    ),
    "a picture that is not H.264": (
        lambda data: patched(data, boxes(data)[b"mdat"] + 4, b"\xff" * 8000),
        "at [0-9]+: track 0 .h264.*reaches beyond|track 0 .h264",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_the_reason(media: Files, tmp_path: Path, name: str) -> None:
    change, reason = BROKEN[name]
    path = tmp_path / "broken.mp4"
    path.write_bytes(change(shown(media("h264.mp4"))))
    before = time.process_time()
    if reason:
        with pytest.raises(PeerError, match=reason) as caught:
            titled(path)
        assert "broken.mp4" in caught.value.message
    else:
        with contextlib.suppress(PeerError):
            assert titled(path).manifest.duration_us >= 0
    assert time.process_time() - before < 5


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
def test_a_truncated_file_is_refused_with_the_place_or_taken_as_far_as_it_goes(
    media: Files, tmp_path: Path, container: str
) -> None:
    options = {"movflags": "+faststart"} if container == "mp4" else {}
    data = shown(media(f"whole.{container}", Made(options=options, seconds=4)))
    path = tmp_path / f"cut.{container}"
    path.write_bytes(data[: len(data) * 6 // 10])
    if container == "ts":  # says nothing of its length, and may end anywhere
        title = titled(path, partial=True)
    else:
        with pytest.raises(MalformedError, match=r"reaches to byte|lasts|broken|cut off"):
            titled(path)
        title = titled(path, partial=True)
        assert title.remarks
    assert 1_800_000 < title.manifest.duration_us < 3_500_000
    assert 40 < len(title.units(0)) < 90


def test_codecs_that_rtp_cannot_carry_are_named(tmp_path: Path) -> None:
    path = tmp_path / "old.avi"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(10):
            out.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        out.mux(stream.encode(None))
    with pytest.raises(UnsupportedError, match=r"old\.avi.*track 0 \(mpeg4\): cannot be carried"):
        titled(path)


def test_sound_that_cannot_be_carried_is_left_out_only_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    path = make(tmp_path / "ac3.mkv", Made(audio=["ac3", "aac"]))
    with pytest.raises(UnsupportedError, match=r"track 1 \(ac3\): cannot be carried"):
        titled(path)
    title = titled(path, leave_out=True)
    assert [one.track.encoding for one in title.manifest.tracks] == ["H264", "mpeg4-generic"]
    assert title.remarks == ["left out: track 1 (ac3): cannot be carried by RTP"]


def test_a_playlist_does_not_make_the_server_open_other_files(media: Files, tmp_path: Path) -> None:
    target = media("h264.ts", Made())
    for name, text in {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n",
        "list.txt": f"ffconcat version 1.0\nfile {target}\n",
        "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    }.items():
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(MalformedError, match="not media"):
            titled(path)


def test_renditions_of_another_length_are_refused(media: Files) -> None:
    long = media("long.mp4", Made(seconds=9, audio=[], size=(64, 64)))
    with pytest.raises(UnsupportedError, match=r"lasts 9\.0 s, the best rendition 2.0 s"):
        titled(media("h264.mp4"), long)


def test_bytes_changed_anywhere_give_a_title_or_a_refusal(media: Files, tmp_path: Path) -> None:
    random_bytes = random.Random(7)
    path = tmp_path / "changed"
    refused = 0
    for name in ("h264.mp4", "vp9.webm", "small.ts"):
        made = Made(video="vp9", audio=["libopus"]) if "webm" in name else Made()
        data = shown(media(name, made))
        for _ in range(40):
            changed = bytearray(data)
            for _ in range(random_bytes.choice((1, 3, 30))):
                at = random_bytes.randrange(len(data))
                size = random_bytes.choice((1, 4, 8))
                changed[at : at + size] = random_bytes.randbytes(size)
            path.write_bytes(changed)
            try:
                title = titled(path)
            except (PeerError, OSError):
                refused += 1
            else:
                assert title.manifest.blocks
    assert 10 < refused < 120


# --- the process, the sink, and what stays behind ---------------------------------------------


async def test_an_import_fills_the_sink_and_tells_how_far_it_is(media: Files) -> None:
    sink, told = MemorySink(), list[Progress]()
    path = media("h264.mp4")
    done = await import_file(path, sink, told.append, ImportOptions("film", title="A film"))
    assert sink.head is not None
    assert decode_manifest(sink.head) == done.manifest
    assert len(sink.blocks) == len(done.manifest.blocks) > 0
    assert done.manifest.title == "A film"
    assert done.manifest.source == "h264.mp4"
    assert len(done.manifest.source_digest) == 64
    assert sink.aborted == 0
    last = told[-1]
    assert last.bytes == last.total == path.stat().st_size
    assert last.media == last.duration == pytest.approx(2.0, abs=0.1)
    assert last.remaining == 0
    assert all(one.elapsed > 0 for one in told)


async def test_an_upload_goes_by_the_name_that_people_know(media: Files, tmp_path: Path) -> None:
    path = tmp_path / "3f9c"
    path.write_bytes(shown(media("h264.mp4")))
    options = ImportOptions("film", source="Große Fahrt.mp4")
    done = await import_file(path, MemorySink(), None, options)
    assert done.manifest.source == "Große Fahrt.mp4"
    assert done.manifest.title == "Große Fahrt"
    path.write_bytes(b"no film" * 1000)
    with pytest.raises(MalformedError, match=r"media file 'Große Fahrt\.mp4'"):
        await import_file(path, MemorySink(), None, options)


async def test_a_file_whose_name_is_no_text_is_imported(media: Files, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(media("h264.mp4"), path)
    done = await import_file(path, MemorySink(), None, ImportOptions("film"))
    assert done.manifest.source == "caf .mp4"


async def test_a_refused_file_leaves_nothing_in_a_folder(media: Files, tmp_path: Path) -> None:
    data = shown(media("big.mp4", Made(options={"movflags": "+faststart"}, seconds=4)))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data[:-8000] + b"\xff" * 8000)
    folder = tmp_path / "titles"
    folder.mkdir()
    options = ImportOptions("film", block=4096)
    with pytest.raises(MalformedError, match=r"media file 'broken.mp4' at \d+: track"):
        await import_file(broken, FolderSink(folder, "film"), None, options)
    assert list(folder.iterdir()) == []
    done = await import_file(
        media("big.mp4"), FolderSink(folder, "film"), None, ImportOptions("film", block=4096)
    )
    source = FolderSource(folder / "film")
    assert await source.manifest() == done.manifest
    assert len(await source.block(3)) == done.manifest.blocks[3].bytes
    with pytest.raises(NotFoundError):
        await source.block(len(done.manifest.blocks))


class SlowSink(MemorySink):
    """Takes the first block, and no more."""

    async def put(self, block: bytes) -> None:
        await super().put(block)
        self.stuck.set()
        await asyncio.Event().wait()

    def __init__(self) -> None:
        super().__init__()
        self.stuck = asyncio.Event()


def children() -> set[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return {int(one) for one in file.read().split()}


async def test_a_cancelled_import_leaves_neither_blocks_nor_a_process(media: Files) -> None:
    before = children()
    sink = SlowSink()
    options = ImportOptions("film", block=4096)
    task = asyncio.create_task(import_file(media("h264.mp4"), sink, None, options))
    async with asyncio.timeout(PATIENCE):
        await sink.stuck.wait()
    assert len(children() - before) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sink.aborted == 1
    assert sink.blocks == []
    assert children() == before


async def test_a_sink_that_fails_ends_the_import_with_its_reason(media: Files) -> None:
    sink = MemorySink(refuse_after=2)
    with pytest.raises(ResourceError, match="disk full"):
        await import_file(media("h264.mp4"), sink, None, ImportOptions("film", block=4096))
    assert sink.aborted == 1
    assert sink.head is None


@pytest.mark.parametrize(
    ("program", "error", "reason"),
    [
        ("import os; os.kill(os.getpid(), 11)", MalformedError, "SIGSEGV"),
        ("import os; os.kill(os.getpid(), 24)", MalformedError, "too long to read"),
        ("import time; time.sleep(60)", MalformedError, "nothing comes of it for 1 s"),
        ("raise SystemExit('what a pity')", ResourceError, "what a pity"),
        (r"print(end='\x07' * 5 + 'x' * 10, flush=True)", ResourceError, "at once"),
        (r"print(end='\x07\0\0\0\1x', flush=True)", ResourceError, "of kind 7"),
        (r"print(end='\x01\0\0\0\5block', flush=True)", MalformedError, "malformed block"),
    ],
)
async def test_an_importer_that_dies_hangs_or_lies_is_ended(
    media: Files, program: str, error: type[HelioError], reason: str
) -> None:
    sink = MemorySink()
    with pytest.raises(error, match=reason):
        await import_file(
            media("h264.mp4"),
            sink,
            None,
            ImportOptions("film"),
            command=(sys.executable, "-c", program),
            silence=1.0,
        )
    assert sink.aborted == 1


async def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, error in (
        (tmp_path / "none.mp4", NotFoundError),
        (tmp_path, UnsupportedError),
        (fifo, UnsupportedError),
    ):
        with pytest.raises(error):
            await import_file(path, MemorySink(), None, ImportOptions("film"))
    with pytest.raises(MalformedError, match="channel name"):
        await import_file(fifo, MemorySink(), None, ImportOptions("../film"))
