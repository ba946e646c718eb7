"""Tables for the terminal and for ``docs/performance.md``."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.perf.figures import Figure, Result

COLUMNS = ("what", "server", "value", "ratio", "target", "verdict")
HISTORY = "<!-- history -->"
HEAD = """\
# Performance

`make bench` measures the server beside a bare loop of the same system calls (the *floor*) and
beside GStreamer's RTSP server, in the same run on the same machine: ratios travel, seconds do not.
One scenario alone: `.venv/bin/python -m tests.perf --only NAME`; a short look: `--quick`.

## Method

- The server runs on core 0, readers and publisher on core 1, all on loopback; the server is started
  anew for each run and a figure is the median of several runs. The sender also pays for the
  receiver's half of the network stack, as it does not on a real network.
- CPU is user and system time of the server's process tree and of its core's `ksoftirqd` over a
  steady window, from `/proc`. Time that others took on that core is shown while it runs, and noted
  below the table when it was more than a tenth: such figures are not to be quoted.
- The publisher writes its send time and a number into each packet. Readers compute the delay of
  complete frames, loss by RTP sequence number, and loss from end to end by the publisher's number.
- The floor (`helio-load floor`) receives on one UDP port and sends each frame to all readers: with
  `sendmmsg` and `UDP_SEGMENT`, or one `write` a frame and TCP connection.
- GStreamer runs `udpsrc ! rtph264depay ! rtph264pay` in a shared media factory, which writes a
  frame's packets together; *gstreamer (packets)* runs `udpsrc ! identity` and hands packets on as
  they come.
- Viewers by WebRTC (`helio-load whep-viewers`) shake hands and give feedback as browsers do, but
  decrypt nothing: a frame's number is told by the length of its last packet, its send time by a
  table that the publisher writes.
- Players of titles (`helio-load rtsp-readers --due`) begin at different places of several titles.
  A packet is late by its time stamp against the earliest packet of its track, by the kernel's clock
  at the receiver; the films have no B-frames, so that time stamps say when packets are due.

"""
TAIL = f"""\
## History

One line for each time a scenario was measured; machines differ, ratios are what to compare.

| date | commit | scenario | heliograph | verdicts |
|---|---|---|---|---|
{HISTORY}
"""


def number(value: float | None) -> str:
    """Three significant digits, thousands apart; a dash for what could not be measured."""
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    if value == int(value):
        return f"{value:.0f}"
    return f"{value:.3g}"


def row(figure: Figure) -> tuple[str, ...]:
    """Cells of a figure in the order of ``COLUMNS``."""
    quotient = f"{number(figure.ratio)} of {figure.against}" if figure.against else ""
    return (
        figure.what,
        figure.server,
        f"{number(figure.value)} {figure.unit}",
        quotient,
        str(figure.target) if figure.target else "",
        figure.verdict,
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Align rows as plain text."""
    widths = [max(len(cells[i]) for cells in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        for cells in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def plain(result: Result) -> str:
    """Show a result on a terminal."""
    rows = [COLUMNS, *(row(figure) for figure in result.figures)]
    notes = "".join(f"\n  {note}" for note in result.notes)
    return f"\n{result.scenario}: {result.title}\n{table(rows)}{notes}\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def section(result: Result, date: str, where: str) -> str:
    """Write a result as a section of the document, between its markers."""
    text = f"<!-- bench:{result.scenario} -->\n## {result.scenario}\n\n"
    text += f"{result.title}. {date}, {where}.\n\n"
    text += _line(COLUMNS) + "|" + "---|" * len(COLUMNS) + "\n"
    text += "".join(_line(row(figure)) for figure in result.figures)
    if result.notes:
        text += "\n" + "\n\n".join(result.notes) + "\n"
    return text + f"<!-- /bench:{result.scenario} -->\n"


def history(result: Result, date: str, commit: str) -> str:
    """Write a result as one row of the history."""
    judged = [figure for figure in result.figures if figure.target is not None]
    said = [
        f"{figure.what}: {number(figure.ratio)} of {figure.against}"
        if figure.against
        else f"{figure.what}: {number(figure.value)} {figure.unit}"
        for figure in judged
    ]
    verdicts = [figure.verdict for figure in judged]
    counts = f"{verdicts.count('met')} met, {verdicts.count('missed')} missed"
    return _line((date, commit, result.scenario, "; ".join(said), counts))


def update(document: str, result: Result, date: str, commit: str, where: str) -> str:
    """Put a result in its place in the document and add it to the history."""
    document = document or HEAD + TAIL
    new = section(result, date, where)
    name = re.escape(result.scenario)
    old = re.compile(rf"<!-- bench:{name} -->\n.*?<!-- /bench:{name} -->\n", re.DOTALL)
    if old.search(document):
        document = old.sub(lambda _: new, document, count=1)
    else:
        document = document.replace("## History\n", f"{new}\n## History\n", 1)
    return document.replace(HISTORY, history(result, date, commit) + HISTORY, 1)


def commit(root: Path) -> str:
    """Short name of the commit, with a + when files differ from it."""
    asked = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"


def machine() -> str:
    """Processor, cores, kernel and versions, in one line."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return (
        f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {gstreamer_version()}"
    )


def gstreamer_version() -> str:
    """Version of the rival, if it is there."""
    try:
        asked = subprocess.run(
            ["gst-inspect-1.0", "--version"], capture_output=True, text=True, check=False
        )
    except OSError:
        return "no GStreamer"
    lines = [line for line in asked.stdout.splitlines() if line.startswith("GStreamer ")]
    return lines[0] if lines else "no GStreamer"
