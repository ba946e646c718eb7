"""The scenarios: what is run, what is compared, which bound applies."""

from __future__ import annotations

from collections.abc import Callable

from tests.perf import proc, search
from tests.perf.browser import first_frame
from tests.perf.catalogue import catalogue
from tests.perf.dead_dispatcher import dead_dispatcher
from tests.perf.dead_servers import dead_servers
from tests.perf.even_load import even_load
from tests.perf.figures import Figure, Result, at_least, at_most, compare, middle
from tests.perf.manager import manager
from tests.perf.pacing import pacing
from tests.perf.paths import rate_cut, udp_blocked
from tests.perf.plan import Plan, ms
from tests.perf.policies import policies
from tests.perf.redirect import redirect
from tests.perf.servers import FLOOR, Floor, GStreamer, Server, Setting
from tests.perf.storage import storage
from tests.perf.storage_remote import storage_remote
from tests.perf.titles import titles
from tests.perf.trial import Load, Trial
from tests.perf.webrtc import whep, whep_share, whip_delay

#: RTP packets a second of the 2 Mbit/s stream: one keyframe of 26 packets with its parameter
#: sets, 29 frames of 7.
VIDEO_PACKETS = 231
#: Datagrams a frame in the packet rate scenario, all for one destination.
BURST = 8
TCP_INTERVAL_MS = 400
#: So long until a slow reader is slow for the server too: on loopback the kernel's send queue takes
#: 3 MB of a connection, at 250 KB/s, unless the server bounds it.
SLOW_SETTLE_S = 15.0


def relay_udp_pps(plan: Plan) -> Result:
    """Packets a second of the relay to 1 000 destinations."""
    full = "packets a second and core, offered more than it can send"
    partly = "packets a second and core, half of that offered"
    modes = [Floor("segment"), Floor("sendmmsg"), Floor("sendto")]
    servers = plan.with_server(FLOOR, modes[:1] if plan.quick else modes)
    rates: dict[str, float | None] = {}
    shares: dict[str, float | None] = {}
    for server in servers:
        if server.name == "gstreamer":
            continue
        for frames, into in ((200, rates), (50, shares)):
            publish = ("--packets-per-frame", str(BURST), "--fps", str(frames))
            load = Load(1000, "udp", plan.window_s, publish)
            done = plan.trials(server, Setting(), load)
            into[server.name] = middle(one.datagrams / one.cpu for one in done if one.cpu)
    bound = {FLOOR: at_least(0.8)}
    return Result(
        "relay-udp-pps",
        f"Relay of frames of {BURST} packets of 1 200 bytes to 1 000 UDP readers",
        (*compare(full, "packets/s", rates, bound), *compare(partly, "packets/s", shares, bound)),
        (
            "Packets are counted by the kernel (delivered, or dropped at a reader's full buffer): "
            "the readers' own speed does not show.",
        ),
    )


def _viewers(plan: Plan, server: Server, transport: str, cost_us: float | None) -> int | None:
    """Viewers one core carries without loss."""
    if cost_us is None:
        return None
    if plan.quick:
        return int(1e6 / cost_us)
    cap = 4800 if transport == "udp" else 8000

    def works(count: int) -> bool:
        load = Load(count, transport, 5.0, ramp=800)
        for _ in range(2):  # one disturbance must not halve the answer
            done = plan.trials(server, Setting(), load, 1)
            if done and done[0].lossless(VIDEO_PACKETS):
                return True
        return False

    # Begin near the answer: half of what the cost at 800 viewers promises.
    return search.largest(works, max(100, int(0.5e6 / cost_us)), cap)


def _rtsp(plan: Plan, transport: str) -> Result:
    sizes = (400,) if plan.quick else (400, 800)
    costs: dict[int, dict[str, float | None]] = {size: {} for size in sizes}
    delays: dict[str, dict[str, float | None]] = {"p50": {}, "p95": {}, "p99": {}}
    viewers: dict[str, float | None] = {}
    for server in plan.with_server("gstreamer", [GStreamer(), GStreamer("packets")]):
        cost = None
        for size in sizes:
            done = plan.trials(server, Setting(), Load(size, transport, plan.window_s))
            cost = middle(one.cost_us for one in done)
            costs[size][server.name] = cost
            for name, into in delays.items():
                into[server.name] = ms(middle(one.delay_us[name] for one in done))
        viewers[server.name] = _viewers(plan, server, transport, cost)
    figures: list[Figure] = []
    for size in sizes:
        what = f"CPU a viewer-second at {size} viewers"
        figures += compare(what, "µs", costs[size], {"gstreamer": at_most(0.5)})
    told = "by its cost" if plan.quick else "without loss"
    what = f"viewers on one core, {told}"
    figures += compare(what, "viewers", viewers, {FLOOR: at_least(0.8)})
    for name, values in delays.items():
        bound = {FLOOR: at_most(1.5)} if name == "p95" else {}
        figures += compare(f"delay added at {sizes[-1]} viewers, {name}", "ms", values, bound)
    return Result(
        f"rtsp-{transport}",
        f"RTSP over {transport.upper()}, one H.264-shaped stream of 2 Mbit/s",
        tuple(figures),
        ("Without loss: no packet missing at any reader end to end, delay p95 below 200 ms.",),
    )


def rtsp_udp(plan: Plan) -> Result:
    """RTSP over UDP at 2 Mbit/s."""
    return _rtsp(plan, "udp")


def rtsp_tcp(plan: Plan) -> Result:
    """RTSP over TCP at 2 Mbit/s."""
    return _rtsp(plan, "tcp")


def tcp_10k(plan: Plan) -> Result:
    """10 000 TCP connections with audio."""
    count = 2000 if plan.quick else 10_000
    setting = Setting("audio", TCP_INTERVAL_MS)
    load = Load(count, "tcp", max(4.0, plan.window_s), sources=20, setup_s=120.0)
    cpu: dict[str, float | None] = {}
    reads: dict[str, float | None] = {}
    lost: dict[str, float | None] = {}
    for server in plan.servers:
        if server.name == "gstreamer":  # has no such setting: would write each packet
            continue
        done = plan.trials(server, setting, load)
        whole = [one for one in done if one.playing == count]
        cpu[server.name] = middle(one.cpu for one in whole)
        reads[server.name] = middle(one.reads_per_reader for one in whole)
        lost[server.name] = middle(float(one.lost) for one in whole)
    core = at_most(0.3 * count / 10_000)
    figures = [*compare("server CPU", "cores", cpu, {})]
    own = "heliograph"
    if own in cpu:
        figures += [
            Figure("server CPU", own, cpu[own], "cores", target=core),
            Figure("reads a second and connection", own, reads[own], "1/s", target=at_most(3)),
            Figure("packets lost, all readers", own, lost[own], "packets", target=at_most(0)),
        ]
    if FLOOR in reads:
        figures.append(Figure("reads a second and connection", FLOOR, reads[FLOOR], "1/s"))
    return Result(
        "tcp-10k",
        f"{count} RTSP/TCP connections at 26 kbit/s of audio, 50 packets/s, "
        f"joined for {TCP_INTERVAL_MS} ms",
        tuple(figures),
        ("A write arrives as one read as long as the reader keeps up.",),
    )


def slow_reader(plan: Plan) -> Result:
    """One slow reader of 200 over TCP."""
    settle = 2.0 if plan.quick else SLOW_SETTLE_S
    figures: list[Figure] = []
    for server in plan.essential:
        p99: list[float | None] = []
        missing = trickle = None
        for slow in (0, 1):
            load = Load(200, "tcp", plan.window_s, slow=slow, settle_s=settle)
            done = plan.trials(server, Setting(), load)
            p99.append(ms(middle(one.delay_us["p99"] for one in done)))
            missing = middle(float(one.lost) for one in done)
            trickle = middle(one.slow_bytes / one.seconds / 1000 for one in done)
        without, beside = p99
        own = server.name == "heliograph"
        quotient = beside / without if beside is not None and without else None
        what = "p99 of the delay of the others"
        bound = at_most(1.2) if own else None
        figures += [
            Figure(what, server.name, without, "ms"),
            Figure(f"{what}, one is slow", server.name, beside, "ms", "without", quotient, bound),
            Figure(
                "packets the others lost, one is slow",
                server.name,
                missing,
                "packets",
                target=at_most(0) if own else None,
            ),
            Figure("what the slow one took", server.name, trickle, "KB/s"),
        ]
    return Result(
        "slow-reader",
        "200 RTSP/TCP readers of 2 Mbit/s, one of which reads 10 KB/s",
        tuple(figures),
        ("A ratio up to 1.2 is noise of the median on two cores.",),
    )


def memory(plan: Plan) -> Result:
    """Memory a reader and a channel."""
    count, channels = (100, 4) if plan.quick else (400, 16)
    figures: list[Figure] = []
    for transport in ("udp", "tcp"):
        values: dict[str, float | None] = {}
        for server in plan.essential:
            load = Load(count, transport, plan.window_s)
            done = plan.trials(server, Setting(), load, 1)
            values[server.name] = middle(
                (one.memory_kib - one.memory_before_kib) / count for one in done
            )
        figures += compare(f"memory a {transport.upper()} reader", "KiB", values, {})
    for server in plan.essential:
        if server.name == "heliograph":
            figures.append(
                Figure(
                    "memory a channel on air", server.name, _channel(plan, server, channels), "KiB"
                )
            )
    return Result(
        "memory",
        f"Memory with {count} readers of 2 Mbit/s, and with {channels} channels on air",
        tuple(figures),
        ("Proportional set size of the process tree; socket buffers of the kernel not included.",),
    )


def _channel(plan: Plan, server: Server, channels: int) -> float | None:
    """KiB a channel takes while it is on air, from the difference to the same server idle."""
    setting = Setting(channels=channels)
    with server.serving(plan.place, setting) as process:
        idle = proc.memory_kib(process.pid)
    load = Load(1, "udp", max(4.0, plan.window_s))  # rings are full after their depth of 3 s
    done = plan.trials(server, setting, load, 1)
    return (done[0].memory_kib - idle) / channels if done else None


def delay(plan: Plan) -> Result:
    """Delay added by the relay with few readers."""
    figures: list[Figure] = []
    for transport in ("udp", "tcp"):
        for count in (100,) if plan.quick else (1, 100):
            values: dict[str, dict[str, float | None]] = {"p50": {}, "p99": {}}
            for server in plan.essential:
                done = plan.trials(server, Setting(), Load(count, transport, plan.window_s))
                for name, into in values.items():
                    into[server.name] = ms(middle(one.delay_us[name] for one in done))
            for name, measured in values.items():
                what = (
                    f"delay added, {transport.upper()}, {count} reader{'s' * (count > 1)}, {name}"
                )
                figures += compare(what, "ms", measured, {})
    return Result(
        "delay",
        "Delay of complete frames from publisher to reader, loopback included",
        tuple(figures),
        (
            "UDP: until the kernel has the frame's last packet for the reader; "
            "TCP: until the reader has it.",
        ),
    )


def silent(plan: Plan) -> Result:
    """1 000 connections that say nothing, beside 100 readers."""
    figures: list[Figure] = []
    for server in plan.essential:
        lost: list[float | None] = []
        p99: list[float | None] = []
        for count in (0, 1000):
            done = _beside_silence(plan, server, count)
            lost.append(middle(float(one.lost) for one in done))
            p99.append(ms(middle(one.delay_us["p99"] for one in done)))
        own = server.name == "heliograph"
        what = "p99 of the delay of 100 readers"
        quotient = p99[1] / p99[0] if p99[1] is not None and p99[0] else None
        figures += [
            Figure(what, server.name, p99[0], "ms"),
            Figure(f"{what}, 1 000 silent", server.name, p99[1], "ms", "without", quotient),
            Figure(
                "packets lost, 1 000 silent",
                server.name,
                lost[1],
                "packets",
                target=at_most(0) if own else None,
            ),
        ]
    return Result(
        "silent", "100 RTSP/TCP readers beside 1 000 connections that say nothing", tuple(figures)
    )


def _beside_silence(plan: Plan, server: Server, count: int) -> list[Trial]:
    load = Load(100, "tcp", plan.window_s)
    if count == 0:
        return plan.trials(server, Setting(), load)
    command = [str(plan.place.load), "tcp-idle", "--url", server.url, "--count", str(count)]
    command += ["--seconds", "60"]
    return plan.trials(server, Setting(), load, beside=tuple(command))


#: Scenarios that need none of the servers and no load generator of ours.
WITHOUT_SERVER = (
    "catalogue",
    "dead-dispatcher",
    "dead-servers",
    "even-load",
    "manager",
    "policies",
    "rate-cut",
    "redirect",
    "storage",
    "storage-remote",
    "udp-blocked",
)

SCENARIOS: dict[str, Callable[[Plan], Result]] = {
    "relay-udp-pps": relay_udp_pps,
    "rtsp-udp": rtsp_udp,
    "rtsp-tcp": rtsp_tcp,
    "tcp-10k": tcp_10k,
    "slow-reader": slow_reader,
    "memory": memory,
    "delay": delay,
    "silent": silent,
    "whep": whep,
    "whep-share": whep_share,
    "whip-delay": whip_delay,
    "first-frame": first_frame,
    "udp-blocked": udp_blocked,
    "rate-cut": rate_cut,
    "manager": manager,
    "policies": policies,
    "redirect": redirect,
    "catalogue": catalogue,
    "dead-servers": dead_servers,
    "dead-dispatcher": dead_dispatcher,
    "even-load": even_load,
    "storage": storage,
    "pacing": pacing,
    "titles": titles,
    "storage-remote": storage_remote,
}
