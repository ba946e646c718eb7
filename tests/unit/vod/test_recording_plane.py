"""A recording of what goes through the plane: the same pictures and sound, two sources after
each other."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.unit.live.mesh_site import until
from tests.unit.vod.conftest import Files
from tests.unit.vod.imports import Title, titled
from tests.unit.vod.made_files import Made
from tests.unit.vod.test_recording import MemoryVolume

from heliograph.plane import Plane, open_plane
from heliograph.plane.types import TapItem, TrackSpec
from heliograph.protocols.payload import AccessUnit
from heliograph.protocols.rtp_stream import Numbers, RtpStream
from heliograph.protocols.sdp import aac_lengths, parameter_sets
from heliograph.vod.recording import Recording, RecordOptions
from heliograph.vod.verify import verify_title


class OnAir:
    """A channel at a plane, and a recording of it."""

    def __init__(self, plane: Plane, title: Title) -> None:
        self.plane = plane
        self.title = title
        self.tracks = tuple(one.track for one in title.manifest.tracks)
        self.channel = plane.open_channel(max_bytes=64 << 20)
        self.specs = [
            TrackSpec.of(track, parameter_sets(track), aac_lengths(track)) for track in self.tracks
        ]
        self.sources = 0

    def publish(self) -> int:
        """Announce a source; its input."""
        self.sources += 1
        source = self.plane.add_source(self.channel, 0, list(self.specs))
        self.source = source
        return self.plane.add_input(source)

    async def send(self, input: int, first: int) -> None:
        """All of the title, faster than it is; RTP numbers begin with ``first``."""
        streams = [
            RtpStream(track, Numbers(first + track.id, first, first), f"source {self.sources}")
            for track in self.tracks
        ]
        units: list[tuple[float, int, AccessUnit]] = []
        for track in self.tracks:
            dues = [r.due_us / 1e6 for r in self.title.records(track.id) if r.flags & 2]
            units += zip(dues, [track.id] * len(dues), self.title.units(track.id), strict=True)
        began, base = time.monotonic(), time.time_ns() // 1000
        for stream in streams:
            report = stream.report(base, 0.0)
            self.plane.push_rtcp(input, stream.track.id, report)
        for due, track, unit in sorted(units, key=lambda one: one[0]):
            await asyncio.sleep(max(0.0, began + due / 4 - time.monotonic()))
            assert self.plane.push(input, track, streams[track].packetize(unit))


@pytest.mark.parametrize(
    "made",
    [Made(), Made(video="vp9", audio=["libopus"])],
    ids=["h264-aac", "vp9-opus"],
)
async def test_what_the_plane_relays_is_recorded(media: Files, tmp_path: Path, made: Made) -> None:
    name = "h264.mp4" if made.video == "h264" else "vp9.webm"
    plane = open_plane(1)
    try:
        air = OnAir(plane, titled(media(name, made)))
        volume = MemoryVolume()
        recording = await Recording.begin(
            RecordOptions("film", block=32768), air.tracks, tmp_path, volume
        )
        task = asyncio.create_task(recording.run())
        sound = [unit.data for unit in air.title.units(1)]
        pictures = 0
        heard = b""

        def take() -> bool:
            """Whether all pictures have come, and the last of the sound."""
            nonlocal pictures, heard
            items, lost = plane.read_tap(tap)
            for item in [TapItem(*item) for item in items]:
                pictures += item.track == 0
                heard = item.data if item.track == 1 else heard
                recording.push([item])
            recording.push([], lost)
            return pictures == 50 * air.sources and heard == sound[-1]

        first = air.publish()
        tap = plane.add_tap(air.channel, [track.id for track in air.tracks], frames=True)
        plane.start_reader(tap)
        await air.send(first, 5000)
        await until(take)
        plane.remove_source(air.source)
        await air.send(air.publish(), 60_000)
        await until(take)
        recording.stop("done")
        manifest = await task
    finally:
        plane.close()
    title = volume.title
    assert recording.status.lost_units == 0
    assert [one.reason for one in recording.status.losses] == ["source"]
    assert (await verify_title(manifest, title)).faults == ()
    source = [unit.data for unit in air.title.units(0)]
    assert [unit.data for unit in title.units(0)] == source * 2
    # sound before the first picture is not for who begins there
    got = [unit.data for unit in title.units(1)]
    assert got in [sound[a:] + sound[b:] for a in (0, 1, 2) for b in (0, 1, 2)]
    assert manifest.duration_us == pytest.approx(4_100_000, abs=400_000)
