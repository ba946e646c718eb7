"""The gate: who may publish and who may watch, by whatever protocol they come.

It puts together the rules of ``catalogue.rights``, keys, view tokens, accounts and, where one is
set, an external authority. What it needs is in memory (``Channel.standing``), so that a decision is
there at once; only a token that is good once, and the external authority, have to be waited for:
``publish`` and ``view`` then give something to await in place of a ``Grant``. Every refusal is a
typed error. Wrong keys are slowed for each address.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import structlog

from heliograph.catalogue.authority import Question
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.external import Authority
from heliograph.catalogue.rights import (
    Action,
    ChannelView,
    Person,
    Proof,
    Reason,
    decide,
    require,
)
from heliograph.catalogue.throttle import Attempt, Throttle
from heliograph.catalogue.values import Account
from heliograph.live.channel import Channel
from heliograph.live.grants import Grant
from heliograph.live.keys import Shown, judge
from heliograph.live.view_tokens import ViewTokens, unknown
from heliograph.model.errors import (
    ConflictError,
    ForbiddenError,
    HelioError,
    NotFoundError,
    TooManyError,
    UnauthorizedError,
)

log = structlog.get_logger(__name__)

#: Seconds that whoever the external authority let in may go on asking for pieces by a token.
AUTHORITY_SESSION = 3600

#: A grant, or what to wait for until there is one.
Decision: TypeAlias = Grant | Coroutine[Any, Any, Grant]


@dataclass(frozen=True, slots=True)
class Asker:
    """Somebody at the gate, with what was shown."""

    peer: str
    """Numeric address."""
    protocol: str
    """``rtsp``, ``rtmp``, ``whip``, ``whep``, ``hls``, ``websocket``, ``api``."""
    secret: str = field(default="", repr=False)
    """A key in clear: ``?key=``, a bearer token, the password of Basic, RTMP's stream key."""
    digest: Shown = Shown.NONE
    """What a Digest was worth, for the keys of ``keys_to_publish`` or ``keys_to_view``."""
    tokens: tuple[str, ...] = field(default=(), repr=False)
    """View tokens."""
    person: Person | None = None
    """Who is signed in."""
    user: str = ""
    """The account's name, or the user name shown beside a key."""
    query: str = field(default="", repr=False)
    """Query part of the address asked for."""

    @property
    def shows_key(self) -> bool:
        return bool(self.secret) or self.digest is not Shown.NONE


@dataclass(frozen=True, slots=True)
class AuthorityPolicy:
    """When an external authority is asked, and what its answer means."""

    actions: frozenset[Action] = frozenset({Action.PUBLISH, Action.VIEW})
    extends: bool = False
    """False: it has to agree with what our own rules grant. True: it is asked about those whom our
    own rules refuse, and may let them in."""


class Gate:
    """Lets in or refuses. Holders of the administrator's key may do everything, unasked."""

    def __init__(
        self,
        administrator_key: str = "",
        *,
        catalogue: Catalogue | None = None,
        authority: Authority | None = None,
        policy: AuthorityPolicy | None = None,
        ticks: Callable[[], float] = time.monotonic,
        refuses: Callable[[str], str] | None = None,
    ) -> None:
        """Without ``catalogue`` no view token is good. ``ticks``: seconds that never go back.
        ``refuses``: why nobody at an address may watch anything, or nothing; None: all may."""
        self.used: set[int] = set()
        """Ids of stream keys used since somebody wrote that down."""
        self.closed: frozenset[str] = frozenset()
        """Channels that people closed: whoever would be let in is told so."""
        self.counters: Counter[str] = Counter(
            publishers_admitted=0,
            publishers_refused=0,
            viewers_admitted=0,
            viewers_refused=0,
            keys_wrong=0,
            tokens_issued=0,
            tokens_accepted=0,
            tokens_refused=0,
            authority_asked=0,
            authority_refused=0,
        )
        """For the metrics."""
        self.authority = authority
        self.throttle = Throttle() if catalogue is None else catalogue.throttle
        self._administrator_key = administrator_key
        self._refuses = refuses
        self._tokens = ViewTokens(None if catalogue is None else catalogue.permits, self.counters)
        self._policy = policy or AuthorityPolicy()
        self._ticks = ticks

    # --- decisions ----------------------------------------------------------------------------

    def keys_to_publish(self, channel: Channel) -> tuple[str, ...]:
        """Keys that are known in clear, for Digest."""
        return (channel.options.key, self._administrator_key)

    def keys_to_view(self, channel: Channel) -> tuple[str, ...]:
        """As ``keys_to_publish``: who may publish may watch."""
        return (channel.options.view_key, channel.options.key, self._administrator_key)

    def publish(self, channel: Channel, asker: Asker) -> Decision:
        """Let a publisher in.

        ``UnauthorizedError``, ``ForbiddenError``, ``NotFoundError`` (a private channel is unknown
        to who shows nothing good), ``ConflictError`` (it is closed), ``TooManyError``.
        """
        return self._counted(
            "publishers", lambda: self._opened(Action.PUBLISH, channel, asker, True)
        )

    def view(self, channel: Channel, asker: Asker, *, ask: bool = True) -> Decision:
        """Let a viewer in; errors as of ``publish``, and ``ForbiddenError`` for all from where
        nobody may watch.

        ``ask``: whether the external authority is asked; not for each piece of what it granted.
        """
        if not ask:
            return self._opened(Action.VIEW, channel, asker, False)
        return self._counted("viewers", lambda: self._opened(Action.VIEW, channel, asker, True))

    def bar(self, name: str, peer: str) -> None:
        """``ForbiddenError`` where nobody at an address may watch, whatever has the name."""
        why = "" if self._refuses is None else self._refuses(peer)
        if why:
            raise ForbiddenError(why, subject=name[:80])

    def stranger(self, name: str, asker: Asker) -> NotFoundError:
        """What to say of a channel that is not there. Keys shown for it are slowed as for one that
        is private, so that the two cannot be told apart."""
        if asker.shows_key:
            self.throttle.begin(self._ticks(), address=asker.peer)
            self.counters["keys_wrong"] += 1
        return unknown(name)

    def may_list(
        self, channel: Channel, person: Person | None, tokens: tuple[str, ...] = ()
    ) -> bool:
        """Whether somebody may know that the channel is there; takes no single token."""
        view = view_of(channel)
        return decide(Action.LIST, view, person).allowed or self.opened_by(channel, tokens)

    def may_know(self, channel: Channel, asker: Asker) -> bool:
        """Whether somebody who names a channel may be told that it is there.

        Of a private one only who shows something good, a token for one use as well; none is used up
        by this. A key that is shown counts as a guess: ``TooManyError`` after too many.
        """
        view = view_of(channel)
        if not view.private or decide(Action.VIEW, view, asker.person).allowed:
            return True
        if self._tokens.known(channel, asker.tokens):
            return True
        if not asker.shows_key:
            return False
        attempts: list[Attempt] = []
        if self._known(asker, self.keys_to_view(channel), attempts) is not None:
            return True
        if _stream_key(channel, asker) is None:
            self.counters["keys_wrong"] += 1
            return False
        self._forgive(attempts)
        return True

    def opened_by(self, channel: Channel, tokens: tuple[str, ...]) -> bool:
        """Whether one of these view tokens opens the channel, and not just once."""
        return self._tokens.find(channel, tokens) is not None

    def is_administrator(self, key: str, peer: str) -> bool:
        """Whether this is the administrator's key; ``TooManyError`` after too many guesses."""
        attempt = self.throttle.begin(self._ticks(), address=peer)
        if judge(key, self._administrator_key) is not Shown.GOOD:
            self.counters["keys_wrong"] += 1
            return False
        self.throttle.succeeded(attempt, self._ticks())
        return True

    def holds(self, channel: Channel, grant: Grant, people: Mapping[int, Account]) -> bool:
        """Whether what was granted once would be granted now; ``people`` by ids."""
        if channel.name in self.closed:
            return False
        standing = channel.standing
        match grant.reason:
            case Reason.TOKEN:
                assert grant.token is not None
                return self._tokens.holds(channel, grant.token)
            case Reason.KEY:
                if grant.key is None or standing is None:
                    return True
                good = grant.key in standing.keys.values()
                if grant.action is Action.VIEW:
                    return good
                proof = Proof(stream_key=good)
                return decide(Action.PUBLISH, view_of(channel), None, proof).allowed
            case Reason.AUTHORITY:
                return True
        if grant.person is None or grant.person.id == 0:
            public = grant.action is Action.PUBLISH and channel.options.open_publish
            key_shown = grant.reason is Reason.ADMINISTRATOR
            return (
                public or key_shown or decide(grant.action, view_of(channel), grant.person).allowed
            )
        person = Person.of(people.get(grant.person.id))
        return decide(grant.action, view_of(channel), person).allowed

    # --- our own rules ------------------------------------------------------------------------

    def _opened(self, action: Action, channel: Channel, asker: Asker, ask: bool) -> Decision:
        """Refuse who comes to a closed channel, or from where nobody may watch, but only those who
        may know that it is there."""
        if action is Action.VIEW:
            try:
                self.bar(channel.name, asker.peer)
            except ForbiddenError:
                if self.may_know(channel, asker):
                    raise
                raise unknown(channel.name) from None
        decision = self._decide(action, channel, asker, ask)
        if not isinstance(decision, Grant):
            return self._unless_closed(channel.name, decision)
        if channel.name in self.closed:
            raise closed(channel.name)
        return decision

    async def _unless_closed(self, name: str, decision: Coroutine[Any, Any, Grant]) -> Grant:
        """It may have been closed while somebody else was asked."""
        grant = await decision
        if name in self.closed:
            raise closed(name)
        return grant

    def _decide(self, action: Action, channel: Channel, asker: Asker, ask: bool) -> Decision:
        own = self._publish if action is Action.PUBLISH else self._view
        asks = ask and self.authority is not None and action in self._policy.actions
        attempts: list[Attempt] = []
        try:
            decision: Decision = own(channel, asker, attempts)
        except TooManyError:
            raise
        except HelioError as refusal:
            if asks and self._policy.extends:
                return self._ask(action, channel, asker, refusal, attempts)
            raise
        if isinstance(decision, Grant) and not self._has_to_ask(asks, decision):
            return decision
        return self._later(action, channel, asker, decision, asks)

    def _publish(self, channel: Channel, asker: Asker, attempts: list[Attempt]) -> Grant:
        view, options = view_of(channel), channel.options
        decision = decide(Action.PUBLISH, view, asker.person)
        if decision.allowed:
            return Grant(Action.PUBLISH, decision.reason, person=asker.person)
        if options.open_publish:
            return Grant(Action.PUBLISH, Reason.PUBLIC)
        if not asker.shows_key:
            if decision.reason is Reason.SIGN_IN:
                raise UnauthorizedError(
                    f"a key is needed to publish channel {channel.name!r}", subject=channel.name
                )
            require(Action.PUBLISH, view, asker.person)
        reason = self._known(asker, self.keys_to_publish(channel), attempts)
        if reason is not None:
            return Grant(Action.PUBLISH, reason)
        key = _stream_key(channel, asker)
        if key is None:
            raise self._wrong_key(channel, decision.reason, "publish")
        self._forgive(attempts)
        reason = require(Action.PUBLISH, view, asker.person, Proof(stream_key=True))
        self.used.add(key)
        return Grant(Action.PUBLISH, reason, key=key)

    def _view(self, channel: Channel, asker: Asker, attempts: list[Attempt]) -> Decision:
        view, options = view_of(channel), channel.options
        decision = decide(Action.VIEW, view, asker.person)
        if decision.allowed and (
            not options.view_key or decision.reason in (Reason.ADMINISTRATOR, Reason.OWNER)
        ):
            return Grant(Action.VIEW, decision.reason, person=asker.person)
        granted = self._tokens.grant(channel, asker.tokens)
        if granted is not None:
            return granted
        if asker.shows_key:
            reason = self._known(asker, self.keys_to_view(channel), attempts)
            if reason is not None:
                return Grant(Action.VIEW, reason)
            key = _stream_key(channel, asker)  # who may publish may watch
            if key is not None:
                self._forgive(attempts)
                return Grant(Action.VIEW, Reason.KEY, key=key)
        if asker.tokens and self._tokens.any:
            return self._tokens.spend(channel, asker.tokens)
        if asker.shows_key:
            raise self._wrong_key(channel, decision.reason, "read")
        if decision.allowed:
            raise UnauthorizedError(
                f"a key is needed to read channel {channel.name!r}", subject=channel.name
            )
        require(Action.VIEW, view, asker.person)
        raise AssertionError("what is not allowed is refused")

    def _known(self, asker: Asker, keys: tuple[str, ...], attempts: list[Attempt]) -> Reason | None:
        """Whether a key was shown that is known in clear. Counts the attempt."""
        attempts.append(self.throttle.begin(self._ticks(), address=asker.peer))
        good = asker.digest is Shown.GOOD or judge(asker.secret, *keys) is Shown.GOOD
        if not good:
            return None
        self._forgive(attempts)
        administrator = judge(asker.secret, self._administrator_key) is Shown.GOOD
        return Reason.ADMINISTRATOR if administrator else Reason.KEY

    def _forgive(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            self.throttle.succeeded(attempt, self._ticks())
        attempts.clear()

    def _wrong_key(self, channel: Channel, reason: Reason, what: str) -> HelioError:
        self.counters["keys_wrong"] += 1
        if reason is Reason.HIDDEN:
            return unknown(channel.name)
        return UnauthorizedError(
            f"the key is wrong to {what} channel {channel.name!r}", subject=channel.name
        )

    # --- the external authority ---------------------------------------------------------------

    def _has_to_ask(self, asks: bool, grant: Grant) -> bool:
        return asks and not self._policy.extends and grant.reason is not Reason.ADMINISTRATOR

    async def _later(
        self, action: Action, channel: Channel, asker: Asker, own: Decision, asks: bool
    ) -> Grant:
        if isinstance(own, Grant):
            grant = own
        else:
            try:
                grant = await own
            except (UnauthorizedError, NotFoundError) as refusal:
                if asks and self._policy.extends:
                    return await self._ask(action, channel, asker, refusal, [])
                raise
        if self._has_to_ask(asks, grant):
            await self._ask(action, channel, asker, None, [])
        return grant

    async def _ask(
        self,
        action: Action,
        channel: Channel,
        asker: Asker,
        refusal: HelioError | None,
        attempts: list[Attempt],
    ) -> Grant:
        assert self.authority is not None
        self.counters["authority_asked"] += 1
        answer = await self.authority.ask(
            Question(
                action.value,
                channel.name,
                address=asker.peer,
                protocol=asker.protocol,
                user=asker.user,
                token=asker.secret or next(iter(asker.tokens), ""),
                query=asker.query,
            )
        )
        if not answer.allowed:
            self.counters["authority_refused"] += 1
            log.info(
                "external authority refused",
                action=action.value,
                channel=channel.name,
                peer=asker.peer,
                reason=answer.reason,
            )
            raise refusal or ForbiddenError(
                f"you may not {action.value} channel {channel.name!r}", subject=channel.name
            )
        self._forgive(attempts)
        carried = ""
        if action is Action.VIEW:
            carried = self._tokens.sign(channel, answer.subject, AUTHORITY_SESSION)
        return Grant(action, Reason.AUTHORITY, carried=carried)

    # --- counting -----------------------------------------------------------------------------

    def _counted(self, whom: str, make: Callable[[], Decision]) -> Decision:
        try:
            decision = make()
        except HelioError:
            self.counters[f"{whom}_refused"] += 1
            raise
        if isinstance(decision, Grant):
            self.counters[f"{whom}_admitted"] += 1
            return decision
        return self._counted_later(whom, decision)

    async def _counted_later(self, whom: str, decision: Coroutine[Any, Any, Grant]) -> Grant:
        try:
            grant = await decision
        except HelioError:
            self.counters[f"{whom}_refused"] += 1
            raise
        self.counters[f"{whom}_admitted"] += 1
        return grant


def _stream_key(channel: Channel, asker: Asker) -> int | None:
    standing = channel.standing
    return None if standing is None or not asker.secret else standing.key_id(asker.secret)


def view_of(channel: Channel) -> ChannelView:
    """What decides about a channel."""
    standing = channel.standing
    return ChannelView(channel.name) if standing is None else ChannelView.of(standing.record)


def closed(name: str) -> ConflictError:
    """What is said of a channel that people closed: pages wait for it as for one that is silent."""
    return ConflictError(f"channel {name!r} is closed", subject=name)


async def settled(decision: Decision) -> Grant:
    """The grant, waited for where that is needed."""
    return decision if isinstance(decision, Grant) else await decision
