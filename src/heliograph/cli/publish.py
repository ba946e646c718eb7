"""``helio publish``: send a file, a device or the test pattern to a channel."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli.console import (
    ChannelArgument,
    JsonOption,
    duration,
    print_json,
    progress,
    rate,
    stderr,
)

if TYPE_CHECKING:
    from heliograph.cli.publishing.publisher import Publisher, Status
    from heliograph.cli.publishing.sources import Options
    from heliograph.cli.publishing.units import Source

PATTERN = "pattern"


class Lower(StrEnum):
    """What carries media."""

    TCP = "tcp"
    UDP = "udp"


class VideoCodec(StrEnum):
    """What video is encoded with."""

    H264 = "h264"
    VP8 = "vp8"


def command(
    source: Annotated[
        str, typer.Argument(metavar="FILE|DEVICE|pattern", help="What to send; '-' is not read.")
    ],
    channel: ChannelArgument,
    url: Annotated[str, typer.Option(help="Server.")] = "rtsp://127.0.0.1:8554",
    key: Annotated[
        str, typer.Option(envvar="HELIO_KEY", show_envvar=True, help="The channel's stream key.")
    ] = "",
    loop: Annotated[bool, typer.Option("--loop", help="Begin a file again at its end.")] = False,
    transport: Annotated[Lower, typer.Option(help="What carries media.")] = Lower.TCP,
    width: Annotated[int, typer.Option(min=160, max=7680)] = 1280,
    height: Annotated[int, typer.Option(min=120, max=4320)] = 720,
    fps: Annotated[int, typer.Option(min=1, max=120, help="Frames a second.")] = 25,
    bitrate: Annotated[
        int, typer.Option(min=50, max=200_000, help="Encoded video, kbit/s.")
    ] = 2000,
    video_codec: Annotated[VideoCodec, typer.Option(help="Encoded video.")] = VideoCodec.H264,
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Send no sound.")] = False,
    seconds: Annotated[
        float | None, typer.Option("--duration", min=0.1, help="End after so many seconds.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send a file, a device (/dev/video0) or a test pattern to a channel.

    Files are sent as they are where RTP has a format for their codecs; otherwise they are
    encoded. Size, rate and bit rate are those of what is encoded. Ends with the file, with
    --duration, or with Ctrl-C; waits a minute for a server that is not there yet, and comes back
    by itself when the server was away.
    """
    from heliograph.cli.publishing.sources import Options
    from heliograph.model.media import Codec

    options = Options(
        width=width,
        height=height,
        fps=fps,
        bitrate=bitrate * 1000,
        codec=Codec(video_codec.value),
        audio=not no_audio,
        loop=loop,
        title=channel,
    )
    target = f"{url.rstrip('/')}/{channel}"
    asyncio.run(_publish(source, options, target, key, transport is Lower.UDP, seconds, as_json))


async def _publish(
    place: str,
    options: Options,
    url: str,
    key: str,
    udp: bool,
    seconds: float | None,
    as_json: bool,
) -> None:
    from rich.progress import TextColumn

    from heliograph.cli.publishing.publisher import Publisher
    from heliograph.protocols.rtsp.targets import without_credentials

    source = await asyncio.to_thread(_open, place, options)
    try:
        with progress(TextColumn("{task.description}"), quiet=as_json) as bar:
            task = bar.add_task("connecting …")
            last = ""

            def show(status: Status) -> None:
                nonlocal last
                if as_json:
                    print_json(status.as_json(), line=True)
                    return
                bar.update(task, description=describe(status))
                if status.state != last and status.state in ("publishing", "away"):
                    last = status.state
                    bar.console.print(_change(status, place, without_credentials(url)))

            publisher = Publisher(
                url,
                source,
                key=key,
                udp=udp,
                title=options.title,
                duration=seconds,
                on_status=show,
            )
            if not as_json:
                for remark in source.remarks:
                    bar.console.print(remark)
            _on_signals(publisher)
            await publisher.run()
    finally:
        source.close()
    if not as_json:
        sent = sum(stream.packets for stream in publisher.streams)
        stderr().print(f"ended; {sent} packets sent")


def _open(place: str, options: Options) -> Source:
    from heliograph.cli.publishing.sources import ContainerSource, PatternSource

    if place == PATTERN:
        return PatternSource(options, clock=time.monotonic)
    return ContainerSource(place, options, device="v4l2" if _is_device(place) else None)


def _is_device(place: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(Path(place)).st_mode)
    except OSError:
        return False


def _on_signals(publisher: Publisher) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, publisher.stop)


def describe(status: Status) -> str:
    """One line of progress."""
    parts = [duration(status.seconds), rate(status.bitrate), f"{status.packets} packets"]
    if status.loss is not None:
        parts.append(f"loss {status.loss:.1%} ({status.lost})")
    for count, name in (
        (status.dropped, "dropped"),
        (status.stalls, "stalls"),
        (status.reconnects, "reconnects"),
    ):
        if count:
            parts.append(f"{count} {name}")
    if status.state == "away":
        parts.append(f"away: {status.reason}")
    return " · ".join(parts)


def _change(status: Status, place: str, url: str) -> str:
    if status.state == "away" and not status.packets:
        return f"waiting for the server ({status.reason})"
    if status.state == "away":
        return f"the server is away ({status.reason}); trying again"
    again = " again" if status.reconnects else ""
    return f"publishing {place} to {url}{again}; Ctrl-C ends it"
