"""``helio probe``: measure an RTSP source."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli.console import JsonOption, print_json, progress, rate, stdout

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from heliograph.cli.probing.meter import TrackReport
    from heliograph.cli.probing.session import Report


class Lower(StrEnum):
    """What carries media."""

    AUTO = "auto"
    UDP = "udp"
    TCP = "tcp"


def command(
    url: Annotated[str, typer.Argument(metavar="URL", help="Like rtsp://host:8554/name.")],
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to listen.")] = 5.0,
    transport: Annotated[
        Lower, typer.Option(help="What carries media; auto changes from UDP to TCP.")
    ] = Lower.AUTO,
    key: Annotated[
        str, typer.Option(envvar="HELIO_KEY", show_envvar=True, help="Key, where one is needed.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Measure an RTSP source: tracks, rate, loss, jitter, keyframes, clocks, delay.

    Exit code 3 means that the source is not there, refuses, or sends nothing.
    """
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    from heliograph.cli.probing.session import probe

    columns = (SpinnerColumn(), TextColumn("listening"), TimeElapsedColumn())
    with progress(*columns, quiet=as_json) as bar:
        bar.add_task("listening", total=None)
        report = asyncio.run(probe(url, key=key, seconds=seconds, transport=transport.value))
    if as_json:
        print_json(report.as_json())
    else:
        _show(report)


def _show(report: Report) -> None:
    from rich.text import Text

    from heliograph.cli.probing.verdicts import judge

    console = stdout()
    console.print(Text(report.url, style="bold"))
    console.print(
        f"{report.transport.upper()}, listened {report.seconds:.1f} s, "
        f"agreed to play after {report.setup_ms:.0f} ms"
    )
    for remark in report.remarks:
        console.print(Text(remark, style="yellow"))
    console.print(_table(report))
    if report.av_offset_ms is not None:
        late = "video after sound" if report.av_offset_ms >= 0 else "sound after video"
        verdict = judge("av_offset_ms", report.av_offset_ms)
        line = Text(f"{abs(report.av_offset_ms):.1f} ms", style=verdict.value)
        console.print(Text.assemble("A/V offset: ", line, f" ({late})"))
    else:
        console.print("A/V offset: not known (needs sender reports of video and audio)")


def _table(report: Report) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from heliograph.cli.probing.verdicts import judge_track

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("")
    for track in report.tracks:
        mark = Text("● ", style=judge_track(track).value)
        table.add_column(Text.assemble(mark, f"{track.id} {track.kind}"))
    rows = [_cells(track, report.sizes.get(track.id)) for track in report.tracks]
    for name in rows[0] if rows else ():
        table.add_row(name, *(row[name] for row in rows))
    return table


def _cells(track: TrackReport, size: tuple[int, int] | None) -> dict[str, Text]:
    """The figures of a track as people read them, each in its verdict's colour."""
    from rich.text import Text

    from heliograph.cli.probing.verdicts import judge

    def cell(name: str, text: str) -> Text:
        return Text(text, style=judge(name, getattr(track, name, None)).value)

    def number(name: str, unit: str, digits: int = 0) -> Text:
        value = getattr(track, name)
        return cell(name, "–" if value is None else f"{value:.{digits}f} {unit}".rstrip())

    detail = track.codec_string or track.encoding
    form = f"{size[0]}×{size[1]}" if size else f"{track.channels} ch" if track.channels else "–"
    return {
        "codec": Text(track.codec if detail == track.codec else f"{track.codec} ({detail})"),
        "format": Text(form),
        "payload type": Text(f"{track.payload_type} at {track.clock_rate} Hz"),
        "first packet": number("first_packet_ms", "ms"),
        "packets": number("packets", ""),
        "bit rate": Text(rate(track.bitrate)),
        "lost": cell("loss", f"{track.lost} of {track.expected} ({track.loss:.2%})"),
        "late": number("late", ""),
        "repeated": number("repeated", ""),
        "ill-formed": number("malformed", ""),
        "jitter": number("jitter_ms", "ms", 1),
        "frames": number("rate", "/s", 2),
        "keyframe every": number("keyframe_interval", "s", 2),
        "at most": number("keyframe_interval_max", "s", 2),
        "sender reports": number("sender_reports", ""),
        "delay": number("delay_ms", "ms", 1),
    }
