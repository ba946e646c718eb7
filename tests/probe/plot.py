"""Times between packets as an SVG: one panel a run, the same axes for all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

WIDTH, PANEL, LEFT, TOP, BOTTOM, GAP = 880, 180, 56, 30, 34, 16


@dataclass(frozen=True)
class Run:
    """A run as its viewer saw it."""

    title: str
    points: Sequence[tuple[float, float]]
    """(when a packet came, s since the start; time since the one before, ms)."""
    mark: float | None = None
    """When something happened, s."""


def draw(runs: Sequence[Run], file: Path) -> None:
    """Write the picture."""
    longest = max(at for run in runs for at, _ in run.points)
    most = max(20 * math.ceil(max(pause for _, pause in run.points) / 20) for run in runs)
    height = len(runs) * (PANEL + GAP + TOP) + BOTTOM
    inner = WIDTH - LEFT - 16

    def x(at: float) -> float:
        return LEFT + inner * at / longest

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12" fill="#40566b">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for number, run in enumerate(runs):
        top = TOP + number * (PANEL + GAP + TOP)
        base = top + PANEL
        parts.append(f'<text x="{LEFT}" y="{top - 10}" font-weight="bold">{run.title}</text>')
        for step in range(5):
            y, value = base - PANEL * step / 4, most * step / 4
            parts.append(
                f'<path d="M{LEFT} {y:.1f}H{WIDTH - 16}" stroke="#dde5ec"/>'
                f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.0f} ms</text>'
            )
        if run.mark is not None:
            parts.append(
                f'<path d="M{x(run.mark):.1f} {top}V{base}" stroke="#c2410c" '
                'stroke-dasharray="4 3"/>'
                f'<text x="{x(run.mark) + 6:.1f}" y="{top + 12}" fill="#c2410c">'
                "the relay is told to leave</text>"
            )
        dots = "".join(
            f"M{x(at):.1f} {base - PANEL * pause / most:.1f}h0" for at, pause in run.points
        )
        parts.append(
            f'<path d="{dots}" stroke="#0f766e" stroke-width="3" stroke-linecap="round" '
            'opacity="0.6"/>'
        )
        parts += [
            f'<text x="{x(second):.1f}" y="{base + 16}" text-anchor="middle">{second} s</text>'
            for second in range(0, math.floor(longest) + 1, 2)
        ]
    parts.append("</svg>\n")
    file.write_text("\n".join(parts), "utf-8")
