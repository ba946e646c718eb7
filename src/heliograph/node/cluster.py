"""This node in its cluster: the bus as the settings say, joining, and letting others join."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from heliograph import __version__
from heliograph.bus import Arrived, Bus, BusOptions, Changed, Event, Name, Request
from heliograph.bus.authority import CERTIFICATE_FILE, Authority, check
from heliograph.bus.identity import NODE_CERTIFICATE_FILE, Identity
from heliograph.bus.joining import LIFETIME, MAX_LIFETIME, JoinRequest, JoinToken
from heliograph.bus.wire import Json
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.values import Actor, JoinTokenRecord
from heliograph.model.errors import (
    HelioError,
    MalformedError,
    RemoteError,
    SettingsError,
    UnreachableError,
    WrongStateError,
)
from heliograph.node.addresses import interfaces
from heliograph.node.known import MAX_ADDRESSES, SAVE_PERIOD, KnownNodes
from heliograph.node.periodic import Periodic
from heliograph.node.roles import roles_of
from heliograph.node.settings import Settings

log = structlog.get_logger(__name__)

#: Kinds of names that every node announces, and the one that has the authority's key.
NODE, AUTHORITY = "node", "authority"
#: Methods of the latter.
JOIN, RENEW = "cluster.join", "cluster.renew"
#: Seconds that the server joined by may take to answer.
PATIENCE = 10.0
#: Bytes of its answer: two certificates have two thousand.
MAX_ANSWER = 32 << 10
#: Seconds between two looks at how long the node's certificate is good.
RENEW_PERIOD = 6 * 3600.0
#: Seconds a message about a renewal may be old, or of the future: clocks differ.
RENEW_LEEWAY = 300


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token that was just made; it is told once."""

    text: str
    expires: datetime
    bus_port: int
    """Of this node: where others join."""


class Cluster:
    """Made by ``open_cluster``; what the web application knows of the cluster."""

    def __init__(self, bus: Bus, identity: Identity, settings: Settings) -> None:
        self.bus = bus
        self.identity = identity
        self.active = settings.cluster.active
        """Whether there may be other nodes."""
        self.known = KnownNodes(identity.directory)
        """Where other nodes were seen."""
        self._bus_port = settings.cluster.port
        self._catalogue: Catalogue | None = None
        self._saves = Periodic("known nodes", SAVE_PERIOD, self.known.save)

    @property
    def node(self) -> str:
        """This node's id."""
        return self.identity.node

    def show(self, settings: Settings, known: KnownNodes) -> None:
        """Announce this node, and remember where others are from now on."""
        self.known = known
        self._saves = Periodic("known nodes", SAVE_PERIOD, known.save)
        self._saves.start()
        self.bus.watch(NODE, self._seen)
        value = {
            "version": __version__,
            "roles": sorted(roles_of(settings)),
            "address": own_address(settings),
        }
        self.bus.announce(NODE, node_name(settings), value)

    def _seen(self, event: Event) -> None:
        value = event.name.value
        if isinstance(event, Arrived | Changed) and event.name.node != self.node:
            address = value.get("address") if isinstance(value, dict) else None
            self.known.note(address, time.time())

    async def names(self) -> list[Name]:
        """Everything that nodes announce."""
        return await self.bus.names()

    def serve(self, catalogue: Catalogue) -> None:
        """Let others join; where the authority's key is, for the other nodes as well."""
        self._catalogue = catalogue
        if self.active and self.identity.authority() is not None:
            self.bus.serve(JOIN, self._join_asked)
            self.bus.serve(RENEW, self._renew_asked)
            self.bus.announce(AUTHORITY, self.identity.node)

    async def make_token(self, port: int, lifetime: float, *, by: Actor) -> MadeToken:
        """A token by which one node may join at this server's ``port``; ``lifetime`` in seconds.

        ``WrongStateError`` where there is no cluster to join, or its authority is elsewhere.
        """
        if not self.active or self._catalogue is None:
            raise WrongStateError("no machine can join: cluster.enabled is off", subject="cluster")
        if self.identity.authority() is None:  # which checks them with a database of its own
            raise WrongStateError("tokens are made at the cluster's first node", subject="cluster")
        if not 1 <= lifetime <= MAX_LIFETIME:
            raise MalformedError("token", f"its life must be 1 to {MAX_LIFETIME} seconds")
        expires = (datetime.now(UTC) + timedelta(seconds=lifetime)).replace(microsecond=0)
        token = JoinToken.make(self._certificate(), port, int(expires.timestamp()))
        await self._catalogue.join_tokens.add(token.id, token.verifier, expires, by=by)
        return MadeToken(token.text(), expires, self._bus_port)

    async def tokens(self) -> list[JoinTokenRecord]:
        """Those made before."""
        return [] if self._catalogue is None else await self._catalogue.join_tokens.list()

    async def join(self, body: Mapping[str, str], address: str) -> dict[str, Json]:
        """Let the node of a request in: its certificates, and where the other nodes are.

        ``body`` as ``JoinToken.request`` makes it, ``address`` where it came from. Errors as of
        ``JoinRequest.parse`` and ``JoinTokens.redeem``; ``RemoteError`` where the authority's node
        is not there.
        """
        if not self.active or self._catalogue is None:
            raise WrongStateError("no machine can join here", subject="cluster")
        authority = self.identity.authority()
        if authority is None:
            return await self._ask_authority(JOIN, {"body": dict(body), "address": address})
        request = JoinRequest.parse(**body)
        await self._catalogue.join_tokens.redeem(
            request.token, request.node, request.name, request.proves, address
        )
        log.info("node joins", node=request.node, name=request.name, address=address)
        return _certificates(authority, request.public_key) | {"nodes": self._addresses()}

    def _addresses(self) -> list[str]:
        """Where the nodes are that can be seen from here."""
        values = self.bus.present(NODE).values()
        found = (value.get("address") for value in values if isinstance(value, dict))
        return [address for address in found if isinstance(address, str)][:MAX_ADDRESSES]

    async def renew(self) -> None:
        """Get the next certificate when this one ends soon; it is used from the next start on."""
        now = datetime.now(UTC)
        if not self.active or not self.identity.ends_soon(now):
            return
        if self.identity.authority() is not None:
            self.identity.credentials(now)
        else:
            stamp = str(int(now.timestamp()))
            signature = self.identity.key.sign(_renewal(self.identity.public_key, stamp))
            answer = await self._ask_authority(
                RENEW,
                {
                    "certificate": (self.identity.directory / NODE_CERTIFICATE_FILE).read_text(),
                    "at": stamp,
                    "signature": signature.hex(),
                },
            )
            self.identity.join(answer["authority"], answer["certificate"], now)
        log.info("node's certificate renewed; start the server anew before the old one ends")

    async def _ask_authority(self, method: str, value: Json) -> dict[str, Json]:
        for node, _ in self.bus.present(AUTHORITY):
            found = await self.bus.call(node, method, value, timeout=PATIENCE)
            if isinstance(found, dict) and {"authority", "certificate"} <= set(found):
                return found
        raise UnreachableError("the node with the cluster's authority is not there")

    async def _join_asked(self, request: Request) -> Json:
        value = request.value if isinstance(request.value, dict) else {}
        body, address = value.get("body"), value.get("address")
        fields = {"token", "public_key", "name", "proof", "possession"}
        if not isinstance(body, dict) or set(body) != fields or not isinstance(address, str):
            raise MalformedError("join request", "not complete")
        return await self.join({name: str(given) for name, given in body.items()}, address[:64])

    async def _renew_asked(self, request: Request) -> Json:
        """A node gets the next certificate for the key that its certificate is for."""
        authority = self.identity.authority()
        value = request.value if isinstance(request.value, dict) else {}
        try:
            now, stamp, signature = datetime.now(UTC), value["at"], value["signature"]
            key = check(self._certificate(), str(value["certificate"]), now).public_key
            Ed25519PublicKey.from_public_bytes(key).verify(
                bytes.fromhex(signature), _renewal(key, stamp)
            )
            age = now.timestamp() - int(stamp)
        except (KeyError, TypeError, AttributeError, ValueError, InvalidSignature):
            raise MalformedError("renewal", "not of the node that it names") from None
        if authority is None or abs(age) > RENEW_LEEWAY:
            raise MalformedError("renewal", "too old, or of the future")
        return _certificates(authority, key)

    def _certificate(self) -> str:
        """Of the authority."""
        return (self.identity.directory / CERTIFICATE_FILE).read_text("ascii")

    async def close(self) -> None:
        """Leave."""
        await self._saves.stop()
        await self.known.save()
        await self.bus.close()


def _certificates(authority: Authority, public_key: bytes) -> dict[str, Json]:
    now = datetime.now(UTC)
    return {
        "authority": authority.certificate,
        "certificate": authority.issue(public_key, now),
    }


def _renewal(public_key: bytes, stamp: str) -> bytes:
    return b"heliograph renew 1\0" + public_key + stamp.encode("ascii", "replace")


async def open_cluster(settings: Settings) -> Cluster:
    """Open the bus: alone without any network, else in the cluster that this node begins or joins.

    ``SettingsError`` where it can join none, ``RemoteError`` where it is refused or nobody answers,
    ``ResourceError`` where it cannot listen.
    """
    wanted = settings.cluster
    identity = await asyncio.to_thread(Identity.load, settings.server.state_dir)
    if not wanted.active:
        return Cluster(await Bus.open(BusOptions(identity.node)), identity, settings)
    now = datetime.now(UTC)
    if not wanted.join:
        await asyncio.to_thread(identity.found, now)
    credentials = await asyncio.to_thread(identity.credentials, now)
    known = KnownNodes(identity.directory)
    await asyncio.to_thread(known.load, now.timestamp())
    if credentials is None:
        if not wanted.join:
            raise SettingsError("cluster.join: this node is of a cluster; name one of its nodes")
        if wanted.token is None:
            raise SettingsError("cluster.token is needed to join for the first time: helio token")
        for address in await _enrol(identity, settings):
            known.note(address, now.timestamp())
        credentials = await asyncio.to_thread(identity.credentials, datetime.now(UTC))
    host = f"[{wanted.host}]" if wanted.host.version == 6 else str(wanted.host)
    join = tuple(f"{host}:{port}" for host, port in wanted.places())
    bus = await Bus.open(
        BusOptions(
            identity.node,
            credentials,
            (f"{host}:{wanted.port}",),
            join + known.addresses(without=(*join, own_address(settings))),
            lease=wanted.lease_ms / 1000,
            scouting=wanted.scouting,
        )
    )
    cluster = Cluster(bus, identity, settings)
    cluster.show(settings, known)
    log.info("cluster", node=identity.node, port=wanted.port, join=list(wanted.join))
    return cluster


def node_name(settings: Settings) -> str:
    """How this node calls itself."""
    text = settings.cluster.name or socket.gethostname()
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:64] or NODE


def own_address(settings: Settings) -> str:
    """``HOST:PORT`` by which other nodes find this one."""
    wanted = settings.cluster
    host = reachable_host(settings, str(wanted.host))
    return f"[{host}]:{wanted.port}" if ":" in host else f"{host}:{wanted.port}"


def reachable_host(settings: Settings, bound: str) -> str:
    """Host by which others find what listens at the address ``bound`` of this node."""
    if settings.server.public_host:
        return settings.server.public_host
    try:
        anywhere = ip_address(bound).is_unspecified
    except ValueError:
        return bound  # a name
    return str(next(iter(interfaces()), bound)) if anywhere else bound


async def _enrol(identity: Identity, settings: Settings) -> list[Any]:
    """Ask the nodes to be joined, one after the other, for a certificate; where others are."""
    import httpx  # it takes a while to load, and most servers ask nobody

    wanted = settings.cluster
    assert wanted.token is not None
    try:
        token = JoinToken.parse(wanted.token.get_secret_value())
    except MalformedError as error:
        raise SettingsError(f"cluster.token: {error.reason}") from None
    body = token.request(identity, node_name(settings))
    refusal: HelioError = RemoteError("there is no node to join")
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
        for host, _ in wanted.places():
            url = f"http://{host}:{token.port}/api/v1/nodes/join"
            try:
                answer = await client.post(url, json=body)
                found = answer.json() if len(answer.content) <= MAX_ANSWER else None
            except (httpx.HTTPError, ValueError) as error:
                refusal = RemoteError(f"cannot join by {url}: {error or 'no answer'}", subject=url)
                continue
            if not isinstance(found, dict) or not answer.is_success:
                refusal = RemoteError(f"cannot join by {url}: {_said(found, answer)}", subject=url)
                continue
            now = datetime.now(UTC)
            try:
                authority, certificate, _ = token.accept(found, identity, now)
            except HelioError as error:
                refusal = RemoteError(f"cannot join by {url}: {error.message}", subject=url)
                continue
            await asyncio.to_thread(identity.join, authority, certificate, now)
            log.info("joined", node=identity.node, by=host)
            nodes = found.get("nodes")
            return nodes[:MAX_ADDRESSES] if isinstance(nodes, list) else []
    raise refusal


def _said(found: object, answer: Any) -> str:  # noqa: ANN401 - httpx is loaded late
    """What a refusal says."""
    error = found.get("error") if isinstance(found, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return str(message)[:300] if message else f"it answered {answer.status_code}"


__all__ = ["LIFETIME", "RENEW_PERIOD", "Cluster", "MadeToken", "node_name", "open_cluster"]
