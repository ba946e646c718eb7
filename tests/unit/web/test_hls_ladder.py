"""A publisher's simulcast layers by HLS: variants that keep step, while layers come and go."""

from __future__ import annotations

import asyncio
import io
import itertools
import re
from collections.abc import Callable
from typing import Any

import av
import pytest
from tests.unit.web.site import AUDIO, VIDEO, Site
from tests.unit.web.test_hls import INDEX, Film, film, running, units

from heliograph.live import hls_ladder
from heliograph.live.layers import Layers, Lower
from heliograph.plane.types import TapFlag, TapItem

#: Pictures of a segment are begun together.
SEGMENT = re.compile(
    r"(#EXT-X-DISCONTINUITY\n)?(?:#EXT-X-MAP\S+\n)?#EXT-X-PROGRAM-DATE-TIME:(\S+)\n"
    r"(?:#EXT-X-PART:\S+\n)*(#EXT-X-GAP\n)?#EXTINF:([\d.]+),\n(s\d+\.m4s)"
)


class Small(Lower):
    """A smaller picture beside that of a film, taken at the same instants."""

    def __init__(self, site: Site, ready: Callable[[], None]) -> None:
        self.channel = 4711
        self.closed = False
        self.muted = False
        self._units = [data for _, data in units(40, 0, 48)]
        self._keys = [index for index, data in enumerate(self._units) if b"\0\0\1\x65" in data]
        self._site = site
        self._tap = site.plane.add_tap(site.channel.plane_channel, [0], frames=True, capacity=4096)
        self._at = 0
        site.loop.on_reader(self._tap, lambda event: ready())
        site.plane.start_reader(self._tap)

    def read(self) -> tuple[list[TapItem], int]:
        found: list[TapItem] = []
        items, lost = self._site.plane.read_tap(self._tap)
        while items and not found:
            for item in (TapItem(*raw) for raw in items):
                if item.flags & TapFlag.KEYFRAME and self._at not in self._keys:
                    self._at = next(key for key in self._keys if key > self._at)
                if not self.muted:
                    found.append(item._replace(data=self._units[self._at]))
                self._at += 1
            if not found:
                items, _ = self._site.plane.read_tap(self._tap)
        return found, lost

    def close(self) -> None:
        self.closed = True
        self._site.plane.remove_reader(self._tap)


class Two(Layers):
    """Two layers: the film itself and the small one."""

    def __init__(self, site: Site) -> None:
        self.count = 2
        self.opened: list[Small] = []
        self.asked: list[int] = []
        self.muted = False
        self._site = site

    def open(self, below: int, ready: Callable[[], None], capacity: int) -> Small:
        assert below == 1
        self.opened.append(Small(self._site, ready))
        self.opened[-1].muted = self.muted
        return self.opened[-1]

    def ask(self, channel: int) -> None:
        self.asked.append(channel)


async def layered(site: Site, *tracks: Any, muted: bool = False) -> tuple[Film, Two, str]:
    """A film in two sizes that somebody watches, its layers, and the multivariant playlist."""
    units(40, 0, 96)
    units(40, 0, 48)
    made = await film(site, *tracks, seconds=1)
    layers = Two(site)
    layers.muted = muted
    made.publishing.layers = layers
    asked = asyncio.create_task(site.get(INDEX))
    while not asked.done():
        made.send(0.2)
        await asyncio.wait([asked], timeout=0.05)
    answer = await asked
    assert answer.status_code == 200, answer.text
    return made, layers, answer.text


def uris(index: str) -> list[str]:
    return ["/hls/demo/" + line for line in index.splitlines() if not line.startswith("#")]


async def listed(site: Site, media: str, msn: int) -> str:
    """A playlist that has this segment whole."""
    answer = await site.get(f"{media}&_HLS_msn={msn}")
    assert answer.status_code == 200, answer.text
    return answer.text


def segments(playlist: str) -> list[tuple[str, ...]]:
    """Of each segment: discontinuity, date, gap, seconds, name."""
    return [tuple(found) for found in SEGMENT.findall(playlist)]


async def pictures(site: Site, media: str, playlist: str) -> list[av.VideoFrame]:
    """Decode what follows each initialization segment."""
    folder = media.rpartition("/")[0]
    frames: list[av.VideoFrame] = []
    data = b""

    def decode() -> None:
        if data:
            with av.open(io.BytesIO(data)) as file:
                frames.extend(file.decode(video=0))

    for line in playlist.splitlines():
        if found := re.match(r'#EXT-X-MAP:URI="([^"]+)"', line):
            decode()
            data = (await site.get(f"{folder}/{found[1]}")).content
        elif re.match(r"s\d+\.m4s", line):
            data += (await site.get(f"{folder}/{line}")).content
    decode()
    return frames


async def test_each_layer_is_a_variant_and_sound_is_shared() -> None:
    async with running() as site:
        source, layers, index = await layered(site, VIDEO, AUDIO)
        assert index.count("#EXT-X-STREAM-INF") == 2
        sizes = re.findall(r"BANDWIDTH=(\d+),AVERAGE-BANDWIDTH=(\d+).*RESOLUTION=(\w+)", index)
        assert [size for _, _, size in sizes] == ["128x96", "64x48"]
        assert all(int(peak) > int(average) for peak, average, _ in sizes)
        assert re.search(r'CODECS="avc1\.\w{6},opus".*FRAME-RATE=25\.000,AUDIO="sound"', index)
        (sound,) = re.findall(r'TYPE=AUDIO,GROUP-ID="sound".*,CHANNELS="2",URI="([^"]+)"', index)
        large, small = uris(index)
        source.send(9)
        for media, width in ((large, 128), (small, 64)):
            playlist = await listed(site, media, 3)
            frames = await pictures(site, media, playlist)
            assert {frame.width for frame in frames} == {width}
            times = [frame.pts for frame in frames]
            assert {b - a for a, b in itertools.pairwise(times)} == {3600}
        heard = "/hls/demo/" + sound
        playlist = await listed(site, heard, 3)
        folder = heard.rpartition("/")[0]
        answer = await site.get(f"{folder}/init0.mp4")
        assert answer.headers["content-type"] == "audio/mp4"
        data = answer.content + (await site.get(f"{folder}/s0.m4s")).content
        with av.open(io.BytesIO(data)) as file:
            assert (len(file.streams.video), len(file.streams.audio)) == (0, 1)
        # one who plays takes one place, whatever it plays
        assert site.channel.audience.places == 1
        assert len(layers.opened) == 1


async def test_segments_begin_together_and_each_playlist_reports_the_others() -> None:
    async with running() as site:
        source, layers, index = await layered(site, VIDEO, AUDIO)
        source.send(9)
        large, small = uris(index)
        playlists = [await listed(site, media, 3) for media in (large, small)]
        first, second = (segments(playlist)[:4] for playlist in playlists)
        assert first == second
        reports = re.findall(
            r'RENDITION-REPORT:URI="\.\./(\w+-\d)/media\.m3u8\?viewer=[\w-]+",LAST-MSN=(\d+)',
            playlists[0],
        )
        assert [name[-2:] for name, _ in reports] == ["-1", "-2"]
        assert all(abs(int(msn) - 5) <= 1 for _, msn in reports)
        # what comes every second by itself is not asked for
        assert layers.asked == []


async def test_a_layer_that_fails_for_a_while_leaves_a_gap() -> None:
    async with running() as site:
        source, layers, index = await layered(site, VIDEO)
        large, small = uris(index)
        source.send(4)
        await listed(site, large, 1)
        layers.opened[0].muted = True
        source.send(8)
        await listed(site, large, 5)
        layers.opened[0].muted = False
        source.send(8)
        whole = segments(await listed(site, large, 8))
        after = segments(await listed(site, small, 8))
        assert [one[4] for one in after[:8]] == [f"s{number}.m4s" for number in range(8)]
        missing = [one[4] for one in after if one[2]]
        assert missing
        begun = {one[4]: one[1] for one in whole}
        assert [one[1] for one in after[-2:]] == [begun[one[4]] for one in after[-2:]]
        gone = small.rpartition("/")[0] + "/" + missing[0]
        assert (await site.get(gone)).status_code == 404


async def test_a_layer_that_comes_later_joins_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hls_ladder, "COMPANY", 0.2)
    async with running() as site:
        source, layers, index = await layered(site, VIDEO, muted=True)
        assert index.count("STREAM-INF") == 1
        (large,) = uris(index)
        source.send(5)
        await listed(site, large, 1)
        source._units = list(units(40, 0, 192))[50:]  # a discontinuity before it comes
        source.send(5)
        await listed(site, large, 4)
        layers.opened[0].muted = False
        source.send(8)
        large, small = uris((await site.get(INDEX)).text)
        playlist = await listed(site, small, 6)
        found = segments(playlist)
        known = {one[4]: one for one in segments(await listed(site, large, 6))}
        assert found[0][4] != "s0.m4s"
        assert [one[1] for one in found[1:]] == [known[one[4]][1] for one in found[1:]]
        assert "#EXT-X-DISCONTINUITY-SEQUENCE:1\n" in playlist
        assert {frame.width for frame in await pictures(site, small, playlist)} == {64}


async def test_where_one_format_changes_all_have_the_discontinuity() -> None:
    async with running() as site:
        source, layers, index = await layered(site, VIDEO)
        large, small = uris(index)
        source.send(5)
        await listed(site, large, 1)
        source._units = list(units(40, 0, 192))[50:]  # the best layer is a larger one now
        source.send(8)
        first, second = [segments(await listed(site, media, 5)) for media in (large, small)]
        broken = [one[4] for one in first if one[0]]
        assert [one[4] for one in second if one[0]] == broken
        assert len(broken) == 1
        assert layers.asked == [site.channel.plane_channel, 4711]
        frames = await pictures(site, large, await listed(site, large, 5))
        assert {frame.width for frame in frames} == {128, 256}


async def test_a_publisher_without_layers_goes_on_in_all_renditions() -> None:
    async with running() as site:
        source, layers, index = await layered(site, VIDEO)
        large, small = uris(index)
        source.send(4)
        await listed(site, small, 1)
        source.publishing.close()
        second = await film(site, VIDEO, seconds=4)
        await site.until(lambda: site.channel.stats().epoch > 1)
        second.send(6)
        assert layers.opened[0].closed
        for media in (large, small):
            playlist = await listed(site, media, 4)
            assert playlist.count("#EXT-X-DISCONTINUITY\n") == 1
            assert (await pictures(site, media, playlist))[-1].width == 128
        # who comes now is shown one picture, and the others keep theirs
        asked = asyncio.create_task(site.get(INDEX))
        while not asked.done():
            second.send(0.2)
            await asyncio.wait([asked], timeout=0.05)
        assert (await asked).text.count("STREAM-INF") == 1
        assert (await site.get(small)).status_code == 200
        assert len(site.context.hls) == 2


async def test_layers_that_nobody_asks_for_any_more_are_let_go() -> None:
    async with running() as site:
        _, layers, index = await layered(site, VIDEO)
        small = uris(index)[1]
        for output in site.context.hls:
            output.end("nobody asks")
        assert layers.opened[0].closed
        assert (await site.get(small)).status_code == 404
