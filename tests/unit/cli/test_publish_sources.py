"""Sources: what they describe, and that their time goes on."""

import asyncio
from itertools import islice, pairwise

import av
import numpy as np
import pytest

from heliograph.cli.publishing.barcode import read_frame_number
from heliograph.cli.publishing.feed import Feed
from heliograph.cli.publishing.pattern import Painter
from heliograph.cli.publishing.sources import ContainerSource, Options, PatternSource
from heliograph.cli.publishing.units import Unit
from heliograph.model.errors import SettingsError, UnsupportedError
from heliograph.model.media import Codec, Kind

SMALL = Options(width=320, height=180, fps=25, bitrate=300_000)


class Clock:
    """Runs ahead a little at each look."""

    def __init__(self, step=0.01):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


def write_clip(path, video, audio, frames=25, **options):
    painter = Painter(160, 120, 25)
    with av.open(path, "w") as out:
        stream = out.add_stream(video, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.gop_size = 10
        sound = out.add_stream(audio, rate=48_000) if audio else None
        for n in range(frames):
            frame = av.VideoFrame.from_ndarray(painter.paint(n, 0), format="yuv420p")
            frame.pts = n
            out.mux(stream.encode(frame))
            if sound is not None:
                format = sound.codec_context.format.name
                kind = {"flt": np.float32, "s32": np.int32, "s16": np.int16}[format.rstrip("p")]
                wide = (2, 1920) if format.endswith("p") else (1, 3840)
                piece = av.AudioFrame.from_ndarray(np.zeros(wide, kind), format, "stereo")
                piece.sample_rate, piece.pts = 48_000, n * 1920
                out.mux(sound.encode(piece))
        out.mux(stream.encode(None))
        if sound is not None:
            out.mux(sound.encode(None))
    return str(path)


def decode(units, codec="h264"):
    context = av.CodecContext.create(codec, "r")
    packets = [av.Packet(unit.data) for unit in units]
    frames = [f for p in packets for f in context.decode(p)] + context.decode(None)
    return [read_frame_number(frame.to_ndarray(format="gray")) for frame in frames]


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8])
def test_the_pattern_is_numbered_and_decodes(codec):
    options = Options(width=320, height=180, fps=25, bitrate=300_000, codec=codec)
    source = PatternSource(options, Clock(0.04))
    assert [t.codec for t in source.tracks] == [codec, Codec.OPUS]
    units = list(islice(source.units(), 100))
    source.stop()
    video = [u for u in units if u.track == 0]
    assert video[0].key
    assert [u.timestamp for u in video if u.key] == [
        n * 90_000 for n in range(len(video) // 25 + 1)
    ]
    numbers = decode(video, codec.value)
    assert numbers == sorted(numbers)
    assert [u.timestamp // 3600 for u in video] == numbers
    audio = [u.timestamp for u in units if u.track == 1]
    assert {b - a for a, b in pairwise(audio)} == {960}


def test_sound_and_picture_begin_together():
    source = PatternSource(SMALL, Clock(0.04))
    units = list(islice(source.units(), 40))
    source.stop()
    assert abs(units[-1].due - max(u.due for u in units if u.track == 0)) < 0.1


def test_the_pattern_leaves_frames_out_where_encoding_is_too_slow():
    source = PatternSource(Options(width=160, height=120, audio=False), Clock(0.3))
    units = list(islice(source.units(), 5))
    source.stop()
    assert source.dropped >= 5
    assert units[-1].timestamp // 3600 == 4 + source.dropped


def test_a_file_is_sent_as_it_is(tmp_path):
    source = ContainerSource(write_clip(tmp_path / "a.mp4", "libx264", "aac"), Options())
    assert [t.codec for t in source.tracks] == [Codec.H264, Codec.AAC]
    assert source.remarks == []
    assert source.tracks[0].fmtp["sprop-parameter-sets"]
    video = [u for u in source.units() if u.track == 0]
    source.close()
    assert decode(video) == list(range(25))


def test_keyframes_of_a_file_carry_their_parameter_sets(tmp_path):
    source = ContainerSource(write_clip(tmp_path / "a.mp4", "libx264", None), Options())
    keys = [u for u in source.units() if u.key]
    source.close()
    assert len(keys) == 3
    assert decode(keys[1:2]) == [10]


def test_frames_out_of_order_keep_both_times(tmp_path):
    path = write_clip(tmp_path / "b.mp4", "libx264", None, bf="2")
    source = ContainerSource(path, Options())
    units = list(source.units())
    source.close()
    dues = [u.due for u in units]
    assert dues == sorted(dues)
    stamps = [u.timestamp for u in units]
    assert stamps != sorted(stamps)
    assert decode(units) == list(range(25))


@pytest.mark.parametrize("name", ["a.ts", "a.mkv"])
def test_other_containers_are_sent_as_they_are_too(tmp_path, name):
    source = ContainerSource(write_clip(tmp_path / name, "libx264", "aac"), Options())
    units = list(source.units())
    source.close()
    assert source.remarks == []
    assert decode([u for u in units if u.track == 0]) == list(range(25))
    audio = [u.timestamp for u in units if u.track == 1]
    assert audio == sorted(audio)


def test_what_rtp_cannot_carry_is_transcoded_and_said(tmp_path):
    source = ContainerSource(write_clip(tmp_path / "a.avi", "mpeg4", "libmp3lame"), Options())
    assert [t.codec for t in source.tracks] == [Codec.H264, Codec.OPUS]
    assert source.remarks == [
        "video is transcoded: mpeg4 → h264",
        "audio is transcoded: mp3float → opus",
    ]
    units = list(source.units())
    source.close()
    assert decode([u for u in units if u.track == 0]) == list(range(25))
    assert sum(u.key for u in units if u.track == 0) == 1  # one a second, whatever the file has
    assert sum(u.track == 1 for u in units) >= 45


def test_time_goes_on_where_a_file_begins_again(tmp_path):
    path = write_clip(tmp_path / "a.mp4", "libx264", "aac")
    source = ContainerSource(path, Options(loop=True))
    units = list(islice(source.units(), 300))
    source.close()
    for track in source.tracks:
        dues = [u.due for u in units if u.track == track.id]
        gaps = [b - a for a, b in pairwise(dues)]
        assert dues[-1] > 3
        assert min(gaps) > 0
        assert max(gaps) < 0.1
        # But for the last ones: what is shown between them is decoded later.
        shown = sorted(u.timestamp for u in units if u.track == track.id)[:-5]
        steps = {b - a for a, b in pairwise(shown)}
        assert max(steps) < track.clock_rate * 0.07


def test_sound_can_be_left_out(tmp_path):
    path = write_clip(tmp_path / "a.mp4", "libx264", "aac", frames=5)
    source = ContainerSource(path, Options(audio=False))
    source.close()
    assert [t.kind for t in source.tracks] == [Kind.VIDEO]


def test_what_is_no_file_is_said_in_one_line(tmp_path):
    with pytest.raises(SettingsError, match=r"nothing.mp4: cannot be opened: No such file"):
        ContainerSource(str(tmp_path / "nothing.mp4"), Options())
    text = tmp_path / "text.srt"
    text.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    with pytest.raises(UnsupportedError, match="no video or audio"):
        ContainerSource(str(text), Options())


class Endless:
    """A source without media; stops when told."""

    remarks: tuple = ()
    dropped = 0

    def __init__(self, live):
        self.live, self.stopped, self.made = live, False, 0
        self.tracks = PatternTracks

    def units(self):
        while not self.stopped and self.made < 10_000:
            self.made += 1
            yield Unit(0, self.made / 25, self.made * 3600, self.made % 10 == 1, b"x")

    def stop(self):
        self.stopped = True


PatternTracks = (PatternSource(SMALL, Clock()).tracks[0],)


async def test_a_file_waits_for_whoever_sends():
    source = Endless(live=False)
    feed = Feed(source, room=10)
    seen = 0
    async for _unit in feed.units():
        seen += 1
        await asyncio.sleep(0)
        if seen == 50:
            break
    feed.stop()
    await feed.join()
    assert source.made <= 50 + 10 + 2
    assert feed.dropped == 0


async def test_a_live_source_drops_up_to_the_next_keyframe():
    source = Endless(live=True)
    feed = Feed(source, room=7)
    units = feed.units()
    seen = [await anext(units)]
    await feed.join()  # 10 000 were made, and found no room
    seen += [unit async for unit in units]
    assert [u.timestamp // 3600 for u in seen[:7]] == [1, 2, 3, 4, 5, 6, 7]
    holes = [b for a, b in pairwise(seen) if b.timestamp != a.timestamp + 3600]
    assert all(unit.key for unit in holes)
    assert feed.dropped + len(seen) == 10_000


async def test_the_failure_of_a_source_arrives():
    class Broken(Endless):
        def units(self):
            yield Unit(0, 0.0, 0, True, b"x")
            raise OSError("the disk is gone")

    feed = Feed(Broken(live=False))
    units = feed.units()
    await anext(units)
    with pytest.raises(OSError, match="the disk is gone"):
        await anext(units)
    await feed.join()
