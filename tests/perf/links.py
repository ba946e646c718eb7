"""How many streams fit on the links of nodes that send a title's blocks themselves: a simulation.

``python -m tests.perf.links`` takes some minutes and needs no network: blocks lie where placement
puts them, each node sends what is due first at the rate of its link, some seconds ahead at most,
and nothing may be later than the queue of the link is long. Rates are constant and nodes are never
busy, so it tells what placement and going ahead are worth, and nothing else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heliograph.storage.placement import Table, place, policy_named, whole
from heliograph.storage.placement.policies import DEFAULT
from heliograph.storage.values import DiskId

#: Mbit/s of a link, and of a stream with its headers; seconds of a block: as in the probe.
LINK, RATE, BLOCK = 16.0, 0.571, 1.92
#: Seconds of a step, how late something may be, how fast streams get ahead.
STEP, QUEUE, PACE = 0.05, 0.1, 0.5
#: Titles, and blocks of each.
TITLES, BLOCKS = 30, 200
#: Seconds in which streams begin, that are not looked at, and in all.
BEGINS, SINCE, END = 20.0, 30.0, 120.0


def homes(seed: int, nodes: int, group: int) -> NDArray[np.int64]:
    """The node of each block of a title, dealt in groups of so many blocks."""
    table = Table().add([whole(n + 1, DiskId(f"{n:016x}")) for n in range(nodes)])
    names = {disk: disk for disk in table.physical}
    groups = np.arange(-(-BLOCKS // group))
    return place(policy_named(DEFAULT), seed, groups, group, table, names).ravel()[:BLOCKS]


def late(streams: int, nodes: int, group: int, ahead: float, seed: int) -> bool:
    """Whether anything comes too late."""
    draw = np.random.default_rng(seed)
    titles = np.array([homes(seed * 1000 + n, nodes, group) for n in range(TITLES)])
    lie = titles[draw.integers(0, TITLES, streams)]
    begin = np.ceil(draw.uniform(0, BEGINS, streams) / STEP).astype(int)
    media = draw.uniform(0, 200, streams)
    most = int(ahead / STEP)
    due = np.zeros((nodes, int((END + ahead) / STEP) + 2))
    sent, first = begin - 1, np.zeros(nodes, int)
    for now in range(int(END / STEP)):
        allowed = np.minimum(most, ((now - begin) * PACE).astype(int))
        goal = np.where(begin <= now, now + allowed, sent)
        while (open_ := sent < goal).any():
            sent[open_] += 1
            which = np.nonzero(open_)[0]
            block = ((media[which] + (sent[which] - begin[which]) * STEP) / BLOCK).astype(int)
            node = lie[which, block % BLOCKS]
            np.add.at(due, (node, sent[which]), RATE * STEP)
            np.minimum.at(first, node, sent[which])
        for node in range(nodes):
            if _send(due[node], first, node, now, most):
                return True
    return False


def _send(
    due: NDArray[np.float64], first: NDArray[np.int64], node: int, now: int, most: int
) -> bool:
    """Fill a link for a step; whether something went too late."""
    left, at = LINK * STEP, first[node]
    while left > 1e-9 and at <= now + most:
        part = min(left, due[at])
        if part > 1e-9 and (now - at) * STEP > QUEUE and now * STEP >= SINCE:
            return True
        due[at] -= part
        left -= part
        if due[at] <= 1e-9:
            at += 1
    first[node] = at
    return False


def most(nodes: int, group: int, ahead: float, seed: int) -> int:
    """The most streams with nothing late."""
    good, bad = 0, int(nodes * LINK / RATE) + 1
    while bad - good > 1:
        count = (good + bad) // 2
        good, bad = (good, count) if late(count, nodes, group, ahead, seed) else (count, bad)
    return good


def main() -> None:
    """Print the table of docs/performance.md."""
    print("| nodes | blocks dealt | ahead | streams, of three tries | share of all links |")
    print("|---|---|---|---|---|")
    for nodes in (2, 4):
        for group in (1, nodes):
            for ahead in (0, 1, 2, 4):
                found = [most(nodes, group, ahead, seed) for seed in (1, 2, 3)]
                share = sum(found) / len(found) / (nodes * LINK / RATE)
                dealt = "by lot" if group == 1 else f"by {group}"
                text = ", ".join(map(str, found))
                print(f"| {nodes} | {dealt} | {ahead} s | {text} | {share:.2f} |", flush=True)


if __name__ == "__main__":
    main()
