"""What blocks cost: read from a disk with their digest, and their redundant members."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.perf.copying import cat, forget, sendfile, timed
from tests.perf.figures import Figure, Result, Target, at_least, compare, middle

from heliograph.storage import parity
from heliograph.storage.disks.disk import Block, Disk
from heliograph.storage.values import DEFAULT_BLOCK, BlockKey, Code, Scheme, new_object

if TYPE_CHECKING:
    from tests.perf.plan import Plan

OWN, FLOOR, RIVAL = "heliograph", "cat", "sendfile"
#: Bytes a second of one stream of the paper's rate, 5.3 Mbit/s.
STREAM = 5.3e6 / 8
DATA = 8
#: Blocks read that are kept at a time.
HELD = 32


def storage(plan: Plan) -> Result:
    """Blocks read from a disk beside the same files by other means; parity beside memcpy."""
    figures = [*_reading(plan, 64 if plan.quick else 256), *_parity(plan)]
    return Result(
        "storage",
        f"Blocks of {DEFAULT_BLOCK >> 20} MiB from a disk with their digest; parity of {DATA}",
        tuple(figures),
        (
            "A second of CPU, all threads of the process; sendfile goes to a socket pair that "
            "another thread drains. From the medium: the kernel was told to forget the files.",
            "Bytes of parity are those of the data members.",
        ),
    )


def _reading(plan: Plan, count: int) -> list[Figure]:
    figures: list[Figure] = []
    with (
        tempfile.TemporaryDirectory(dir=plan.place.work) as directory,
        Disk.create(directory, "bench") as disk,
    ):
        object, payload = new_object(), os.urandom(DEFAULT_BLOCK)
        keys = [BlockKey(object, number, 0) for number in range(count)]
        for key in keys:
            disk.put(key, payload)
        # As long as they are queued to be sent: their memory is used again.
        held: deque[Block] = deque(maxlen=HELD)
        paths = sorted((Path(directory) / "blocks").rglob("*-00"))
        ways: dict[str, Callable[[], None]] = {
            OWN: lambda: held.extend(disk.get(key) for key in keys),
            FLOOR: lambda: cat(paths),
            RIVAL: lambda: sendfile(paths),
        }
        ways[OWN]()
        for where, cold in (("from memory", False), ("from the medium", True)):
            rates: dict[str, list[float]] = {name: [] for name in ways}
            costs: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(plan.runs + 2):
                for name, way in ways.items():
                    if cold:
                        forget(paths)
                    wall, cpu = timed(way)
                    rates[name].append(count * DEFAULT_BLOCK / wall)
                    costs[name].append(count * DEFAULT_BLOCK / cpu)
            per_core = {name: _scaled(values, 1e-6) for name, values in costs.items()}
            per_second = {name: _scaled(values, 1e-6) for name, values in rates.items()}
            bounds: dict[str, Target] = {} if cold else {FLOOR: at_least(0.3)}
            figures += compare(f"read {where}, a second of CPU", "MB", per_core, bounds)
            figures += compare(f"read {where}, a second", "MB", per_second, {})
            streams = middle(costs[OWN])
            figures.append(
                Figure(
                    f"streams of 5.3 Mbit/s a core, reading {where} alone",
                    OWN,
                    None if streams is None else streams / STREAM,
                    "streams",
                    target=at_least(600),
                )
            )
    return figures


def _parity(plan: Plan) -> list[Figure]:
    payloads = [os.urandom(DEFAULT_BLOCK) for _ in range(DATA)]
    size = DATA * DEFAULT_BLOCK
    copy = bytearray(size)
    schemes = [Scheme(DATA, 1, Code.XOR), Scheme(DATA, 2, Code.REED_SOLOMON)]
    figures: list[Figure] = []
    for scheme, bound in zip(schemes, (at_least(0.3), None), strict=True):
        members = dict(enumerate([*payloads, *parity.encode(scheme, payloads)]))
        left = {number: one for number, one in members.items() if number >= scheme.parity}
        lost, lengths = range(scheme.parity), [DEFAULT_BLOCK] * DATA
        # In turns, so that what else the machine does meets both.
        works: dict[str, Callable[[], object]] = {
            "made": lambda scheme=scheme: parity.encode(scheme, payloads),  # type: ignore[misc]
            "made good": lambda scheme=scheme, left=left, lost=lost, lengths=lengths: (  # type: ignore[misc]
                parity.decode(scheme, left, lengths, lost)
            ),
        }
        for what, work in works.items():
            ours: list[float] = []
            copies: list[float] = []
            for _ in range(15):
                copies.append(size / timed(lambda: _copy(payloads, copy))[0])
                ours.append(size / timed(work)[0])
            values = {OWN: _scaled(ours, 1e-9), "memcpy": _scaled(copies, 1e-9)}
            name = f"{scheme.code} {DATA}+{scheme.parity}, {what}"
            figures += compare(name, "GB/s", values, {"memcpy": bound} if bound else {})
    return figures


def _scaled(values: list[float], unit: float) -> float | None:
    found = middle(values)
    return None if found is None else found * unit


def _copy(payloads: list[bytes], into: bytearray) -> None:
    view, at = memoryview(into), 0
    for payload in payloads:
        view[at : at + len(payload)] = payload
        at += len(payload)
