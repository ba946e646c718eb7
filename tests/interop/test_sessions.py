"""Publishers that are missing, die, come back, come twice or may not; readers that may not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .peers import ffmpeg, gstreamer, mpv
from .peers.chromium import MIN_PSNR, Chromium
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until
from .peers.rtsp import Talk, status

pytestmark = pytest.mark.interop

Keep = Callable[[Program], Program]

VIEW_KEY = "a-viewers-own-key"
#: Seconds in which a player has its first pictures on a busy machine.
PATIENCE = 45.0
#: Seconds that a viewer is given to show something where there is nothing.
NOTHING = 8.0


@pytest.mark.browser
def test_without_a_publisher_no_viewer_sees_anything(
    clip: Clip, serve: Callable[..., Server], run: Keep, chromium: Chromium, tmp_path: Path
) -> None:
    server = serve()
    url = server.rtsp("clip")
    viewers = [
        ffmpeg.watch(clip, url, "udp", tmp_path),
        ffmpeg.watch(clip, url, "tcp", tmp_path),
        gstreamer.watch(clip, url, "udp", tmp_path),
        gstreamer.watch(clip, url, "tcp", tmp_path),
        mpv.watch(clip, url, "tcp", tmp_path),
    ]
    for viewer in viewers:
        run(viewer)
    tab = chromium.open(f"{server.http}/watch/clip?way=websocket")
    tab.spy()
    tab.until_state("waiting", NOTHING)
    assert "Nothing on air right now" in tab.text
    for viewer in viewers:
        # A program that gives up must say so by its exit code; one that waits has nothing to show.
        try:
            code = viewer.wait(NOTHING)
        except AssertionError:
            code = None
        print(f"{viewer.name} ended with {code}")
        assert code != 0
        assert viewer.record.pictures == 0
    assert tab.numbers == []
    tab.close()


@pytest.mark.browser
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_readers_stay_while_the_publisher_is_killed_and_comes_back(
    transport: str,
    clip: Clip,
    serve: Callable[..., Server],
    run: Keep,
    chromium: Chromium,
    tmp_path: Path,
) -> None:
    server = serve()
    source = server.rtsp("clip", key=KEY)
    first = ffmpeg.publish(clip.opus, source, transport, tmp_path, name="first")
    run(first)
    server.until_state("clip", "on_air")
    viewers = [
        ffmpeg.watch(clip, server.rtsp("clip"), "tcp", tmp_path),
        ffmpeg.watch(clip, server.rtsp("clip"), "udp", tmp_path),
        gstreamer.watch(clip, server.rtsp("clip"), "udp", tmp_path),
        gstreamer.watch(clip, server.rtsp("clip"), "tcp", tmp_path),
    ]
    for viewer in viewers:
        run(viewer)
    tab = chromium.open(f"{server.http}/watch/clip?way=websocket")
    tab.spy()
    for viewer in viewers:
        viewer.wait_pictures(3 * make.RATE, PATIENCE)
    tab.wait_numbers(3 * make.RATE, PATIENCE)

    first.kill()
    killed = time.monotonic()
    server.until_state("clip", "waiting")
    tab.until_state("waiting", 5)
    marks = [viewer.record.mark() for viewer in viewers]
    shown = len(tab.numbers)
    print(f"waiting {time.monotonic() - killed:.1f} s after the publisher was killed")

    second = ffmpeg.publish(clip.opus, source, transport, tmp_path, name="second")
    run(second)
    started = time.monotonic()
    for viewer, mark in zip(viewers, marks, strict=True):
        viewer.wait_pictures(3 * make.RATE, PATIENCE, since=mark)
    tab.wait_numbers(3 * make.RATE, PATIENCE, since=shown)
    for viewer, mark in zip(viewers, marks, strict=True):
        record = viewer.record
        print(f"{viewer.name} goes on {record.seen[mark].at - started:.1f} s after the start")
        assert viewer.running
        # Pictures still on their way at the mark belong to the first publisher.
        fresh = next(i for i, seen in enumerate(record.seen[mark:], mark) if seen.number == 0)
        assert fresh - mark <= make.RATE
        assert record.gaps(fresh) == []
        assert record.damaged(fresh) == []
        viewer.stop()  # while something comes: ffmpeg looks at signals only then
    assert tab.stats[-1]["reconnects"] == 0
    assert tab.state == "playing"
    tab.close()


@pytest.mark.browser
def test_a_page_goes_on_by_itself_when_the_server_was_killed_and_comes_back(
    clip: Clip, serve: Callable[..., Server], run: Keep, chromium: Chromium, tmp_path: Path
) -> None:
    first = serve()
    source = first.rtsp("clip", key=KEY)
    run(ffmpeg.publish(clip.opus, source, "tcp", tmp_path, name="first"))
    first.until_state("clip", "on_air")
    tab = chromium.open(f"{first.http}/watch/clip?way=websocket")
    tab.spy()
    tab.wait_numbers(2 * make.RATE, PATIENCE)

    first.kill()
    tab.until_state("reconnecting", PATIENCE)
    shown = len(tab.numbers)

    # The same command on the same ports; nobody touches the page.
    second = serve(
        settings={
            "http": {"port": first.http_port},
            "rtsp": {"port": first.rtsp_port, "rtp_port": first.rtp_port},
        }
    )
    run(ffmpeg.publish(clip.opus, source, "tcp", tmp_path, name="second"))
    second.until_state("clip", "on_air")
    tab.wait_numbers(3 * make.RATE, PATIENCE, since=shown)
    assert tab.state == "playing"
    assert tab.stats[-1]["reconnects"] >= 1
    number, likeness = tab.likeness(clip)
    print(f"picture {number} has {likeness:.1f} dB, {tab.stats[-1]}")
    assert likeness >= MIN_PSNR
    assert tab.complaints == []
    tab.close()


def test_a_second_publisher_is_refused_and_the_first_not_disturbed(
    clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> None:
    server = serve()
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")
    viewer = ffmpeg.watch(clip, server.rtsp("clip"), "tcp", tmp_path)
    run(viewer)
    viewer.wait_pictures(make.RATE, PATIENCE)
    second = ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path, name="second")
    run(second)
    assert second.wait(10) != 0
    print(second.log)
    viewer.wait_pictures(3 * make.RATE, PATIENCE)
    viewer.stop()
    assert viewer.judge(3 * make.RATE) == []


@pytest.mark.long
def test_a_second_publisher_takes_over_where_the_channel_says_so(
    clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> None:
    server = serve({"name": "clip", "key": KEY, "on_conflict": "replace"})
    source = server.rtsp("clip", key=KEY)
    first = ffmpeg.publish(clip.opus, source, "tcp", tmp_path, name="first")
    run(first)
    server.until_state("clip", "on_air")
    viewer = ffmpeg.watch(clip, server.rtsp("clip"), "tcp", tmp_path)
    run(viewer)
    viewer.wait_pictures(3 * make.RATE, PATIENCE)
    second = ffmpeg.publish(clip.opus, source, "tcp", tmp_path, name="second")
    run(second)
    assert first.wait(10) != 0
    mark = viewer.record.mark()
    viewer.wait_pictures(3 * make.RATE, PATIENCE, since=mark)
    viewer.stop()
    # One gap, where the clip begins again; after it every picture is right.
    gaps = viewer.record.gaps()
    print(gaps)
    assert len(gaps) == 1
    assert gaps[0][1] == 0
    assert viewer.record.damaged() == []


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_publisher_with_a_wrong_key_is_told_401(
    transport: str, clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> None:
    server = serve()
    url = server.rtsp("clip", key="not-the-key-at-all")
    publisher = ffmpeg.publish(clip.opus, url, transport, tmp_path)
    run(publisher)
    assert publisher.wait(10) != 0
    assert "401" in publisher.log
    assert server.channel("clip")["state"] == "idle"


def test_a_reader_too_many_is_refused_with_the_right_status(
    clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> None:
    server = serve({"name": "clip", "key": KEY, "max_readers": 1})
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")
    viewer = ffmpeg.watch(clip, server.rtsp("clip"), "udp", tmp_path)
    run(viewer)
    viewer.wait_pictures(make.RATE, PATIENCE)
    other = ffmpeg.watch(clip, server.rtsp("clip"), "tcp", tmp_path)
    run(other)
    assert other.wait(10) != 0
    assert "453" in other.log or "503" in other.log, other.log
    url = server.rtsp("clip")
    with Talk(server.rtsp_port) as talk:
        assert talk.ask("DESCRIBE", url)[0] in (200, 453, 503)
        code, answer = talk.ask(
            "SETUP", f"{url}/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
        )
        print(answer)
        # RFC 2326 section 11.3: no place is "not enough bandwidth" or "service unavailable".
        assert code in (453, 503)
    viewer.stop()
    wait_until(lambda: server.channel("clip")["readers"] == 0, 10, "the place is free")
    assert viewer.judge(make.RATE) == []


def test_a_viewer_shows_the_key_by_digest(
    clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> None:
    server = serve(
        {"name": "clip", "key": KEY, "view_key": VIEW_KEY},
    )
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "udp", tmp_path))
    server.until_state("clip", "on_air")
    assert status(server.rtsp_port, "DESCRIBE", "clip") == 401
    with Talk(server.rtsp_port) as talk:
        assert "WWW-Authenticate: Digest" in talk.ask("DESCRIBE", server.rtsp("clip"))[1]
    good = server.rtsp("clip", key=VIEW_KEY)
    viewers = [
        ffmpeg.watch(clip, good, "udp", tmp_path),
        ffmpeg.watch(clip, good, "tcp", tmp_path),
        gstreamer.watch(clip, server.rtsp("clip"), "udp", tmp_path, login=("me", VIEW_KEY)),
        gstreamer.watch(clip, server.rtsp("clip"), "tcp", tmp_path, login=("me", VIEW_KEY)),
    ]
    for viewer in viewers:
        run(viewer)
    wrong = ffmpeg.watch(clip, server.rtsp("clip", key="wrong-key"), "tcp", tmp_path, name="wrong")
    run(wrong)
    assert wrong.wait(10) != 0
    assert "401" in wrong.log
    for viewer in viewers:
        viewer.wait_pictures(2 * make.RATE, PATIENCE)
        viewer.stop()
        assert viewer.judge(2 * make.RATE) == []
