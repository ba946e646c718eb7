"""The link over Eclipse Zenoh.

Nodes are *peers* in Zenoh's words: each is connected to each, by its own ``join``, by what others
tell (gossip), or by multicast. A link that broke is made anew by the side that has the other in
its ``join``, and by multicast; of two who know each other by gossip alone the one that was frozen
or cut off learns of the other anew when it comes back to the node it joined by. Where both connect
to each other and one of them gives up first, the other may take the new connection for a further
one of the old, and tells nothing of itself again (eclipse-zenoh/zenoh issue 2806): ``renew`` is
the way out.

Who belongs to the cluster is decided twice. TLS demands of those who connect a certificate by the
cluster's authority. Zenoh lets those whom *it* connects to show a certificate by any authority
that browsers trust as well, so its access control lets only links count whose certificate has the
cluster's common name: no public authority signs such a name.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
import zenoh
from zenoh.handlers import Callback

from heliograph.bus.inbox import Inbox
from heliograph.bus.link import Question, Undo
from heliograph.bus.options import BusOptions
from heliograph.bus.watchdog import Watchdog
from heliograph.bus.wire import MAX_MESSAGE
from heliograph.model.errors import ResourceError

log = structlog.get_logger(__name__)

#: Keep-alives within a lease; a node is gone when so many were lost, or it was held up so long.
KEEP_ALIVES = 5
#: Milliseconds until a node that could not be reached is tried again, at first and at most.
RETRY_FIRST, RETRY_MOST = 250, 2000
#: Milliseconds that a handshake may take, over continents and by machines under load.
HANDSHAKE = 5000
#: Handshakes under way; a stranger with a certificate of nobody holds one for ``HANDSHAKE``.
MAX_HANDSHAKES = 100
#: Other nodes.
MAX_PEERS = 1000
#: Batches of 64 KiB that wait for a slow link, a priority; Zenoh takes 16 at most. They are
#: allocated when needed.
QUEUE = 16
#: Milliseconds that Zenoh looks for others before it begins.
DELAY = 100
#: Seconds that Zenoh may take to begin.
OPENING = 15.0
#: Seconds that Zenoh may take to end.
CLOSING = 3.0
#: Seconds until it is tried again to begin anew.
AGAIN = 1.0

#: All that Zenoh's access control tells apart.
_ALL_MESSAGES = [
    "put",
    "delete",
    "declare_subscriber",
    "query",
    "reply",
    "declare_queryable",
    "liveliness_token",
    "liveliness_query",
    "declare_liveliness_subscriber",
]


def configuration(options: BusOptions) -> dict[str, Any]:
    """Zenoh's configuration, by its keys; of a node that has credentials."""
    credentials = options.credentials
    assert credentials is not None, "a node that is alone has no network"
    lease = round(options.lease * 1000)
    waits = {"period_init_ms": RETRY_FIRST, "period_max_ms": RETRY_MOST}
    tls = {
        "root_ca_certificate": str(credentials.authority),
        "listen_certificate": str(credentials.certificate),
        "listen_private_key": str(credentials.key),
        "connect_certificate": str(credentials.certificate),
        "connect_private_key": str(credentials.key),
        "enable_mtls": True,
        # Nodes are known by keys; their addresses change, and may be behind a translation.
        "verify_name_on_connect": False,
        "close_link_on_expiration": True,
    }
    rule = {
        "id": "everything",
        "messages": _ALL_MESSAGES,
        "flows": ["egress", "ingress"],
        "permission": "allow",
        "key_exprs": ["**"],
    }
    return {
        "mode": "peer",
        "adminspace/enabled": False,
        "plugins_loading/enabled": False,
        "transport/shared_memory/enabled": False,
        "timestamping/enabled": False,
        "queries_default_timeout": 10_000,
        "scouting/delay": DELAY,
        "listen/endpoints": [f"tls/{place}" for place in options.listen],
        "listen/timeout_ms": 0,
        "listen/exit_on_failure": True,
        "connect/endpoints": [f"tls/{place}" for place in options.join],
        "connect/timeout_ms": -1,
        "connect/exit_on_failure": False,
        "connect/retry": waits | {"period_increase_factor": 2},
        "scouting/gossip/enabled": True,
        "scouting/gossip/autoconnect": ["peer"],
        "scouting/gossip/autoconnect_strategy": "always",
        "scouting/multicast/enabled": options.scouting,
        "scouting/multicast/address": options.scouting_address,
        "scouting/multicast/autoconnect": ["peer"],
        "transport/link/protocols": ["tls"],
        "transport/link/tls": tls,
        "transport/link/tx/lease": lease,
        "transport/link/tx/keep_alive": KEEP_ALIVES,
        "transport/link/tx/queue/size/data": QUEUE,
        "transport/link/rx/max_message_size": 2 * MAX_MESSAGE,
        "transport/unicast/open_timeout": HANDSHAKE,
        "transport/unicast/accept_timeout": HANDSHAKE,
        "transport/unicast/accept_pending": MAX_HANDSHAKES,
        "transport/unicast/max_sessions": MAX_PEERS,
        "access_control": {
            "enabled": True,
            "default_permission": "deny",
            "rules": [rule],
            "subjects": [{"id": "cluster", "cert_common_names": [credentials.cluster]}],
            "policies": [{"rules": ["everything"], "subjects": ["cluster"]}],
        },
    }


class ZenohLink:
    """A ``link.Link``."""

    def __init__(self, options: BusOptions) -> None:
        # Later starts of a node have greater names: nanoseconds since 1970 in sixteen digits.
        self.session = f"{time.time_ns():016x}{secrets.token_hex(4)}"
        self._options = options
        self._zenoh: zenoh.Session
        self._inbox: Inbox
        self._open = False
        self._closed = False
        self._refused = 0
        self._renewals = 0
        self._declared: dict[int, _Declared] = {}
        self._declarations = 0
        self._tokens: set[_Token] = set()
        self._watchdog = Watchdog(options.stall, self._hide, self._show)

    async def open(self) -> None:
        """Begin; ``ResourceError`` where it cannot listen or read its files."""
        self._inbox = Inbox(asyncio.get_running_loop())
        await self._begin()
        self._watchdog.start()

    async def _begin(self) -> None:
        config = zenoh.Config()
        try:
            for key, value in configuration(self._options).items():
                config.insert_json5(key, json.dumps(value))
            async with asyncio.timeout(OPENING):
                self._zenoh = await asyncio.to_thread(zenoh.open, config)
        except zenoh.ZError as error:
            raise ResourceError(f"bus: {_reason(error)}", subject="bus") from error
        except TimeoutError:
            raise ResourceError(f"bus: not begun within {OPENING:g} s", subject="bus") from None
        self._open = True

    async def renew(self) -> None:
        """End Zenoh's session and begin another."""
        if not self._open:
            return
        await self._leave()
        while not self._closed:
            try:
                await self._begin()
                self._declare_all()
                break
            except ResourceError as error:
                log.warning("bus not begun anew", error=error.message)
            except zenoh.ZError as error:  # half of it is not enough: others could not ask us
                log.warning("bus not begun anew", error=_reason(error))
                await self._leave()
            await asyncio.sleep(AGAIN)

    async def _leave(self) -> None:
        """End Zenoh's session, for another one."""
        self._open = False
        self._renewals += 1
        await self._end()

    def _declare_all(self) -> None:
        """In a session that has just begun; ``ZError`` where it does not last."""
        for declared in [*self._declared.values()]:
            declared.made = declared.make(self._zenoh)
        for token in self._tokens:
            token.move(self._zenoh)

    async def close(self) -> None:
        """End; bounded, as threads that wait for a frozen node must not hold us up."""
        if self._closed:
            return
        self._closed = True
        self._watchdog.close()
        if self._open:
            self._open = False
            self._inbox.close()
            await self._end()

    async def _end(self) -> None:
        try:
            async with asyncio.timeout(CLOSING):
                await asyncio.to_thread(self._zenoh.close)
        except (TimeoutError, zenoh.ZError) as error:
            log.warning("bus did not close in time", error=str(error))

    def put(self, key: str, payload: bytes) -> None:
        """Publish. A node that takes nothing costs us a millisecond, and its own copy."""
        if not self._open:
            return
        try:
            self._zenoh.put(key, payload, congestion_control=zenoh.CongestionControl.DROP)
        except zenoh.ZError:
            self._refused += 1

    def subscribe(self, pattern: str, heard: Callable[[str, bytes], None]) -> Undo:
        """Hear what is put."""

        def arrived(sample: zenoh.Sample) -> None:
            key, payload = str(sample.key_expr), sample.payload.to_bytes()
            self._inbox.post(lambda: heard(key, payload))

        callback = Callback(arrived, indirect=False)
        return self._declare(lambda session: session.declare_subscriber(pattern, callback))

    def serve(self, pattern: str, asked: Callable[[Question], None]) -> Undo:
        """Answer requests."""

        def arrived(query: zenoh.Query) -> None:
            question = _ZenohQuestion(query)
            if not self._inbox.post(lambda: asked(question)):
                question.end()  # whoever asks is told at once that there is no answer

        callback = Callback(arrived, indirect=False)
        return self._declare(
            lambda session: session.declare_queryable(pattern, callback, complete=True)
        )

    def ask(
        self,
        pattern: str,
        payload: bytes,
        timeout: float,
        answered: Callable[[str, bytes], None],
        ended: Callable[[], None],
    ) -> None:
        """Ask all who serve it."""

        def arrived(reply: zenoh.Reply) -> None:
            sample = reply.ok
            if sample is not None:  # Zenoh's own errors say that the time is over
                key, payload = str(sample.key_expr), sample.payload.to_bytes()
                self._inbox.post(lambda: answered(key, payload), surely=True)

        def over() -> None:
            self._inbox.post(ended, surely=True)

        try:
            self._zenoh.get(
                pattern,
                Callback(arrived, over, indirect=False),
                target=zenoh.QueryTarget.ALL,
                consolidation=zenoh.ConsolidationMode.NONE,
                timeout=timeout,
                payload=payload,
                congestion_control=zenoh.CongestionControl.DROP,
            )
        except zenoh.ZError:
            self._refused += 1
            self._inbox.post(ended, surely=True)

    def declare(self, key: str) -> Undo:
        """Show a token."""
        token = _Token(self._zenoh, key)
        token.show()
        self._tokens.add(token)

        def undo() -> None:
            self._tokens.discard(token)
            if self._open:
                token.hide()

        return undo

    def _hide(self) -> None:
        """The event loop stands still: called in the watchdog's thread."""
        for token in [*self._tokens]:
            token.hide()

    def _show(self) -> None:
        if not self._closed:
            log.warning("event loop stood still; this node was gone for others")
            for token in [*self._tokens]:
                token.show()

    def watch(self, pattern: str, seen: Callable[[str, bool], None]) -> Undo:
        """Be told of tokens. One that is lost at the bound would never be told again: none is."""

        def declare(session: zenoh.Session) -> Any:  # noqa: ANN401 - what Zenoh declares
            begun = self._renewals

            def arrived(sample: zenoh.Sample) -> None:
                if begun == self._renewals:  # that all go when we leave is known
                    key, there = str(sample.key_expr), sample.kind == zenoh.SampleKind.PUT
                    self._inbox.post(lambda: seen(key, there), surely=True)

            callback = Callback(arrived, indirect=False)
            return session.liveliness().declare_subscriber(pattern, callback, history=True)

        return self._declare(declare)

    def counters(self) -> Mapping[str, int]:
        """What found no room, and what Zenoh refused."""
        return {
            "lost": self._inbox.lost,
            "refused": self._refused,
            "stalls": self._watchdog.stalls,
            "renewals": self._renewals,
        }

    def _declare(self, make: Callable[[zenoh.Session], Any]) -> Undo:
        """Declare, and declare again whenever the session is another one."""
        self._declarations += 1
        number = self._declarations
        self._declared[number] = _Declared(make, make(self._zenoh) if self._open else None)

        def undo() -> None:
            declared = self._declared.pop(number, None)
            if declared is not None and declared.made is not None and self._open:
                with contextlib.suppress(zenoh.ZError):
                    declared.made.undeclare()

        return undo


@dataclass(slots=True)
class _Declared:
    """A subscriber or a queryable."""

    make: Callable[[zenoh.Session], Any]
    made: Any
    """None: the session begins anew, and this with it."""


class _Token:
    """A token that is shown or hidden, by two threads."""

    def __init__(self, session: zenoh.Session, key: str) -> None:
        self._session = session
        self._key = key
        self._lock = threading.Lock()
        self._wanted = False
        self._shown: zenoh.LivelinessToken | None = None

    def move(self, session: zenoh.Session) -> None:
        """Show it in another session, as that in which it was shown has ended."""
        with self._lock:
            self._session, self._shown = session, None
            if self._wanted:
                self._shown = session.liveliness().declare_token(self._key)

    def show(self) -> None:
        """Twice is once."""
        with self._lock, contextlib.suppress(zenoh.ZError):  # the session ends: see ``move``
            self._wanted = True
            if self._shown is None:
                self._shown = self._session.liveliness().declare_token(self._key)

    def hide(self) -> None:
        """Twice is once."""
        with self._lock, contextlib.suppress(zenoh.ZError):
            self._wanted = False
            if self._shown is not None:
                self._shown.undeclare()  # type: ignore[no-untyped-call] # so in its stub
            self._shown = None


class _ZenohQuestion:
    """A ``link.Question``."""

    def __init__(self, query: zenoh.Query) -> None:
        self._query: zenoh.Query | None = query
        payload = query.payload
        self.key = str(query.key_expr)
        self.payload = b"" if payload is None else payload.to_bytes()

    def reply(self, key: str, payload: bytes) -> None:
        """Answer."""
        if self._query is not None:
            with contextlib.suppress(zenoh.ZError):  # whoever asked is gone
                self._query.reply(key, payload)

    def end(self) -> None:
        """Nothing more is answered."""
        query, self._query = self._query, None
        if query is not None:
            query.drop()  # type: ignore[no-untyped-call] # so in its stub


def _reason(error: zenoh.ZError) -> str:
    """What Zenoh says, without the places in its source."""
    return str(error).split(" at /")[0][:300]
