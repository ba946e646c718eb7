"""``helio play``: watch and hear channels and titles."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli.console import JsonOption, print_json, stderr, stdout
from heliograph.model.errors import HelioError, NotFoundError, ResourceError

if TYPE_CHECKING:
    from heliograph.player.audio import Speaker
    from heliograph.player.options import PlayOptions
    from heliograph.player.session import Player
    from heliograph.player.streams import Stream
    from heliograph.player.terminal import Statistics
    from heliograph.player.video import Window
    from heliograph.player.writing import Writer

#: Seconds between two lines of ``--json``.
JSON_EVERY = 1.0
#: Times a second the terminal is drawn anew.
DRAWINGS = 5


class Flow(StrEnum):
    """How the server of a title is steered."""

    RATE = "rate"
    PAUSE = "pause"
    NONE = "none"


class Marks(StrEnum):
    """How watermarks lie."""

    LINEAR = "linear"
    GEOMETRIC = "geometric"


def command(
    urls: Annotated[
        list[str],
        typer.Argument(metavar="URL…", help="Like rtsp://host:8554/name; several: together."),
    ],
    stats: Annotated[
        bool, typer.Option("--stats", help="Show figures on the terminal instead of a window.")
    ] = False,
    write: Annotated[
        Path | None,
        typer.Option(help="Write a file: .mp4, .mkv, .ts as it came; .yuv, .wav decoded."),
    ] = None,
    tcp: Annotated[bool, typer.Option("--tcp", help="Media within the RTSP connection.")] = False,
    gathered: Annotated[
        bool,
        typer.Option("--gathered", help="One server sends, though all nodes of a volume could."),
    ] = False,
    start: Annotated[
        float | None, typer.Option(min=0, help="Seconds from the title's beginning.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="End after so many seconds.")
    ] = None,
    buffer: Annotated[
        float | None,
        typer.Option(min=0.2, max=60, help="Seconds buffered; else 5 for titles, 1 for channels."),
    ] = None,
    flow: Annotated[
        Flow, typer.Option(help="Steer a title's server by rate (Δp), by pausing, or not.")
    ] = Flow.RATE,
    watermarks: Annotated[int, typer.Option(min=2, max=64, help="Watermarks of --flow rate.")] = 5,
    spacing: Annotated[Marks, typer.Option(help="How watermarks lie.")] = Marks.LINEAR,
    mute: Annotated[bool, typer.Option("--mute", help="No sound.")] = False,
    key: Annotated[
        str, typer.Option(envvar="HELIO_KEY", show_envvar=True, help="Key, where one is needed.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Play channels and titles in a window, on a terminal (--stats) or into a file (--write).

    Several URLs are played in tight synchrony, side by side. Media come by UDP, or by TCP where
    nothing comes. In the window: space pauses, arrows seek 10 s, f fills the screen, q ends.
    """
    from heliograph.player.flow import Spacing
    from heliograph.player.options import PlayOptions
    from heliograph.player.steering import FlowKind, FlowOptions

    windowed = not (stats or write or as_json)
    options = PlayOptions(
        tcp=tcp,
        gathered=gathered,
        start=start,
        seconds=seconds,
        buffer=buffer,
        flow=FlowOptions(FlowKind(flow.value), watermarks, Spacing(spacing.value)),
        decode=stats or as_json,
        key=key,
    )
    outputs = _Outputs(urls[0] if windowed else "", windowed and not mute, write)
    asyncio.run(_play(urls, options, outputs, as_json=as_json, stats=stats))


class _Outputs:
    """What was asked for."""

    def __init__(self, title: str, sound: bool, path: Path | None) -> None:
        self._title, self._sound, self._path = title, sound, path
        self.remarks: list[str] = []

    def screen(self, streams: Sequence[Stream]) -> Window | None:
        from heliograph.model.media import Kind

        videos = [s.index for s in streams if s.track.kind is Kind.VIDEO]
        if not self._title or not videos:
            return None
        if not _has_display():
            raise ResourceError("there is no display here; use --stats or --write FILE")
        from heliograph.player.video import Window
        from heliograph.protocols.rtsp.targets import without_credentials

        return Window(f"{without_credentials(self._title)} – helio play", videos)

    def loudspeaker(self, streams: Sequence[Stream]) -> Speaker | None:
        from heliograph.model.media import Kind

        sources = {s.index: max(1, s.track.channels) for s in streams if s.track.kind is Kind.AUDIO}
        if not self._sound or not sources:
            return None
        from heliograph.player.audio import Speaker

        try:
            return Speaker(sources)
        except ResourceError as error:
            self.remarks.append(f"{error.message}: playing without sound")
            return None

    def writer(self, streams: Sequence[Stream]) -> Writer | None:
        if self._path is None:
            return None
        from heliograph.player.writing import Writer

        return Writer(self._path, {stream.index: stream.track for stream in streams})


def _has_display() -> bool:
    names = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    return os.name != "posix" or any(os.environ.get(name) for name in names)


async def _play(
    urls: list[str], options: PlayOptions, outputs: _Outputs, *, as_json: bool, stats: bool
) -> None:
    from heliograph.player.session import Player
    from heliograph.player.terminal import Statistics

    player = Player(urls, options, outputs)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, player.stop)
    statistics = Statistics(player)
    showing = asyncio.create_task(
        _print_lines(statistics) if as_json else _show(player, statistics, drawn=stats)
    )
    try:
        await player.run()
    except NotFoundError as error:
        message = f"{error.subject or 'URL'}: there is no such channel or title ({error.message})"
        raise NotFoundError(message, subject=error.subject) from error
    except HelioError as error:
        if (
            error.subject
            and error.subject.startswith("rtsp")
            and error.subject not in error.message
        ):
            error.message = f"{error.subject}: {error.message}"
        raise
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        if as_json:
            print_json(statistics.as_json(loop.time()), line=True)
    if not as_json:
        _sum_up(player, outputs)


async def _print_lines(statistics: Statistics) -> None:
    loop = asyncio.get_running_loop()
    while True:
        print_json(statistics.as_json(loop.time()), line=True)
        await asyncio.sleep(JSON_EVERY)


async def _show(player: Player, statistics: Statistics, *, drawn: bool) -> None:
    """Draw figures, or at least say what people should know."""
    from rich.live import Live

    loop = asyncio.get_running_loop()
    console = stdout()
    if drawn and console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=False) as live:
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1 / DRAWINGS)
                live.update(statistics.draw(loop.time()), refresh=True)
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    return
    told = 0
    while True:
        for remark in player.remarks[told:]:
            stderr().print(remark)
        told = len(player.remarks)
        if drawn:
            console.print(statistics.draw(loop.time()))
        await asyncio.sleep(1.0)


def _sum_up(player: Player, outputs: _Outputs) -> None:
    for remark in outputs.remarks:
        stderr().print(remark)
    lost = sum(p.buffer.counters.missing for p in player.pipelines.values())
    presenter = player.presenter
    parts = [f"{presenter.pictures if presenter else 0} pictures", f"{lost} packets missing"]
    if player.rebuffered:
        parts.append(f"stood still {player.rebuffered}×")
    if presenter is not None and presenter.writer is not None:
        parts.append(f"wrote {presenter.writer.path}")
    stderr().print("ended; " + ", ".join(parts))
