"""How it goes, for people (drawn with rich) and for programs (one JSON object a line)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heliograph.player.network import Feed
from heliograph.player.retransmission import Counters
from heliograph.player.senders import Sent
from heliograph.player.session import Player

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

#: Characters of a drawn buffer.
BAR = 40
#: Seconds a rate is measured over, at least.
RATE_SPAN = 0.5


@dataclass(slots=True)
class _Rate:
    at: float
    bytes: int
    bits: float = 0.0


class Statistics:
    """Looks at a player now and then."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._rates: dict[int, _Rate] = {}

    def as_json(self, now: float) -> dict[str, Any]:
        """Everything, with stable names; times in ms, rates in bit/s."""
        player = self._player
        pipelines = player.pipelines.values()
        skew = player.presenter.skews.statistics() if player.presenter is not None else None
        presenter = player.presenter
        return {
            "state": player.state.value,
            "position": round(player.position, 3),
            "duration": None if player.duration is None else round(player.duration, 3),
            "pictures": presenter.pictures if presenter else 0,
            "skipped": presenter.skipped if presenter else 0,
            "sounds": presenter.sounds if presenter else 0,
            "rebuffered": player.rebuffered,
            "underflows": sum(p.buffer.counters.underflows for p in pipelines),
            "overflows": sum(p.buffer.counters.overflows for p in pipelines),
            "skew_ms": None
            if skew is None or not skew.samples
            else {
                "median": round(1000 * skew.median, 3),
                "p99": round(1000 * skew.p99, 3),
                "worst": round(1000 * skew.worst, 3),
            },
            "feeds": self._feeds(),
            "streams": [self._stream(stream, now) for stream in player.pipelines],
            "remarks": list(player.remarks),
        }

    def _feeds(self) -> list[dict[str, Any]]:
        player = self._player
        rows = []
        for place, feed in enumerate(player.feeds):
            row: dict[str, Any] = {
                "url": feed.url,
                "transport": "udp" if feed.udp else "tcp",
                "live": feed.live,
                "bipartite": feed.shared is not None,
                "control": "" if feed.control is None else feed.control.place,
                "moves": 0 if feed.control is None else feed.control.moves,
                "strangers": feed.incoming.strangers,
                "unread": 0 if feed.control is None else feed.control.client.dropped,
                "nodes": _nodes(feed),
                "level_ms": round(1000 * player.level(feed)) if player.pipelines else 0,
            }
            if place < len(player.steerings):
                steering = player.steerings[place]
                row |= {
                    "capacity_ms": round(1000 * steering.capacity),
                    "watermarks_ms": [round(1000 * mark) for mark in steering.marks],
                    "flow": steering.kind.value,
                    "flow_reason": steering.reason,
                    "rate": round(steering.rate, 4),
                    "requests": steering.requests,
                }
            rows.append(row)
        return rows

    def _stream(self, stream: int, now: float) -> dict[str, Any]:
        player = self._player
        pipeline = player.pipelines[stream]
        incoming = next(f.incoming for f in player.feeds if stream in f.incoming.receptions)
        reception = incoming.receptions[stream]
        losses = incoming.losses.of(stream)
        decoder = pipeline.decoder.counters if pipeline.decoder is not None else None
        return {
            "stream": stream,
            "kind": pipeline.track.kind.value,
            "codec": pipeline.track.codec.value,
            "packets": reception.packets,
            "bitrate": round(self._bits(stream, reception.bytes, now)),
            "lost": reception.lost,
            "jitter_ms": round(reception.jitter_ms, 2),
            "level_ms": pipeline.buffer.level_ms,
            "missing": pipeline.buffer.counters.missing,
            "reordered": pipeline.buffer.counters.reordered,
            **_asked(losses),
            "units": pipeline.units,
            "decoded": decoder.decoded if decoder else 0,
            "errors": decoder.errors if decoder else 0,
        }

    def _bits(self, stream: int, received: int, now: float) -> float:
        known = self._rates.setdefault(stream, _Rate(now, received))
        if now - known.at >= RATE_SPAN:
            bits = 8 * (received - known.bytes) / (now - known.at)
            known = self._rates[stream] = _Rate(now, received, bits)
        return known.bits

    # --- for people -------------------------------------------------------------------------------

    def draw(self, now: float) -> RenderableType:
        """The same for a terminal."""
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        shown = self.as_json(now)
        whole = "live" if shown["duration"] is None else _clock(shown["duration"])
        head = Text.assemble(
            (shown["state"], "bold"),
            f"  {_clock(shown['position'])} / {whole}   {shown['pictures']} pictures",
            f", {shown['skipped']} left out" if shown["skipped"] else "",
            f", stood still {shown['rebuffered']}×" if shown["rebuffered"] else "",
        )
        if shown["skew_ms"]:
            skew = shown["skew_ms"]
            head.append(f"   skew {skew['median']:.1f} ms, at most {skew['worst']:.1f} ms")
        lines: list[RenderableType] = [head]
        lines += [_buffer(row) for row in shown["feeds"]]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for name in ("", "codec", "rate", "level", "packets", "lost", "asked", "recovered", "late"):
            table.add_column(name, justify="left" if name in ("", "codec") else "right")
        for row in shown["streams"]:
            table.add_row(
                f"{row['stream']} {row['kind']}",
                row["codec"],
                f"{row['bitrate'] / 1e6:.2f} Mbit/s",
                f"{row['level_ms']} ms",
                str(row["packets"]),
                str(row["lost"]),
                *_shown(row),
            )
        for feed in shown["feeds"]:
            for node in feed["nodes"]:
                name = f"node {node['node']}"
                sent = (node["address"], "", "", str(node["packets"]), str(node["missing"]))
                table.add_row(name, *sent, *_shown(node), style="dim")
        lines.append(table)
        lines += [Text(remark, style="yellow") for remark in shown["remarks"][-3:]]
        return Group(*lines)


def _nodes(feed: Feed) -> list[dict[str, Any]]:
    """Of a title that several nodes send: what came from each."""
    if feed.shared is None:
        return []
    return [
        {
            "node": node.number,
            "address": node.host,
            "packets": sent.packets,
            "missing": sent.missing,
            "ended": sent.ended,
            **_asked(feed.incoming.losses.of_node(node.number)),
        }
        for node in feed.shared.nodes
        for sent in (feed.shared.sent.get(node.number, Sent()),)
    ]


def _asked(losses: Counters | None) -> dict[str, int | None]:
    """``None`` where it is not counted so, or nobody is asked."""
    names = ("lost", "asked", "recovered", "late", "hopeless", "dropped")
    return {
        "gaps" if name == "lost" else name: None if losses is None else getattr(losses, name)
        for name in names
    }


def _shown(row: dict[str, Any]) -> list[str]:
    names = ("asked", "recovered", "late")
    return ["" if row[name] is None else str(row[name]) for name in names]


def bar(level: float, capacity: float, marks: list[int], width: int = BAR) -> str:
    """A buffer as characters: filled up to the level, watermarks as lines in it."""
    if capacity <= 0:
        return " " * width
    filled = min(width, round(width * level / capacity))
    cells = ["█"] * filled + ["·"] * (width - filled)
    for mark in marks:
        at = min(width - 1, int(width * mark / capacity))
        cells[at] = "┃" if at < filled else "│"
    return "".join(cells)


def _buffer(row: dict[str, Any]) -> Text:
    from rich.text import Text

    capacity = row.get("capacity_ms", 0)
    marks = row.get("watermarks_ms", [])
    if row["live"]:  # nothing steers it: what is wanted is in the middle
        capacity, marks = 2 * capacity, [capacity]
    low = capacity * 0.15
    style = "green" if row["level_ms"] >= low else "red"
    line = Text.assemble(
        ("▕" + bar(row["level_ms"], capacity, marks) + "▏", style),
        f" {row['level_ms'] / 1000:4.1f} s of {capacity / 1000:.1f}  {row['transport']}",
    )
    flow = row.get("flow", "none")
    if flow != "none":
        rate = "paused" if row["rate"] == 0 else f"×{row['rate']:.2f}"
        line.append(f"  {flow} {rate}, {row['requests']} requests")
    elif row.get("flow_reason"):
        line.append(f"  {row['flow_reason']}")
    if row["bipartite"]:
        line.append(f"  {len(row['nodes'])} nodes, control at {row['control']}")
    line.append(f"  {row['url']}", style="dim")
    return line


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0.0, seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
