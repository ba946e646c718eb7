"""Scenarios of WebRTC: viewers a core beside bare AES-GCM, and the way from WHIP to WHEP."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.perf import search, turns
from tests.perf.figures import Figure, Result, at_most, compare, middle, ratio
from tests.perf.plan import Plan, ms
from tests.perf.servers import FLOOR, Server, Setting, SrtpFloor, Whep
from tests.perf.trial import Load, Trial

OWN = "heliograph"
#: RTP packets a second at least, by bit rate: 29 frames of 2 and 7 packets, a keyframe of 8 and 26.
PACKETS = {600_000: 64, 2_000_000: 222}
#: Viewers at which the cost is taken.
SIZES = {600_000: 400, 2_000_000: 200}
#: Viewers at which it is taken in turns with the floor's: few, and about as many as a core carries.
CROWDS = {600_000: (400, 1200), 2_000_000: (200, 500)}
#: No more than the readers' core can count.
CAPS = {600_000: 4000, 2_000_000: 1600}
#: Shares of the viewers a core carries at which the delay is told.
SHARES = (0.1, 0.5, 0.9)
#: Offers a second: each costs both ends a handshake.
RAMP = 150
#: Seconds until estimates of the path and pacers have settled.
SETTLE_S = 3.0
#: Loopback addresses the viewers come from: as many people as make no crowd at one door.
SOURCES = 50


@dataclass(slots=True)
class _Measured:
    """What one bit rate gave, by server."""

    cost: dict[str, float | None] = field(default_factory=dict)
    memory: dict[str, float | None] = field(default_factory=dict)
    viewers: dict[str, float | None] = field(default_factory=dict)
    p50: dict[str, dict[str, float | None]] = field(default_factory=dict)
    p99: dict[str, dict[str, float | None]] = field(default_factory=dict)


def _load(plan: Plan, viewers: int, rate: int, seconds: float) -> Load:
    return Load(
        viewers,
        "udp",
        seconds,
        ("--bitrate", str(rate)),
        sources=SOURCES,
        ramp=RAMP,
        settle_s=1.0 if plan.quick else SETTLE_S,
        setup_s=30.0 + viewers / 30,
    )


def _viewers(plan: Plan, server: Server, rate: int, cost_us: float | None) -> int | None:
    """Viewers one core carries without loss."""
    if cost_us is None:
        return None
    if plan.quick:
        return int(1e6 / cost_us)

    def works(count: int) -> bool:
        for _ in range(2):  # one disturbance must not halve the answer
            done = plan.trials(server, Setting(), _load(plan, count, rate, 5.0), 1)
            if done and done[0].lossless(PACKETS[rate]):
                return True
        return False

    # Begin near the answer: what the cost promises, and more viewers cost less each. A step takes a
    # minute, most of it for handshakes.
    return search.largest(works, max(50, int(1e6 / cost_us)), CAPS[rate], 0.12)


def _delays(plan: Plan, server: Server, rate: int, viewers: int, measured: _Measured) -> None:
    shares = SHARES[:1] if plan.quick else SHARES
    for share in shares:
        count = max(1, int(viewers * share))
        done = plan.trials(server, Setting(), _load(plan, count, rate, plan.window_s))
        what = f"{share:.0%} of them"
        for name, into in (("p50", measured.p50), ("p99", measured.p99)):
            middle_us = middle(one.delay_us[name] for one in done)
            into.setdefault(what, {})[server.name] = ms(middle_us)


def _memory(done: list[Trial], viewers: int) -> float | None:
    return middle((one.memory_kib - one.memory_before_kib) / viewers for one in done)


def _flat(values: dict[str, dict[str, float | None]]) -> float | None:
    """How much longer the delay is with most viewers than with few."""
    of = [by_server.get(OWN) for by_server in values.values()]
    return ratio(of[-1], of[0]) if len(of) > 1 else None


def whep(plan: Plan) -> Result:
    """Viewers by WebRTC on one core, beside sealing and sending alone."""
    figures: list[Figure] = []
    wanted = {server.name for server in plan.servers}
    servers: list[Server] = [SrtpFloor()] if FLOOR in wanted else []
    if OWN in wanted:
        servers.insert(0, Whep())
    for rate, size in SIZES.items():
        told = f"{rate / 1e6:g} Mbit/s"
        size = size // 4 if plan.quick else size
        measured = _Measured()
        for server in servers:
            done = plan.trials(server, Setting(), _load(plan, size, rate, plan.window_s))
            cost = middle(one.cost_us for one in done)
            measured.cost[server.name] = cost
            if server.name == OWN:
                measured.memory[server.name] = _memory(done, size)
            viewers = _viewers(plan, server, rate, cost)
            measured.viewers[server.name] = viewers
            if viewers:
                _delays(plan, server, rate, viewers, measured)
        if OWN in wanted and not plan.quick:
            silent = Whep(feedback=False)
            done = plan.trials(silent, Setting(), _load(plan, size, rate, plan.window_s), 1)
            measured.cost[silent.name] = middle(one.cost_us for one in done)
        figures += _figures(plan, told, size, measured)
    return Result(
        "whep",
        "WHEP viewers of one H.264-shaped stream on one core, beside AES-GCM and batched sends",
        tuple(figures),
        (
            "Viewers do ICE and DTLS, send transport-wide feedback ten times a second and count "
            "packets without decrypting them; the floor (`helio-load floor-srtp`) seals the same "
            "packets with AES-256-GCM, as the sessions agree on, and sends them with `sendmmsg` "
            "and `UDP_SEGMENT`.",
            "Send times are told by the length of a frame's last packet and a table that the "
            "publisher writes. Without loss: no packet missing at any viewer, delay p95 below "
            "200 ms.",
        ),
    )


def whep_share(plan: Plan) -> Result:
    """What a packet costs a viewer by WebRTC, beside sealing and sending alone at the same time."""
    figures: list[Figure] = []
    spread: list[str] = []
    wanted = {server.name for server in plan.servers}
    if {OWN, FLOOR} <= wanted:
        for rate, sizes in CROWDS.items():
            for size in sizes[:1] if plan.quick else sizes:
                load = _load(plan, size, rate, plan.window_s)
                pair = (Whep(), SrtpFloor())
                done = turns.trials(plan.place, pair, load, plan.runs, plan.say)
                figures += _in_turns(f"CPU a packet, {rate / 1e6:g} Mbit/s, {size} viewers", done)
                spread += _spread(f"{rate / 1e6:g} Mbit/s, {size} viewers", done)
    return Result(
        "whep-share",
        "What a packet to a WHEP viewer costs, beside AES-GCM and batched sends",
        tuple(figures),
        (
            "Both servers run at once on one core and are fed in turns of 250 ms, each with as "
            "many viewers: the ratio holds on a busy machine too. Each is idle half of the time, "
            "so that what is done by the second, such as feedback, weighs more than it does on "
            "air. The floor seals the same packets with AES-256-GCM, as the sessions agree on, "
            "and sends them with `sendmmsg` and `UDP_SEGMENT`; it takes no feedback.",
            *spread,
        ),
    )


def _spread(what: str, done: list[tuple[turns.Cost, turns.Cost]]) -> list[str]:
    """What single runs gave, as shares of the floor, and what was lost."""
    if not done:
        return [f"{what}: no run ended in time."]
    shares = sorted(floor.packet_us / ours.packet_us for ours, floor in done)
    said = ", ".join(f"{share:.2f}" for share in shares)
    lost = sum(ours.lost for ours, _ in done)
    return [f"{what}: the floor's cost as a share of ours, run by run: {said}; {lost} lost."]


def _in_turns(what: str, done: list[tuple[turns.Cost, turns.Cost]]) -> list[Figure]:
    """What a packet costs, beside the floor: half of what the floor carries at least."""
    if not done:
        return []
    ours, floor = (middle(costs[which].packet_us for costs in done) for which in (0, 1))
    times = middle(costs[0].packet_us / costs[1].packet_us for costs in done)
    return [
        Figure(what, OWN, ours, "µs", FLOOR, times, at_most(2)),
        Figure(what, FLOOR, floor, "µs"),
    ]


def _figures(plan: Plan, told: str, size: int, measured: _Measured) -> list[Figure]:
    cost = f"CPU a viewer-second, {told}, {size} viewers"
    viewers = f"viewers on one core, {told}, {'by their cost' if plan.quick else 'without loss'}"
    figures = [
        *compare(cost, "µs", measured.cost, {}),
        *compare(viewers, "viewers", measured.viewers, {}),
        *compare(f"memory a viewer, {told}", "KiB", measured.memory, {}),
    ]
    for name, values in (("p50", measured.p50), ("p99", measured.p99)):
        for share, by_server in values.items():
            figures += compare(f"delay added, {told}, {share}, {name}", "ms", by_server, {})
    flat = _flat(measured.p99)
    if flat is not None:
        what = f"p99 of the delay with most viewers over that with few, {told}"
        figures.append(Figure(what, OWN, flat, "times"))
    return figures


def whip_delay(plan: Plan) -> Result:
    """Delay added from a publisher by WebRTC to viewers by WebRTC."""
    figures: list[Figure] = []
    if OWN in {server.name for server in plan.servers}:
        for count in (10,) if plan.quick else (1, 10, 100):
            server = Whep(by_whip=True)
            done = plan.trials(server, Setting(), _load(plan, count, 2_000_000, plan.window_s))
            for name, bound in (("p50", at_most(5)), ("p99", at_most(20))):
                value = ms(middle(one.delay_us[name] for one in done))
                what = f"delay added, {count} viewer{'s' * (count > 1)}, {name}"
                figures.append(Figure(what, OWN, value, "ms", target=bound))
    return Result(
        "whip-delay",
        "Delay of complete frames of 2 Mbit/s from WHIP to WHEP, loopback included",
        tuple(figures),
        ("From the publisher's frame until the kernel has its last packet for the viewer.",),
    )
