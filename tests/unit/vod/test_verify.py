"""Verification: a title that is whole is called so, and one that is not is told exactly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.vod.conftest import Files
from tests.unit.vod.imports import Title, titled
from tests.unit.vod.made_files import Made

from heliograph.model.errors import GoneError, UnreachableError
from heliograph.vod import blocks
from heliograph.vod.manifest import KeyPoint
from heliograph.vod.verify import verify_title


class Holey(Title):
    """Lacks some blocks."""

    def __init__(self, title: Title, *lost: int, silent: int = -1) -> None:
        super().__init__(title.manifest, title.blocks)
        self.lost, self.silent = lost, silent

    async def block(self, number: int, deadline: float | None = None) -> bytes:
        if number in self.lost:
            raise GoneError(f"block {number} is beyond repair")
        if number == self.silent:
            raise UnreachableError("nobody has it now")
        return await super().block(number, deadline)


@pytest.fixture
def title(media: Files) -> Title:
    return titled(media("h264.mp4"), block=4096)


async def test_a_title_that_is_whole_is_good(title: Title) -> None:
    told: list[tuple[int, int]] = []
    report = await verify_title(title.manifest, title, progress=lambda *at: told.append(at))
    assert report.good
    assert report.faults == ()
    assert report.blocks == len(title.blocks) == told[-1][0] == told[-1][1]
    assert report.units == sum(one.units for one in title.manifest.tracks) == 145
    assert report.digest == (await verify_title(title.manifest, title)).digest


@pytest.mark.parametrize("name", ["vp9.webm", "av1.mp4", "h265.mp4", "fine.mov"])
async def test_titles_of_any_codec_are_good(media: Files, name: str) -> None:
    made = {
        "vp9.webm": Made(video="vp9", audio=["libopus"]),
        "av1.mp4": Made(video="av1", audio=["libopus"]),
        "h265.mp4": Made(video="h265"),
        "fine.mov": Made(audio=["pcm_s24le"]),
    }[name]
    title = titled(media(name, made))
    report = await verify_title(title.manifest, title)
    assert report.good, report.faults


async def test_blocks_that_are_lost_are_named_exactly(title: Title) -> None:
    report = await verify_title(title.manifest, Holey(title, 2, 4, silent=5))
    assert not report.good
    assert report.missing == (2, 4, 5)
    assert [(one.block, one.kind) for one in report.faults] == [
        (2, "lost"),
        (4, "lost"),
        (5, "unreadable"),
    ]
    assert report.blocks == len(title.blocks) - 3
    assert report.units > 0


async def test_blocks_that_are_damaged_or_others_are_named(title: Title) -> None:
    changed = list(title.blocks)
    changed[1] = changed[1][:-1]
    changed[3] = changed[4]
    report = await verify_title(title.manifest, Title(title.manifest, changed))
    assert [(one.block, one.kind) for one in report.faults] == [(1, "malformed"), (3, "other")]


async def test_bytes_that_changed_show_in_the_digest(title: Title) -> None:
    changed = list(title.blocks)
    changed[2] = changed[2][:-1] + bytes([changed[2][-1] ^ 1])
    whole = await verify_title(title.manifest, title)
    other = await verify_title(title.manifest, Title(title.manifest, changed))
    assert other.digest != whole.digest


async def test_a_manifest_that_tells_of_other_keys_or_packets_is_seen(title: Title) -> None:
    fewer = replace(title.manifest, keys=title.manifest.keys[:1])
    report = await verify_title(fewer, title)
    assert [one.kind for one in report.faults] == ["key"]
    later = title.manifest.keys[1]
    moved = KeyPoint(later.due_us, later.pts_us, later.block - 1, 0)
    report = await verify_title(replace(fewer, keys=[fewer.keys[0], moved]), title)
    assert [one.kind for one in report.faults] == ["key", "key"]
    first, sound = title.manifest.tracks
    tracks = (replace(first, packets=first.packets + 1), sound)
    report = await verify_title(replace(title.manifest, tracks=tracks), title)
    assert [one.kind for one in report.faults] == ["count"]


async def test_units_that_are_not_whole_are_counted(title: Title) -> None:
    data = bytearray(title.blocks[0])
    at = blocks.read_header(bytes(data)).size
    data[at + 5] &= ~(blocks.LAST | blocks.MARKER)
    report = await verify_title(
        title.manifest, Title(title.manifest, [bytes(data), *title.blocks[1:]])
    )
    assert not report.good
    assert "units" in [one.kind for one in report.faults]
