"""Whether one more stream of a title can be promised: pure sums over budgets.

A stream that is promised is kept, whatever comes after it. What it takes of the *disks* is the
rate at which its blocks have to be read so that none is late when reading may be ahead by the
read-ahead: a peak shorter than that costs nothing. It is spread over the disks as its blocks are.
The *network* carries packets when they are due, so there peaks meet by chance: what many streams
need together is told by their means and variances (a stream between 0 and its peak with mean m
varies by m (peak - m) at most), and the sum of the peaks always suffices. Where several nodes send
a stream in turns, and may send ahead of time, ``ahead`` tells. *CPU* is counted in packets.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from heliograph.model.errors import BusyError
from heliograph.storage.values import DiskId
from heliograph.vod.ahead import COUNTED, MARGIN, Turns, needed
from heliograph.vod.manifest import BlockEntry, Manifest

#: Subject of the refusals: RTSP answers 453 for it.
BANDWIDTH = "bandwidth"
#: Seconds after which somebody who was refused may ask again: streams end all the time.
RETRY_AFTER = 10
#: Standard deviations above the mean that the network is to carry: about 1 in 10 000 seconds has
#: more, which the sender's slack and the player's buffer absorb.
DEVIATIONS = 3.7
#: RTP, UDP, IP and Ethernet headers of one packet, bytes.
PACKET_OVERHEAD = 12 + 8 + 20 + 18
#: RTP header extension of a packet that one of several nodes sends, bytes (docs/wire/bipartite.md).
NODE_EXTENSION = 16
#: Steps in which a rate is searched: to 1 ‰ of the span between mean and peak.
_STEPS = 10


@dataclass(frozen=True, slots=True)
class Budgets:
    """What a node may promise. None: no bound."""

    disks: Mapping[DiskId, float] = field(default_factory=dict)
    """Bytes a second of each disk that this node may promise to viewers: of what it gives without
    its reserve for repairs, the part that the other nodes do not promise."""
    network_bps: float | None = None
    """Bits a second that the node may send to viewers."""
    ahead_bps: int = 0
    """Bits a second up to which it sends what is not due yet, where several nodes send a title."""
    packets: float | None = None
    """Packets a second that the node's cores may send."""
    streams: int | None = None
    """Streams at once."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one stream takes."""

    read: float
    """Bytes a second from all disks together, smoothed by the read-ahead."""
    mean_bps: float
    """Bits a second on the network, headers included."""
    peak_bps: float
    """Most bits in any second; never below the mean."""
    packets: float
    """Packets a second."""
    shares: Mapping[DiskId, float] = field(default_factory=dict)
    """Part of its bytes on each disk; together 1, and more where disks are not there."""
    slow: float | None = None
    """What of its variance on the network does not even out by going ahead, bits² a second²; None:
    all."""
    drift: float = 0.0
    jump: float = 0.0
    """How far it strays from its mean: see ``vod.ahead``."""
    ahead: float = 0.0
    """Seconds before they are due that its packets may go."""

    @property
    def variance(self) -> float:
        """Of the bits a second on the network, when due; at most."""
        return self.mean_bps * max(self.peak_bps - self.mean_bps, 0.0)

    def times(self, rate: float) -> Demand:
        """The same stream sent ``rate`` times as fast."""
        sent = Demand(
            self.read * rate,
            self.mean_bps * rate,
            self.peak_bps * rate,
            self.packets * rate,
            self.shares,
        )
        ahead = self.ahead / rate  # players take as much media, which lasts less long
        if ahead < COUNTED + MARGIN or self.slow is None:
            return sent
        slow, drift, jump = (one * rate**2 for one in (self.slow, self.drift, self.jump))
        return replace(sent, slow=slow, drift=drift, jump=jump, ahead=ahead)

    def part(self, turns: Turns, slow: float) -> Demand:
        """What a node of several takes that sends a part of it: by turns it sends as much as one
        that sends all, and nothing. ``slow``: of the title, as of ``slow_share``.

        Of what all disks give each node has an equal part to promise, so each promises an equal
        part of the reading, wherever the disks are.
        """
        shares = {disk: share / turns.nodes for disk, share in self.shares.items()}
        whole = self.mean_bps + 8 * self.packets * NODE_EXTENSION
        peak = self.peak_bps * (whole / self.mean_bps if self.mean_bps else 1.0)
        mean, packets = whole * turns.part, self.packets * turns.part
        one = Demand(self.read, mean, max(peak, mean), packets, shares)
        if turns.ahead < COUNTED + MARGIN:
            return one
        drift, jump = turns.strays(whole)
        slow *= whole**2 * turns.part
        return replace(one, slow=slow, drift=drift, jump=jump, ahead=turns.ahead)


@dataclass(slots=True)
class Promised:
    """The sums of what was promised; one a node. Not for several threads."""

    streams: int = 0
    disks: dict[DiskId, float] = field(default_factory=dict)
    """Bytes a second of each disk."""
    mean_bps: float = 0.0
    peak_bps: float = 0.0
    variance: float = 0.0
    """Of the bits a second on the network, when they are due."""
    slow: float = 0.0
    drift: float = 0.0
    jump: float = 0.0
    """As of demands."""
    packets: float = 0.0

    def due_bps(self) -> float:
        """Bits a second that the network has to carry in all but 1 of 10 000 seconds, where packets
        go when they are due."""
        due = self.mean_bps + DEVIATIONS * math.sqrt(self.variance)
        return min(due, self.peak_bps)

    def ahead_bps(self) -> float:
        """The same where those that may go before they are due."""
        steady = self.mean_bps + DEVIATIONS * math.sqrt(self.slow)
        return needed(steady, self.drift, self.jump, DEVIATIONS)

    def with_one(self, demand: Demand) -> Promised:
        """The sums with one stream more; disks are left out."""
        sums = replace(self, disks={})
        sums.add(replace(demand, shares={}))
        return sums

    def add(self, demand: Demand, sign: int = 1) -> None:
        """Count a stream; ``sign`` -1: count it no more."""
        self.streams += sign
        for disk, share in demand.shares.items():
            left = self.disks.get(disk, 0.0) + sign * share * demand.read
            if sign < 0 and self.streams == 0:
                left = 0.0  # sums of floats that came and went are not quite zero
            self.disks[disk] = max(left, 0.0)
        mean, peak = demand.mean_bps, demand.peak_bps
        self.mean_bps = max(self.mean_bps + sign * mean, 0.0)
        self.peak_bps = max(self.peak_bps + sign * peak, 0.0)
        self.variance = max(self.variance + sign * demand.variance, 0.0)
        slow = demand.variance if demand.slow is None else demand.slow
        self.slow = max(self.slow + sign * slow, 0.0)
        self.drift = max(self.drift + sign * demand.drift, 0.0)
        self.jump = max(self.jump + sign * demand.jump, 0.0)
        self.packets = max(self.packets + sign * demand.packets, 0.0)


def check(budgets: Budgets, promised: Promised, demand: Demand) -> None:
    """Return if one more stream can be promised.

    ``BusyError`` with subject ``BANDWIDTH`` tells which budget is spent otherwise.
    """
    if budgets.streams is not None and promised.streams >= budgets.streams:
        raise _spent(f"{budgets.streams} streams are played, as many as are allowed")
    for disk, share in demand.shares.items():
        room = budgets.disks.get(disk)
        taken = promised.disks.get(disk, 0.0)
        wanted = share * demand.read
        if room is not None and wanted > 0 and taken + wanted > room:
            raise _spent(
                f"disk {disk} gives no more: {_mega(room)} MB/s,"
                f" {_mega(taken)} promised, {_mega(wanted)} asked for"
            )
    if budgets.network_bps is not None:
        sums = promised.with_one(demand)
        due = sums.due_bps()
        if due > budgets.network_bps and sums.ahead_bps() > budgets.ahead_bps:
            raise _spent(
                f"the network carries no more: {_mega(budgets.network_bps)} Mbit/s,"
                f" {_mega(promised.due_bps())} promised, {_mega(due)} with this stream"
                f" ({_mega(sums.ahead_bps())} of {_mega(budgets.ahead_bps)} ahead of time)"
            )
    if budgets.packets is not None and promised.packets + demand.packets > budgets.packets:
        raise _spent(
            f"the processor sends no more: {budgets.packets:.0f} packets/s,"
            f" {promised.packets:.0f} promised, {demand.packets:.0f} asked for"
        )


def _spent(reason: str) -> BusyError:
    return BusyError(reason, subject=BANDWIDTH, retry_after=RETRY_AFTER)


def _mega(value: float) -> str:
    return f"{value / 1e6:.1f}"


def smoothed_rate(blocks: Sequence[BlockEntry], ahead_us: int) -> float:
    """The least bytes a second at which blocks can be read one after another so that each is there
    when its first packet is due, for a viewer who begins anywhere, with reads ``ahead_us`` ahead
    of what is sent.

    Exact to 1 ‰ of the span between the mean and the peak, never too low.
    """
    ahead = max(ahead_us, 1) / 1e6
    total = sum(block.bytes for block in blocks)
    if not total:
        return 0.0
    seconds = max((blocks[-1].end_us - blocks[0].due_us) / 1e6, ahead)
    low = total / (seconds + ahead)
    high = max(block.bytes for block in blocks) / ahead
    high = max(high, low, max(_own(block) for block in blocks))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if _suffices(blocks, ahead, middle) else (middle, high)
    return high


def _own(block: BlockEntry) -> float:
    """Bytes a second of one block."""
    return block.bytes / max((block.end_us - block.due_us) / 1e6, 1e-3)


def _suffices(blocks: Sequence[BlockEntry], ahead: float, rate: float) -> bool:
    """Whether no run of blocks i…j needs more than ``rate`` from ``ahead`` s before i is due until
    j is due: the greatest backlog stays below what the read-ahead takes in."""
    allowed = rate * ahead
    backlog = 0.0  # bytes above rate x time since the run that needs most began
    due = blocks[0].due_us
    for block in blocks:
        backlog = max(backlog - rate * (block.due_us - due) / 1e6, 0.0) + block.bytes
        if backlog > allowed:
            return False
        due = block.due_us
    return True


def demand_of(
    manifest: Manifest,
    tracks: Sequence[int],
    ahead_us: int,
    shares: Mapping[DiskId, float],
    *,
    read: float | None = None,
) -> Demand:
    """What one stream of a title takes that is played as it was made.

    ``tracks``: those that are sent; all are read. ``shares``: where its blocks are. ``read``: its
    smoothed rate, where that is known already.
    """
    seconds = max(manifest.duration_us / 1e6, 1e-3)
    sent = [one for one in manifest.tracks if one.track.id in tracks]
    packets = sum(one.packets for one in sent)
    bytes_sent = sum(one.bytes for one in sent)
    everything = sum(one.bytes for one in manifest.tracks)
    mean = 8 * (bytes_sent + packets * PACKET_OVERHEAD) / seconds
    part = bytes_sent / everything if everything else 1.0
    return Demand(
        smoothed_rate(manifest.blocks, ahead_us) if read is None else read,
        mean,
        max(manifest.peak_bps * part, mean),
        packets / seconds,
        shares,
    )


def even(disks: Sequence[DiskId]) -> dict[DiskId, float]:
    """Shares of a title that lies evenly on disks, as placement makes it."""
    return {disk: 1 / len(disks) for disk in disks}


def without(
    shares: Mapping[DiskId, float], lost: Collection[DiskId], data: int
) -> dict[DiskId, float]:
    """What is read of each disk for each byte of a title while ``lost`` disks are not there.

    Of a block that was lost ``data`` others are read, the data members of its group, which are
    spread over the other disks as all blocks are: the sum is above 1.
    """
    gone = sum(shares.get(disk, 0.0) for disk in lost)
    there = {disk: share for disk, share in shares.items() if disk not in lost}
    left = sum(there.values())
    if not left:
        return {}
    # A group's own members would have been read anyway: only what is not (the redundant member and
    # those that are read twice) is more; without a cache each is read for itself.
    return {disk: share * (1 + gone * data / left) for disk, share in there.items()}
