"""Who comes to a chat: the cookie, keys and tokens of an upgrade, for ``servers.chat_server``."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from heliograph.catalogue.rights import NOTHING, Proof, Reason
from heliograph.catalogue.values import Actor
from heliograph.live.admission import Access
from heliograph.live.chat_policy import Policy, Visitor
from heliograph.live.gate import Asker, settled, view_of
from heliograph.live.grants import Grant
from heliograph.live.identity import Identity, asker_of, signed_in
from heliograph.model.addresses import address_of, household
from heliograph.model.errors import ForbiddenError
from heliograph.web.context import WebContext

#: Headers that show an account and whose page asks.
_CREDENTIALS = ("cookie", "host", "origin", "sec-fetch-site")
#: Reasons of a grant that hold beside what the channel gives to all and to accounts.
_SHOWN = frozenset({Reason.KEY, Reason.TOKEN, Reason.AUTHORITY})
#: Characters of the word that stands for a network.
_NET_HEX = 16


class Asked(Protocol):
    """The head of an upgrade (``servers.websocket.UpgradeRequest``)."""

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def peer(self) -> str: ...
    @property
    def query(self) -> str: ...


class ChatGate:
    """Reads and writes what the chat needs of the rest of the server."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        # Stays over restarts, as the mutes of networks do, and tells nothing of the key.
        self._secret = hashlib.sha256(b"chat " + context.administrator_key.encode()).digest()

    async def policy(self, channel: str) -> Policy:
        """What decides about a channel; ``NotFoundError`` without one."""
        live = self._context.channels.get(channel)
        record = None if live.standing is None else live.standing.record
        owner = None if record is None else record.owner
        return Policy(
            view_of(live),
            0.0 if record is None else record.slow_mode,
            Access.of(live.options.view_from),
            bool(live.options.view_key),
            "" if owner is None else owner.display_name,
        )

    async def identify(self, channel: str, request: Asked) -> Visitor:
        """Who asks, if that one may watch; ``HelioError`` otherwise, as for other ways to watch."""
        context, headers, peer = self._context, request.headers, request.peer
        host = context.public_host
        asker = await asker_of(
            context.catalogue, headers, request.query, peer, "chat", channel, public_host=host
        )
        live = context.channels.find(channel)
        if live is None:
            raise context.gate.stranger(channel, asker)
        grant = await settled(context.gate.view(live, asker))
        try:
            identity = await signed_in(context.catalogue, headers, peer, public_host=host)
        except ForbiddenError:  # another site's page, which showed a key or a token
            identity = Identity(actor=Actor("guest", peer))
        key = identity.account is None and self._administrates(asker, grant)
        return Visitor(
            peer=peer,
            account=identity.account,
            key=key,
            grant=grant,
            proof=_proof(grant),
            net=self._net(peer),
            actor=Actor("api-key", peer) if key else identity.actor,
            credentials={name: headers[name] for name in _CREDENTIALS if name in headers}
            if identity.account is not None
            else None,
        )

    async def again(self, policy: Policy, visitor: Visitor) -> Visitor:
        """Who that is now: the account may be signed out or disabled, the token withdrawn."""
        context, grant = self._context, visitor.grant
        if grant is not None and grant.token is not None:
            live = context.channels.get(policy.view.name)
            if not context.gate.holds(live, grant, {}):
                visitor = replace(visitor, grant=None, proof=NOTHING)
        if visitor.credentials is not None:
            identity = await signed_in(
                context.catalogue,
                visitor.credentials,
                visitor.peer,
                public_host=context.public_host,
            )
            visitor = replace(visitor, account=identity.account, actor=identity.actor)
        return visitor

    async def keep_slow(self, policy: Policy, visitor: Visitor, seconds: float) -> None:
        """Write the channel's slow mode down."""
        await self._context.roster.update(policy.view.name, slow_mode=seconds, by=visitor.actor)

    async def note(
        self, policy: Policy, visitor: Visitor, action: str, detail: Mapping[str, Any]
    ) -> None:
        """Write a moderator's act into the audit log."""
        await self._context.catalogue.audit.append(
            visitor.actor, action, policy.view.name, **detail
        )

    def _administrates(self, asker: Asker, grant: Grant) -> bool:
        """Whether the administrator's key was shown. A channel that is open to all lets its holder
        in as it does everybody."""
        if grant.reason is Reason.ADMINISTRATOR:
            return True
        unexplained = bool(asker.secret) and grant.reason not in _SHOWN
        return unexplained and self._context.gate.is_administrator(asker.secret, asker.peer)

    def _net(self, peer: str) -> str:
        """A word for where somebody comes from; empty for addresses of this machine: a proxy's."""
        address = address_of(peer)
        if address is None or address.is_loopback:
            return ""
        place = household(address).encode()
        return hmac.new(self._secret, place, hashlib.sha256).hexdigest()[:_NET_HEX]


def _proof(grant: Grant) -> Proof:
    """What was shown beside an account, as the rules see it."""
    return Proof(view_token=grant.reason in _SHOWN)
