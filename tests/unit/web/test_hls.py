"""Channels by low-latency HLS: what a player gets, waits for, and is refused."""

from __future__ import annotations

import asyncio
import functools
import io
import itertools
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import av
import httpx
import numpy as np
import pytest
from tests.contract.rtp import rtp
from tests.unit.web import site as sites
from tests.unit.web.site import AUDIO, VIDEO, Site

from heliograph.live import hls, hls_output
from heliograph.live.hls import Hls
from heliograph.live.hls_viewers import GONE
from heliograph.live.options import ChannelOptions
from heliograph.live.publish import Publishing
from heliograph.live.readers import ReaderKind
from heliograph.live.transcoding import Transcodes
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.hls import Answer

#: Films are sent as fast as they can be, with pauses that are no silence.
running = functools.partial(sites.running, silence_ms=20_000)
INDEX = "/hls/demo/index.m3u8"
VP8 = Track(0, Kind.VIDEO, Codec.VP8, 90000, 96)
PCMA = Track(1, Kind.AUDIO, Codec.PCMA, 8000, 8, channels=1)


@functools.cache
def units(seconds: float, bframes: int = 0, height: int = 96) -> list[tuple[int, bytes]]:
    """Frame numbers and access units (Annex B) of 25 pictures a second, in decoding order."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = height * 4 // 3, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.options = {
        "preset": "ultrafast",
        "x264-params": f"keyint=25:min-keyint=25:scenecut=0:bframes={bframes}:b-adapt=0",
    }
    found = []
    for number in range(round(seconds * 25)):
        picture = np.full((height, height * 4 // 3, 3), number % 256, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = number
        found += [(packet.pts, bytes(packet)) for packet in encoder.encode(frame)]
    found += [(packet.pts, bytes(packet)) for packet in encoder.encode(None)]
    return [(number or 0, data) for number, data in found]


@dataclass
class Film:
    """A publisher that sends media faster than time."""

    publishing: Publishing
    bframes: int = 0
    sequence: list[int] = field(default_factory=lambda: [0, 0])
    began: float = field(default_factory=time.time)
    sent: int = 0
    keys: bool = True
    """Whether keyframes are sent, one a second."""
    _units: list[tuple[int, bytes]] = field(default_factory=list)

    def send(self, seconds: float) -> None:
        """Send what comes next, sound with it where there is a track."""
        self._units = self._units or list(units(40, self.bframes))
        now, self._units = self._units[: round(seconds * 25)], self._units[round(seconds * 25) :]
        self.sent += len(now)
        for number, data in now:
            if number % 25 == 0 and not self.keys:
                continue
            nals = [nal for nal in re.split(rb"\0\0\0?\x01", data) if nal]
            for nal in nals:
                self._push(0, number * 3600, nal, marker=nal is nals[-1])
            if len(self.publishing.tracks) > 1:
                for half in range(2):
                    self._push(1, number * 1920 + half * 960, b"\xfc\xff\xfe", marker=False)

    def _push(self, track: int, timestamp: int, payload: bytes, *, marker: bool) -> None:
        payload_type = self.publishing.tracks[track].payload_type
        packet = rtp(
            self.sequence[track],
            timestamp,
            payload,
            marker=marker,
            payload_type=payload_type,
            ssrc=self.publishing.id * 2 + track,
        )
        self.sequence[track] += 1
        self.publishing.push(track, [packet])


async def film(site: Site, *tracks: Track, seconds: float = 3, bframes: int = 0) -> Film:
    made = Film(site.publish(*tracks), bframes)
    made.send(seconds)
    await site.until(lambda: site.channel.state == "on_air")
    return made


async def watched(
    site: Site, *tracks: Track, bframes: int = 0, query: str = ""
) -> tuple[Film, str]:
    """A channel on air that somebody watches, and the address of its media playlist.

    Goes on sending until the first segment is there.
    """

    async def play() -> str:
        media = await media_of(site, query)
        assert re.search(r"^s0\.m4s", (await site.get(media)).text, re.MULTILINE)
        return media

    units(40, bframes)
    made = await film(site, *tracks, seconds=1, bframes=bframes)
    asked = asyncio.create_task(play())
    while not asked.done():
        made.send(0.2)
        await asyncio.wait([asked], timeout=0.05)
    return made, await asked


async def media_of(site: Site, query: str = "") -> str:
    """The address of the media playlist."""
    answer = await site.get(INDEX + query)
    assert answer.status_code == 200, answer.text
    return "/hls/demo/" + answer.text.splitlines()[-1]


async def frames_of(site: Site, media: str, playlist: str) -> list[av.VideoFrame]:
    """Decode all segments listed."""
    folder = media.rpartition("/")[0]
    init = re.findall(r'MAP:URI="([^"]+)"', playlist)
    names = re.findall(r"^s\d+\.m4s", playlist, re.MULTILINE)
    data = [(await site.get(f"{folder}/{name}")).content for name in [init[0], *names]]
    with av.open(io.BytesIO(b"".join(data))) as file:
        return list(file.decode(video=0))


async def test_a_keyframe_is_asked_for_when_a_segment_may_begin_and_none_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[None] = []
    monkeypatch.setattr(hls_output.Output, "ask", lambda output: asked.append(None))
    async with running() as site:
        source, media = await watched(site, VIDEO)
        source.send(5)
        await site.get(f"{media}&_HLS_msn=1")
        assert not asked, "they come by themselves"
        source.keys = False
        source.send(9)
        # 2.05 s after the last one, and again and again while none comes.
        await site.until(lambda: len(asked) >= 4)
        assert len(asked) == 4


async def test_player_gets_playlists_and_media_that_decode():
    async with running() as site:
        source, media = await watched(site, VIDEO, AUDIO)
        source.send(9)
        index = await site.get(INDEX)
        assert index.headers["content-type"] == "application/vnd.apple.mpegurl"
        assert index.headers["cache-control"] == "no-cache"
        assert index.headers["access-control-allow-origin"] == "*"
        assert re.search(r'CODECS="avc1\.\w{6},opus",RESOLUTION=128x96', index.text)
        playlist = (await site.get(f"{media}&_HLS_msn=3")).text
        assert re.search(r"PART-TARGET=0\.20", playlist)
        frames = await frames_of(site, media, playlist)
        assert len(frames) >= 100
        times = [frame.pts for frame in frames]
        assert {b - a for a, b in itertools.pairwise(times)} == {3600}
        folder = media.rpartition("/")[0]
        for name in ("init0.mp4", "s0.m4s", "p0.0.m4s"):
            answer = await site.get(f"{folder}/{name}")
            assert answer.headers["content-type"] == "video/mp4"
            assert answer.headers["cache-control"] == "public, max-age=3600, immutable"
        for name in ("s99.m4s", "p99.0.m4s", "x", "..%2Finit0.mp4", "init0.mp4.m4s"):
            answer = await site.get(f"{folder}/{name}")
            assert answer.status_code == 404
        assert (await site.get(f"{folder}/p99.0.m4s")).headers["cache-control"] == "no-store"


async def test_reordered_pictures_are_shown_in_order():
    async with running() as site:
        source, media = await watched(site, bframes=2)
        source.send(9)
        playlist = (await site.get(f"{media}&_HLS_msn=3")).text
        times = [frame.pts for frame in await frames_of(site, media, playlist)]
        assert len(times) >= 75
        # A segment may end within a group whose pictures come later; all others are there.
        assert [b - a for a, b in itertools.pairwise(times)].count(3600) >= len(times) - 3
        assert min(b - a for a, b in itertools.pairwise(times)) > 0


def hint_of(playlist: str) -> tuple[int, int]:
    found = re.search(r'TYPE=PART,URI="p(\d+)\.(\d+)\.m4s', playlist)
    assert found
    return int(found[1]), int(found[2])


async def test_reload_and_hinted_part_wait_for_their_part():
    async with running() as site:
        source, media = await watched(site)
        msn, part = hint_of((await site.get(media)).text)
        folder = media.rpartition("/")[0]
        waiting = [
            asyncio.create_task(site.get(f"{media}&_HLS_msn={msn}&_HLS_part={part}")),
            asyncio.create_task(site.get(f"{folder}/p{msn}.{part}.m4s")),
        ]
        await site.until(lambda: site.context.hls.held == 2)
        assert not any(one.done() for one in waiting)
        source.send(0.5)
        playlist, data = await asyncio.gather(*waiting)
        assert hint_of(playlist.text) > (msn, part)
        assert f'URI="p{msn}.{part}.m4s"' in playlist.text
        assert (data.status_code, data.content[4:8]) == (200, b"moof")
        assert site.context.hls.held == 0
        for query in (f"_HLS_msn={msn + 9}", "_HLS_part=1", "_HLS_msn=x"):
            assert (await site.get(f"{media}&{query}")).status_code == 400


async def test_no_more_requests_wait_than_allowed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hls, "MAX_WAITING", 1)
    async with running() as site:
        source, media = await watched(site)
        msn, part = hint_of((await site.get(media)).text)
        url = f"{media}&_HLS_msn={msn}&_HLS_part={part}"
        first = asyncio.create_task(site.get(url))
        await site.until(lambda: site.context.hls.held == 1)
        second = await site.get(url)
        assert (second.status_code, second.headers["retry-after"]) == (503, "1")
        assert site.context.hls.counters["hls_refused"] == 1
        source.send(0.5)
        assert (await first).status_code == 200


async def test_request_that_waits_in_vain_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hls_output, "give_up_after", lambda playlist: 0.05)
    monkeypatch.setattr(
        hls_output,
        "answer_part",
        lambda playlist, msn, index, waited: Answer.BUSY if waited >= 0.05 else Answer.WAIT,
    )
    async with running() as site:
        _, media = await watched(site)
        folder = media.rpartition("/")[0]
        assert (await site.get(f"{folder}/p9.0.m4s")).status_code == 503
        assert site.context.hls.counters["hls_timeouts"] == 1


async def test_another_source_follows_a_discontinuity():
    async with running() as site:
        first, media = await watched(site)
        before = (await site.get(media)).text
        assert "DISCONTINUITY" not in before
        # The next one goes on where this ends, in time as well.
        await site.until(lambda: time.time() > first.began + first.sent / 25 + 0.1)
        first.publishing.close()
        second = await film(site, seconds=5)
        await site.until(lambda: site.channel.stats().epoch > 1)
        second.send(2)
        msn, _ = hint_of(before)
        after = (await site.get(f"{media}&_HLS_msn={msn + 1}")).text
        assert after.count("#EXT-X-DISCONTINUITY") == 1
        assert len(re.findall("EXT-X-MAP", after)) == 1
        # the layout changes: sound as well, by another initialization
        second.publishing.close()
        await film(site, VIDEO, AUDIO, seconds=5)
        later = ""
        while later.count("#EXT-X-DISCONTINUITY") < 2:
            msn, part = hint_of(later or after)
            later = (await site.get(f"{media}&_HLS_msn={msn}&_HLS_part={part}")).text
        assert 'MAP:URI="init1.mp4"' in later


async def test_view_key_is_asked_for_and_carried_on():
    async with running(ChannelOptions(key="secret", view_key="a&b")) as site:
        assert (await site.get(INDEX)).status_code == 401
        _, media = await watched(site, query="?key=a%26b")
        assert (await site.get(INDEX)).status_code == 401
        assert re.search(r"/media\.m3u8\?key=a%26b&viewer=[\w-]{22}$", media)
        playlist = (await site.get(media)).text
        folder = media.rpartition("/")[0]
        uris = re.findall(r'URI="([^"]+)"', playlist)
        uris += [line for line in playlist.splitlines() if not line.startswith("#")]
        assert uris
        assert all(uri.endswith("?key=a%26b") for uri in uris)
        answer = await site.get(f"{folder}/{uris[0]}")
        assert (answer.status_code, answer.headers["cache-control"]) == (
            200,
            "private, max-age=3600, immutable",
        )
        assert (await site.get(media.partition("?")[0])).status_code == 401
        assert (await site.get(f"{folder}/init0.mp4")).status_code == 401
        bearer = {"Authorization": "Bearer a&b"}
        assert "key" not in (await site.get(media.partition("?")[0], headers=bearer)).text
        options = await site.http.options(INDEX)
        assert "Authorization" in options.headers["access-control-allow-headers"]


async def test_viewers_are_readers_as_long_as_they_ask():
    now = 0.0
    hls = Hls(Transcodes(most=0), clock=lambda: now)
    async with running(ChannelOptions(key="secret", max_readers=2), context={"hls": hls}) as site:
        _, media = await watched(site)
        await site.get(INDEX)
        readers = [
            one for one in site.channel.audience.readers.values() if one.kind is ReaderKind.HLS
        ]
        assert [one.peer for one in readers] == ["127.0.0.1"] * 2
        assert site.channel.audience.places == 2
        full = await site.get(INDEX)
        assert (full.status_code, full.headers["retry-after"]) == (503, "10")
        # who goes on asking stays; who does not has left
        now += GONE - 1
        assert (await site.get(media)).status_code == 200
        now += 2
        hls.viewers.look()
        assert site.channel.audience.places == 1
        # back after a pause, with the name it had, and then sent away
        now += 2 * GONE
        hls.viewers.look()
        assert site.channel.audience.places == 0
        assert (await site.get(media)).status_code == 200
        (reader,) = [
            one for one in site.channel.audience.readers.values() if one.kind is ReaderKind.HLS
        ]
        reader.kick()
        assert (await site.get(media)).status_code == 403
        assert site.channel.audience.places == 0
        # without a name it is one viewer however often it asks
        for _ in range(3):
            assert (await site.get(media.partition("?")[0])).status_code == 200
        assert site.channel.audience.places == 1
        assert (await site.get(media.partition("?")[0] + "?viewer=<b>")).status_code == 404


async def refused(site: Site) -> httpx.Response:
    answer = await site.get(INDEX)
    assert answer.headers["access-control-allow-origin"] == "*"
    return answer


async def test_what_files_cannot_carry_is_refused():
    async with running() as site:
        assert (await refused(site)).status_code == 404
        assert (await site.get("/hls/none/index.m3u8")).status_code == 404
        publishing = site.publish(VP8)
        publishing.push(0, [rtp(1, 0, b"\x10\0\0\0\x9d\x01\x2a\0\0\0\0", payload_type=96)])
        publishing.push(0, [rtp(2, 3000, b"\x10\1\0\0", payload_type=96)])
        await site.until(lambda: site.channel.state == "on_air")
        answer = await refused(site)
        assert answer.status_code == 406
        assert answer.json()["error"]["subject"] == "vp8"
        assert len(site.context.hls) == 0


async def test_a_channel_that_lost_its_source_a_moment_ago_is_to_be_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
):
    async with running() as site:
        publishing = site.publish(VIDEO)
        publishing.push(0, [rtp(1, 0, b"\x65\x88\x84", payload_type=96)])
        await site.until(lambda: site.channel.state == "on_air")
        publishing.close()
        await site.until(lambda: site.channel.state == "waiting")
        answer = await refused(site)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        # Whatever the time of day does meanwhile.
        site.channel.since = datetime.now(UTC) - timedelta(hours=1)
        assert (await refused(site)).status_code == 503
        site.channel.since = datetime.now(UTC) + timedelta(hours=1)
        monkeypatch.setattr("heliograph.live.channel.BACK_WITHIN", 0.0)
        assert (await refused(site)).status_code == 404


async def test_who_waits_for_the_first_picture_is_told_at_once_that_the_source_has_gone():
    async with running() as site:
        publishing = site.publish(VIDEO)
        publishing.push(0, [rtp(1, 0, b"\x41\x9a\x24", payload_type=96)])
        await site.until(lambda: site.channel.state == "on_air")
        waiting = asyncio.create_task(refused(site))
        await site.until(lambda: site.context.hls.held == 1)
        publishing.close()
        answer = await waiting
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_sound_that_files_cannot_carry_is_left_out():
    async with running() as site:
        await watched(site, VIDEO, PCMA)
        assert re.search(r'CODECS="avc1\.\w{6}",', (await site.get(INDEX)).text)


async def test_rendition_ends_after_the_last_request(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hls_output, "IDLE", 0.2)
    async with running() as site:
        source, media = await watched(site)
        assert {reader.kind for reader in site.channel.audience.readers.values()} == {"tap", "hls"}
        await site.until(lambda: len(site.context.hls) == 0)
        assert {reader.kind for reader in site.channel.audience.readers.values()} == {"hls"}
        assert (await site.get(media)).status_code == 404
        source.publishing.close()
        _, again = await watched(site)
        assert again != media
        assert site.context.hls.counters["hls_started"] == 2


async def test_channel_that_closes_answers_who_waits():
    async with running() as site:
        _, media = await watched(site)
        msn, part = hint_of((await site.get(media)).text)
        waiting = asyncio.create_task(site.get(f"{media}&_HLS_msn={msn}&_HLS_part={part}"))
        await site.until(lambda: site.context.hls.held == 1)
        site.channel.close()
        assert (await waiting).status_code == 404
        assert len(site.context.hls) == 0
