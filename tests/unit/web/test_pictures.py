"""Pictures of channels, made by a process that may fail."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
from collections.abc import AsyncIterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from tests.unit.web.site import Site, running

from heliograph.live.options import ChannelOptions
from heliograph.model.errors import BusyError
from heliograph.model.media import Codec, Kind, Track
from heliograph.web import picture_worker
from heliograph.web.pictures import MAX_AGE, MAX_WAITING, Pictures

HANGS = (sys.executable, "-c", "import sys; sys.stdin.buffer.read()")
CRASHES = (sys.executable, "-c", "import os; os.read(0, 1); os.abort()")
LIES = (sys.executable, "-c", "import os; os.read(0, 1); os.write(1, b'\\xff' * 8)")
MISSING = ("/nonexistent/program",)


def keyframe(width: int = 640, height: int = 360) -> bytes:
    """A red picture as an H.264 access unit in Annex B."""
    red = np.zeros((height, width, 3), np.uint8)
    red[:, :, 0] = 255
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, 30)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency"}
    frame = av.VideoFrame.from_ndarray(red, format="rgb24")
    return bytes([*encoder.encode(frame), *encoder.encode(None)][0])


class Still:
    """Stands for a channel that has one picture."""

    def __init__(self, name: str, data: bytes | None, codec: Codec = Codec.H264) -> None:
        self.name = name
        self.track = Track(0, Kind.VIDEO, codec, 90000, 96)
        self.data = data
        self.asked = 0

    def picture_source(self) -> tuple[Track, bytes] | None:
        self.asked += 1
        return None if self.data is None else (self.track, self.data)


@contextlib.asynccontextmanager
async def making(**options: Any) -> AsyncIterator[Pictures]:
    pictures = Pictures(**({"timeout": 30} | options))
    try:
        yield pictures
    finally:
        await pictures.close()


def still(name: str = "demo", data: bytes | None = b"x", codec: Codec = Codec.H264) -> Any:
    return Still(name, data, codec)


async def test_picture_is_a_small_jpeg_of_the_keyframe():
    async with making() as pictures:
        jpeg = await pictures.get(still(data=keyframe()))
        assert jpeg is not None
        with av.open(io.BytesIO(jpeg), format="jpeg_pipe") as file:
            frame = next(file.decode(video=0))
        assert (frame.width, frame.height) == (320, 180)
        red, green, blue = frame.to_ndarray(format="rgb24")[90, 160]
        assert red > 200
        assert max(green, blue) < 60
        assert pictures.counters() == {"made": 1, "failed": 0, "crashed": 0, "refused": 0}


async def test_picture_is_kept_for_some_seconds_and_shared():
    now = 100.0
    async with making(clock=lambda: now) as pictures:
        channel = still(data=keyframe())
        first, second = await asyncio.gather(pictures.get(channel), pictures.get(channel))
        assert first is second
        now += MAX_AGE - 0.1
        assert await pictures.get(channel) is first
        assert channel.asked == 1
        now += 0.2
        assert await pictures.get(channel) == first
        assert channel.asked == 2


@pytest.mark.parametrize(
    "channel",
    [
        still(data=None),
        still(data=b"\0\0\0\1\x65garbage"),
        still(data=b""),
        still(data=b"\0" * 100_000, codec=Codec.VP9),
        still(codec=Codec.UNKNOWN),
    ],
)
async def test_what_cannot_be_decoded_has_no_picture(channel: Any):
    async with making() as pictures:
        assert await pictures.get(channel) is None
        assert await pictures.get(still("good", keyframe())) is not None
        assert pictures.crashed == 0


@pytest.mark.parametrize("command", [CRASHES, LIES, MISSING])
async def test_process_that_fails_costs_one_picture(command: tuple[str, ...]):
    async with making(command=command) as pictures:
        assert await pictures.get(still()) is None
        assert pictures.crashed == 1
        pictures._command = (sys.executable, "-m", "heliograph.web.picture_worker")
        assert await pictures.get(still("other", keyframe())) is not None


async def test_process_that_hangs_is_ended():
    async with making(command=HANGS, timeout=0.05) as pictures:
        assert await pictures.get(still()) is None
        assert pictures.crashed == 1


async def test_no_more_pictures_wait_than_allowed():
    async with making(command=HANGS) as pictures:
        waiting = [
            asyncio.create_task(pictures.get(still(str(number)))) for number in range(MAX_WAITING)
        ]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await pictures.get(still("one more"))
        assert pictures.refused == 1
        await pictures.close()
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(one) for one in done} <= {asyncio.CancelledError, type(None)}


async def test_who_goes_away_does_not_end_the_picture_of_others():
    async with making() as pictures:
        channel = still(data=keyframe())
        hasty = asyncio.create_task(pictures.get(channel))
        patient = asyncio.create_task(pictures.get(channel))
        await asyncio.sleep(0)
        hasty.cancel()
        assert await patient is not None
        assert channel.asked == 1


def test_upright_pictures_stay_in_bounds():
    jpeg = picture_worker.make_jpeg("h264", keyframe(64, 1024))
    with av.open(io.BytesIO(jpeg), format="jpeg_pipe") as file:
        frame = next(file.decode(video=0))
    assert (frame.width, frame.height) == (320, 4 * 320)


async def _on_air(site: Site) -> None:
    publishing = site.publish()
    nals = keyframe(320, 180).split(b"\0\0\0\1")
    units = [unit for part in nals for unit in part.split(b"\0\0\1") if unit]
    # RFC 6184 section 5.6: single NAL units, all of one picture.
    packets = []
    for index, unit in enumerate(units):
        marker = 0x80 if index == len(units) - 1 else 0
        head = bytes([0x80, marker | 96]) + index.to_bytes(2) + (90).to_bytes(4) + b"\0\0\0\7"
        packets.append(head + unit)
    publishing.push(0, packets)
    publishing.push(0, [bytes([0x80, 0x80 | 96]) + len(units).to_bytes(2) + (3090).to_bytes(4)
                        + b"\0\0\0\7" + b"\x41\x9a"])  # fmt: skip
    await site.until(lambda: site.channel.state == "on_air")


async def test_picture_of_a_channel_on_air_is_served():
    async with making() as pictures, running(context={"pictures": pictures}) as site:
        await _on_air(site)
        path = (await site.get("/api/v1/channels/demo")).json()["picture"]
        answer = await site.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.headers["cache-control"] == "public, max-age=5"
        assert answer.content.startswith(b"\xff\xd8")


async def test_channel_without_picture_has_404():
    async with making() as pictures, running(context={"pictures": pictures}) as site:
        assert (await site.get("/api/v1/channels/demo/picture")).status_code == 404
    async with running() as site:
        await site.on_air()
        assert (await site.get("/api/v1/channels/demo/picture")).status_code == 404


async def test_picture_needs_what_watching_needs():
    closed = ChannelOptions(key="secret", view_key="view")
    async with making() as pictures, running(closed, context={"pictures": pictures}) as site:
        await _on_air(site)
        path = "/api/v1/channels/demo/picture"
        assert (await site.get("/api/v1/channels/demo")).json()["picture"] is None
        assert (await site.get(path)).status_code == 401
        answer = await site.get(f"{path}?key=view")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, max-age=5")
    async with running(ChannelOptions(view_from=("10.0.0.0/8",))) as site:
        assert (await site.get(path)).status_code == 403
