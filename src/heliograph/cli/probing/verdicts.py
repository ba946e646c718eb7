"""Whether a figure is good: thresholds with their reasons."""

from __future__ import annotations

from enum import StrEnum

from heliograph.cli.probing.meter import TrackReport


class Verdict(StrEnum):
    """How a figure is; the value is the colour it is shown in."""

    GOOD = "green"
    FAIR = "yellow"
    BAD = "red"
    NONE = "default"


#: Figure → (good up to, fair up to).
LIMITS: dict[str, tuple[float, float]] = {
    # Any loss is seen in video without repair; above 1 % it cannot be watched.
    "loss": (0.0, 0.01),
    # Players buffer 200 ms and more; half a frame is no matter.
    "jitter_ms": (20.0, 60.0),
    # A viewer waits for a keyframe: people accept two seconds.
    "keyframe_interval_max": (2.1, 5.0),
    "first_packet_ms": (500.0, 2000.0),
    # ITU-R BT.1359: seen from 45 to 125 ms on, according to direction.
    "av_offset_ms": (45.0, 125.0),
    # Talking to each other works up to 400 ms (ITU-T G.114).
    "delay_ms": (200.0, 400.0),
    "late": (0, float("inf")),
    "repeated": (0, float("inf")),
    "malformed": (0, 0),
}


def judge(name: str, value: float | None) -> Verdict:
    """The verdict on a figure; none where there is no figure or no limit."""
    if value is None or name not in LIMITS:
        return Verdict.NONE
    good, fair = LIMITS[name]
    size = abs(value)
    return Verdict.GOOD if size <= good else Verdict.FAIR if size <= fair else Verdict.BAD


def judge_track(track: TrackReport) -> Verdict:
    """The worst of a track's figures that tell of a fault; bad if nothing came."""
    if not track.packets:
        return Verdict.BAD
    order = [Verdict.NONE, Verdict.GOOD, Verdict.FAIR, Verdict.BAD]
    names = ("loss", "jitter_ms", "keyframe_interval_max", "late", "repeated", "malformed")
    return max((judge(name, getattr(track, name)) for name in names), key=order.index)
