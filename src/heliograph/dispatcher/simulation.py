"""What a policy makes of many viewers: servers and time made up, the policies the real ones.

Viewers come by chance (Poisson), stay for a while (exponential) and are sent to one of the servers.
Of how the servers fare a monitor tells every so many seconds; a dispatcher knows besides what it
decided itself. Clients come from networks of regions where a scenario names some.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import fmean

from heliograph.catalogue.contents.values import (
    Condition,
    Contents,
    File,
    Format,
    Network,
    Server,
    ServerState,
    Title,
)
from heliograph.dispatcher.answers import Wish
from heliograph.dispatcher.barring import Refusal
from heliograph.dispatcher.choose import Dispatcher, Options
from heliograph.dispatcher.conditions import within
from heliograph.dispatcher.snapshot import Snapshot

#: Of one stream.
BPS = 2_000_000
_START = 1_000_000_000.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is made up."""

    servers: int = 8
    streams: int = 600
    """Watching at a time, on average."""
    titles: int = 400
    skew: float = 0.8
    """Exponent of the titles' popularity (Zipf): 0, all alike."""
    copies: int = 0
    """Servers that hold a title; 0: all."""
    stay: float = 300.0
    """Seconds that a viewer stays, on average."""
    seconds: float = 2400.0
    settle: float = 900.0
    """Seconds at the beginning that do not count."""
    poll: float = 10.0
    """Seconds between two measurements."""
    capacity: int = 100
    """Streams that one server carries."""
    capacities: tuple[int, ...] = ()
    """The same, one a server; empty: all carry ``capacity``."""
    weights: tuple[float, ...] = ()
    """Of the servers; empty: all have 1."""
    most: tuple[int, ...] = ()
    """Sessions that the servers may have at a time, 0 for no bound; empty: none has one."""
    regions: tuple[str, ...] = ()
    """Where the servers are; empty: nowhere in particular."""
    clients: Mapping[str, float] = field(default_factory=dict)
    """How many viewers come from each region, in relation to each other, 255 regions at most;
    empty: nobody knows where they are."""
    application: bool = False
    """Whether response times grow with the load, as those of media do; of ICMP they do not."""
    dispatchers: int = 1
    """That do not know of each other's decisions."""
    down: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    """From when to when a server is away, by its id, in seconds."""
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    peak: float
    """Highest load of a server by its capacity, in relation to that of all; the mean of all
    seconds that count."""
    worst: float
    """The same, the worst of them."""
    shares: tuple[float, ...]
    """Of all redirects, by server."""
    loads: tuple[float, ...]
    """Streams, by server; the mean of all seconds that count."""
    within: Mapping[str, float]
    """Like ``peak``, of the servers of each region among themselves."""
    served: Mapping[tuple[str, str], int]
    """Redirects by the regions of client and server, while they count."""
    refused: int
    """Viewers for whom there was nobody."""
    wrong: int
    """Viewers sent to a server that was known to be away."""

    def share(self, client: str, server: str) -> float:
        """Of the redirects of a region's clients, those to servers of a region."""
        total = sum(count for (one, _), count in self.served.items() if one == client)
        return self.served.get((client, server), 0) / total if total else 0.0

    @property
    def own(self) -> float:
        """Share of the redirects to a server of the client's own region."""
        own = sum(
            count for (client, server), count in self.served.items() if within(client, server)
        )
        return own / (sum(self.served.values()) or 1)


def simulate(policy: str, scenario: Scenario | None = None) -> Outcome:
    """Run a scenario under a policy of ``policies.POLICIES``."""
    return _Simulation(policy, scenario or Scenario()).run()


class _Simulation:
    def __init__(self, policy: str, scenario: Scenario) -> None:
        self.scenario = scenario
        self.dice = random.Random(scenario.seed)
        count = scenario.servers
        self.load = [0] * count
        self.sent = [0] * count
        self.base = [self.dice.uniform(1.0, 4.0) for _ in range(count)]
        self.capacities = scenario.capacities or (scenario.capacity,) * count
        self.regions = scenario.regions or ("",) * count
        self.networks = {region: place for place, region in enumerate(scenario.clients, 1)}
        contents = self._contents(policy)
        snapshot = Snapshot.of(contents)
        options = Options(decay=scenario.stay)
        self.dispatchers = []
        for _ in range(scenario.dispatchers):
            one = Dispatcher(None, options, draw=random.Random(self.dice.random()).random)
            one.replace(snapshot, _START)
            self.dispatchers.append(one)

    def _contents(self, policy: str) -> Contents:
        scenario = self.scenario
        ids = range(1, scenario.servers + 1)
        most = scenario.most or (0,) * scenario.servers
        weights = scenario.weights or (1.0,) * scenario.servers
        servers = tuple(
            Server(
                id,
                f"s{id}",
                f"s{id}",
                region=self.regions[id - 1],
                capacity_bps=self.capacities[id - 1] * BPS,
                max_sessions=most[id - 1],
                weight=weights[id - 1],
            )
            for id in ids
        )
        titles: list[Title] = []
        files: list[File] = []
        for id in range(1, scenario.titles + 1):
            titles.append(Title(id, f"t{id}", "", policy=policy))
            holders = self.dice.sample([*ids], scenario.copies or scenario.servers)
            for server in sorted(holders):
                uri = f"http://s{server}/t{id}.mp4"
                file = File(len(files) + 1, id, server, Format.MP4, uri, BPS)
                files.append(file)
        networks = tuple(
            Network(f"10.{place}.0.0/16", region) for region, place in self.networks.items()
        )
        return Contents(1, servers, tuple(titles), tuple(files), networks)

    def _client(self) -> tuple[str, str]:
        """The region and the address of somebody who comes."""
        clients = self.scenario.clients
        if not clients:
            return "", ""
        (region,) = self.dice.choices([*clients], [*clients.values()])
        number = self.dice.randrange(1 << 16)
        return region, f"10.{self.networks[region]}.{number >> 8}.{number & 255}"

    def _peak(self, servers: Sequence[int]) -> float:
        """Highest load of some servers by their capacities, in relation to that of all of them."""
        used = sum(self.load[one] for one in servers)
        mean = used / sum(self.capacities[one] for one in servers)
        return max(self.load[one] / self.capacities[one] for one in servers) / (mean or 1)

    def _away(self, server: int, at: float) -> bool:
        begin, end = self.scenario.down.get(server, (0.0, 0.0))
        return begin <= at < end

    def _measure(self, at: float) -> dict[int, ServerState]:
        """What a monitor finds now."""
        found = {}
        moment = datetime.fromtimestamp(_START + at, UTC)
        for index in range(self.scenario.servers):
            away = self._away(index + 1, at)
            condition = Condition.DOWN if away else Condition.UP
            response = self.base[index] * self.dice.uniform(0.9, 1.1)
            if self.scenario.application:
                used = min(self.load[index] / self.capacities[index], 0.99)
                response = 5.0 * self.dice.uniform(0.9, 1.1) / (1 - used)
            found[index + 1] = ServerState(index + 1, condition, response, moment, moment)
        return found

    def run(self) -> Outcome:
        scenario, dice = self.scenario, self.dice
        names = [f"t{id}" for id in range(1, scenario.titles + 1)]
        popular = [1 / place**scenario.skew for place in range(1, scenario.titles + 1)]
        wish = Wish((Format.MP4,))
        leaving: list[tuple[float, int]] = []
        everybody = range(scenario.servers)
        places: dict[str, list[int]] = {}
        for index in everybody:
            places.setdefault(self.regions[index], []).append(index)
        peaks: list[float] = []
        within: dict[str, list[float]] = {region: [] for region in places}
        loads = [0] * scenario.servers
        served: Counter[tuple[str, str]] = Counter()
        refused = wrong = 0
        states: dict[int, ServerState] = {}
        arrival, measured = dice.expovariate(scenario.streams / scenario.stay), -scenario.poll
        for second in range(int(scenario.seconds)):
            if second - measured >= scenario.poll:
                measured, states = second, self._measure(second)
                for dispatcher in self.dispatchers:
                    dispatcher.observe(states, _START + second)
            for dispatcher in self.dispatchers:
                dispatcher.tick(_START + second)
            while arrival < second + 1:
                while leaving and leaving[0][0] <= arrival:
                    self.load[heapq.heappop(leaving)[1]] -= 1
                dispatcher = dice.choice(self.dispatchers)
                (name,) = dice.choices(names, popular)
                region, client = self._client()
                found = dispatcher.decide(name, wish, client, _START + arrival)
                if isinstance(found, Refusal):
                    refused += 1
                else:
                    index = found.server.id - 1
                    wrong += states[index + 1].condition is Condition.DOWN
                    self.load[index] += 1
                    self.sent[index] += 1
                    if second >= scenario.settle:
                        served[region, self.regions[index]] += 1
                    stay = dice.expovariate(1 / scenario.stay)
                    heapq.heappush(leaving, (arrival + stay, index))
                arrival += dice.expovariate(scenario.streams / scenario.stay)
            if second >= scenario.settle:
                peaks.append(self._peak(everybody))
                for region, members in places.items():
                    within[region].append(self._peak(members))
                loads = [total + now for total, now in zip(loads, self.load, strict=True)]
        total = sum(self.sent) or 1
        shares = tuple(count / total for count in self.sent)
        return Outcome(
            fmean(peaks),
            max(peaks),
            shares,
            tuple(total / len(peaks) for total in loads),
            {region: fmean(found) for region, found in within.items()},
            dict(served),
            refused,
            wrong,
        )
