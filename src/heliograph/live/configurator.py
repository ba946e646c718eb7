"""A reflector's configurator: where each of its channels comes from, whatever dies.

It knows this node's sources, clients and ranked alternatives and acts by itself; a manager only
gives the list and is asked when that is spent (Kon et al. section 5.3, R11 to R13; R6). It does no
input or output: events and the time go in, orders come out. The forwarding code knows nothing of
it.

What it holds to, for every channel:

- The best alternatives that can be reached are subscribed, as many as redundancy asks for.
- A source is left only when those that replace it deliver, so that nothing is missed.
- A source whose path contains this node is refused: repairs make no loops.
- A better source is gone back to when it has been well for a while, or at once when it says that
  it has started.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from heliograph.live.neighbours import (
    Answered,
    Appeared,
    AskForSources,
    ClientJoined,
    ClientLeft,
    Connect,
    Delivering,
    Denied,
    Disconnect,
    Event,
    Ingest,
    Leave,
    Left,
    LinkDown,
    LinkSilent,
    LinkUp,
    Order,
    Returned,
    Rules,
    SubscribeTo,
    Tell,
    TellPath,
    Told,
    UnsubscribeFrom,
    Unwanted,
    Wanted,
    unique,
)
from heliograph.protocols.mesh import Finished, Started

#: Alternatives kept for a channel beside those configured: neighbours that leave name theirs.
MAX_LEARNT = 32


@dataclass(slots=True)
class _Peer:
    """A neighbour and the link that is opened to it. Clients open theirs themselves."""

    up: bool = False
    connecting: bool = False
    since: float = 0.0
    """When the link came up, fell silent or was asked for."""
    held_until: float = 0.0
    """Not asked for anything before."""
    failures: int = 0
    leaving: bool = False
    """It said that it leaves, and the link that it said it on stands."""


@dataclass(slots=True)
class _Source:
    """A subscription to a neighbour."""

    since: float
    path: tuple[str, ...] = ()
    answered: float | None = None
    """When it answered first."""
    lost: float | None = None
    """Since when it has no source itself; None while it has."""
    delivering: bool = False


@dataclass(slots=True)
class _Feed:
    """A channel at this node."""

    wanted: bool = False
    ranked: tuple[str, ...] = ()
    learnt: tuple[str, ...] = ()
    sources: dict[str, _Source] = field(default_factory=dict)
    clients: dict[str, None] = field(default_factory=dict)
    held: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Neighbours that refused this channel: not before when, and how often."""
    looped: dict[str, float] = field(default_factory=dict)
    """Neighbours that get it from here: not before when they are asked again."""
    eager: set[str] = field(default_factory=set)
    """Neighbours that said they have started: gone back to at once."""
    ingest: bool = False
    path: tuple[str, ...] = ()
    asked: float | None = None
    fed: float | None = None
    """When there last was a source for it elsewhere."""
    relayed: bool = False
    """Whether its clients could have it from others, as it was when the node began to leave: what
    is published here, or by nobody, they could not."""

    @property
    def candidates(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.ranked, *self.learnt)))


class Configurator:
    """Of one node. ``handle`` takes what happened, ``tick`` the time; both give orders."""

    def __init__(self, node: str, rules: Rules | None = None) -> None:
        self.node = node
        self.rules = rules or Rules()
        self._feeds: dict[str, _Feed] = {}
        self._peers: dict[str, _Peer] = {}
        self._leave_by: float | None = None
        self._left = False
        self._orders: list[Order] = []

    # what there is

    def path(self, channel: str) -> tuple[str, ...]:
        """The way a channel comes, this node included; empty without a source."""
        feed = self._feeds.get(channel)
        return () if feed is None else feed.path

    def sources(self, channel: str) -> tuple[str, ...]:
        """Neighbours it is subscribed to."""
        feed = self._feeds.get(channel)
        return () if feed is None else tuple(feed.sources)

    def candidates(self, channel: str) -> tuple[str, ...]:
        """Neighbours it may come from, the best first."""
        feed = self._feeds.get(channel)
        return () if feed is None else feed.candidates

    def clients(self, channel: str) -> tuple[str, ...]:
        """Neighbours that get it from here."""
        feed = self._feeds.get(channel)
        return () if feed is None else tuple(feed.clients)

    # what happens

    def handle(self, event: Event, now: float) -> list[Order]:
        """Take one event; the orders that follow from it. ``now`` in seconds, on any clock that
        only goes forward."""
        match event:
            case LinkUp(node) | LinkSilent(node) | LinkDown(node):
                self._link(event, self._peer(node), now)
            case Appeared(node):
                self._appeared(node)
            case Told(node, message):
                self._told(node, message)
            case Returned(channel, sources, clients):
                for node in unique((*clients, *sources), self.node):
                    self._orders.append(Tell(node, Started(channel, sources, clients)))
            case Leave():
                self._leave(now)
            case Unwanted(channel):
                self._forget(channel)
            case Wanted(channel) | Ingest(channel) | ClientJoined(channel):
                self._here(event, self._feeds.setdefault(channel, _Feed()))
            case _ if event.channel in self._feeds:
                self._elsewhere(event, self._feeds[event.channel], now)
        return self.tick(now)

    def _here(self, event: Wanted | Ingest | ClientJoined, feed: _Feed) -> None:
        match event:
            case Wanted(sources=sources):
                feed.wanted, feed.ranked = True, unique(sources, self.node)
                feed.asked = None
                if event.at_once and feed.ranked:
                    feed.eager.add(feed.ranked[0])
                    feed.held.pop(feed.ranked[0], None)
            case Ingest(here=here):
                feed.ingest = here
            case ClientJoined(node=node):
                feed.clients[node] = None

    def _elsewhere(
        self, event: Answered | Delivering | Denied | ClientLeft, feed: _Feed, now: float
    ) -> None:
        match event:
            case Answered(channel, node, path) if node in feed.sources:
                self._answered(channel, feed, node, path, now)
            case Delivering(node=node) if node in feed.sources:
                feed.sources[node].delivering = True
                feed.held.pop(node, None)
            case Denied(node=node):
                feed.sources.pop(node, None)
                failures = feed.held.get(node, (0.0, 0))[1]
                feed.held[node] = (now + self._pause(failures), failures + 1)
            case ClientLeft(node=node):
                feed.clients.pop(node, None)

    def tick(self, now: float) -> list[Order]:
        """Do what is due at this time."""
        for channel, feed in self._feeds.items():
            self._settle(channel, feed, now)
        self._keep_links(now)
        if self._leave_by is not None and not self._left:
            waited_for = any(feed.clients for feed in self._feeds.values() if feed.relayed)
            if not waited_for or now >= self._leave_by:
                self._left = True
                for channel in list(self._feeds):
                    self._forget(channel)
                self._orders.append(Left())
        orders, self._orders = self._orders, []
        return orders

    # links

    def _peer(self, node: str) -> _Peer:
        return self._peers.setdefault(node, _Peer())

    def _link(self, event: LinkUp | LinkSilent | LinkDown, peer: _Peer, now: float) -> None:
        match event:
            case LinkUp():
                if not peer.up:
                    peer.up, peer.since = True, now
                peer.connecting = False
                peer.failures, peer.held_until = 0, 0.0
            case LinkSilent():
                # What was asked of it stays asked: it may be heard of again, with what it kept.
                peer.up, peer.connecting, peer.since = False, False, now
            case LinkDown(node):
                peer.up, peer.connecting, peer.since = False, False, now
                peer.leaving = False  # who is met again under this name has started again
                peer.held_until = now + self._pause(peer.failures)
                peer.failures += 1
                for feed in self._feeds.values():
                    feed.sources.pop(node, None)

    def _appeared(self, node: str) -> None:
        peer = self._peers.get(node)
        if peer is not None:
            peer.failures, peer.held_until = 0, 0.0
        for feed in self._feeds.values():
            feed.held.pop(node, None)

    def _pause(self, failures: int) -> float:
        return float(min(self.rules.retry * 2 ** min(failures, 16), self.rules.most_retry))

    def _keep_links(self, now: float) -> None:
        """Open links to those who are wanted next, and give up those that nobody wants."""
        near: set[str] = set()
        for feed in self._feeds.values():
            near.update(feed.sources)
            if not feed.ingest and self._leave_by is None:
                near.update(self._near(feed, now))
        for node in near:
            peer = self._peer(node)
            if peer.connecting and now - peer.since >= self.rules.answer:
                peer.connecting = False
                peer.held_until = now + self._pause(peer.failures)
                peer.failures += 1
            elif not (peer.up or peer.connecting or peer.leaving) and now >= peer.held_until:
                peer.connecting, peer.since = True, now
                self._orders.append(Connect(node))
        named = {node for feed in self._feeds.values() for node in feed.candidates}
        for node in list(self._peers):
            peer = self._peers[node]
            if node not in near:
                if peer.up or peer.connecting:
                    if peer.leaving:  # by then it has left
                        peer.leaving, peer.held_until = False, now + self.rules.confirm
                    peer.up = peer.connecting = False
                    self._orders.append(Disconnect(node))
                if node not in named:
                    del self._peers[node]

    def _near(self, feed: _Feed, now: float) -> Iterable[str]:
        """Candidates to which a link is kept: those in use, all that are better, and some more."""
        left = self.rules.redundancy + self.rules.warm
        for node in feed.candidates:
            if left <= 0:
                return
            if self._open_to(feed, node, now):
                yield node
                # One that cannot be reached just now does not keep the next from being warm.
                left -= self._peer(node).up

    # sources

    def _open_to(self, feed: _Feed, node: str, now: float) -> bool:
        """Whether a neighbour may be asked for the channel, as far as is known."""
        held = feed.held.get(node)
        return not (
            (held is not None and now < held[0])
            or now < feed.looped.get(node, 0.0)
            or self._peer(node).leaving
        )

    def _answered(
        self, channel: str, feed: _Feed, node: str, path: tuple[str, ...], now: float
    ) -> None:
        if self.node in path:
            feed.looped[node] = now + self.rules.retry
            self._unsubscribe(channel, feed, node)
            return
        feed.looped.pop(node, None)
        source = feed.sources[node]
        if source.answered is None:
            source.answered = now
        source.path = path
        if path:
            source.lost = None
        elif source.lost is None:
            source.lost = now

    def _settle(self, channel: str, feed: _Feed, now: float) -> None:
        """Bring the subscriptions of a channel nearer to what they should be."""
        if self._leave_by is None:
            wanted = () if feed.ingest else self._choose(feed, now)
            for node in wanted:
                if node not in feed.sources and self._peer(node).up:
                    feed.sources[node] = _Source(now)
                    self._orders.append(SubscribeTo(channel, node))
            self._let_go(channel, feed, wanted, now)
            self._ask(channel, feed, now)
        path = self._own_path(feed)
        if path and not feed.ingest:
            feed.fed = now
        if path != feed.path:
            feed.path = path
            self._orders.append(TellPath(channel, path))

    def _choose(self, feed: _Feed, now: float) -> tuple[str, ...]:
        """The sources that the channel should have, as far as they can be reached."""
        fed = [node for node, source in feed.sources.items() if self._feeds_us(node, source, now)]
        chosen: list[str] = []
        waiting = 0
        for node in feed.candidates:
            if len(chosen) >= self.rules.redundancy + waiting:
                break
            peer = self._peer(node)
            if not (peer.up and self._open_to(feed, node, now)):
                continue
            source = feed.sources.get(node)
            if source is None:
                # Who is fed well takes its time to go back to a better one.
                enough = len(fed) >= self.rules.redundancy
                if enough and node not in feed.eager and now - peer.since < self.rules.well:
                    continue
            elif not self._feeds_us(node, source, now):
                # It has no source, or has not answered in time: it is kept, and another is asked.
                waiting += self._late(source, now)
            chosen.append(node)
        return tuple(chosen)

    def _feeds_us(self, node: str, source: _Source, now: float) -> bool:
        """Whether a subscription gives what it should, or had a source a moment ago."""
        peer = self._peer(node)
        if not peer.up or peer.leaving:
            return False
        healing = source.lost is not None and now - source.lost < self.rules.heal
        return source.delivering and (bool(source.path) or healing)

    def _late(self, source: _Source, now: float) -> bool:
        if source.answered is None:
            return now - source.since >= self.rules.answer
        if source.lost is not None:
            return now - source.lost >= self.rules.heal
        return False

    def _let_go(self, channel: str, feed: _Feed, wanted: tuple[str, ...], now: float) -> None:
        """End subscriptions that are not wanted, once those that are have taken their place."""
        replaced = all(self._has_taken_over(feed.sources.get(node), now) for node in wanted)
        taken_over = feed.ingest or (replaced and bool(wanted))
        for node in [node for node in feed.sources if node not in wanted]:
            if taken_over or node not in feed.candidates:
                self._unsubscribe(channel, feed, node)
        feed.eager.difference_update(wanted)

    def _has_taken_over(self, source: _Source | None, now: float) -> bool:
        if source is None or source.answered is None:
            return False
        return source.delivering or (
            bool(source.path) and now - source.answered >= self.rules.overlap
        )

    def _unsubscribe(self, channel: str, feed: _Feed, node: str) -> None:
        del feed.sources[node]
        self._orders.append(UnsubscribeFrom(channel, node))

    def _ask(self, channel: str, feed: _Feed, now: float) -> None:
        """Ask for other alternatives while those known do not give the channel, or too few do."""
        if feed.ingest or not feed.wanted:
            return
        subscribed = [
            source
            for node, source in feed.sources.items()
            if self._peer(node).up and not self._peer(node).leaving
        ]
        given = sum(bool(source.path) for source in subscribed)
        if given >= self.rules.redundancy:
            return
        # One that could not be reached before is not waited for.
        trying = any(not self._late(source, now) for source in subscribed) or any(
            self._peer(node).connecting and not self._peer(node).failures
            for node in feed.candidates
        )
        pause = self.rules.seek if given else self.rules.ask
        held = feed.asked is not None and now - feed.asked < pause
        if (given or not trying) and not held:
            feed.asked = now
            self._orders.append(AskForSources(channel, feed.candidates))

    def _own_path(self, feed: _Feed) -> tuple[str, ...]:
        if feed.ingest:
            return (self.node,)
        best = [
            feed.sources[node].path
            for node in feed.candidates
            if node in feed.sources and feed.sources[node].path and self._peer(node).up
        ]
        return (*best[0], self.node) if best else ()

    # leaving and coming back

    def _told(self, node: str, message: Finished | Started) -> None:
        feed = self._feeds.get(message.channel)
        if isinstance(message, Started):
            peer = self._peer(node)
            peer.leaving, peer.failures, peer.held_until = False, 0, 0.0
            if feed is not None:
                feed.eager.add(node)
                feed.held.pop(node, None)
            return
        if feed is None:
            return
        if node in feed.candidates:
            # Its sources stand in for it, at its place in the list; it goes on until they deliver.
            self._peer(node).leaving = True
            fresh = unique(message.sources, self.node)
            feed.learnt = tuple(dict.fromkeys((*fresh, *feed.learnt)))[:MAX_LEARNT]

    def _leave(self, now: float) -> None:
        if self._leave_by is not None:
            return
        self._leave_by = now + self.rules.confirm
        for channel, feed in self._feeds.items():
            # A source that is away for a moment may be so for this node alone.
            lately = feed.fed is not None and now - feed.fed < self.rules.heal
            feed.relayed = lately and not feed.ingest
            sources, clients = tuple(feed.sources), tuple(feed.clients)
            for node in dict.fromkeys((*clients, *sources)):
                self._orders.append(Tell(node, Finished(channel, sources, clients)))

    def _forget(self, channel: str) -> None:
        feed = self._feeds.pop(channel, None)
        if feed is not None:
            for node in list(feed.sources):
                self._unsubscribe(channel, feed, node)
