"""Who asks over HTTP, and what was shown: the administrator's key, sessions, keys, view tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.rights import Person
from heliograph.catalogue.values import Account, Actor, Role
from heliograph.live.gate import Asker, Gate
from heliograph.model.errors import BusyError, ForbiddenError, ResourceError

#: The cookie of who is signed in; its value is a session's token.
SESSION_COOKIE: Final = "helio_session"
#: Followed by a channel's name: the cookie of what a view token opened for a browser.
VIEW_COOKIE: Final = "helio_view_"
#: Parameters of a query that are looked at.
_MAX_PARAMETERS = 32
#: Who shows the administrator's key: no account has this id.
KEY_HOLDER: Final = Person(0, Role.ADMINISTRATOR)
#: Who shows nothing.
_GUEST: Final = Actor("guest")
#: Browsers leave these out of origins and of the host they ask for.
_USUAL_PORTS: Final = {"http": 80, "https": 443}
#: How view tokens begin: such a bearer token is no guess at the administrator's key.
_VIEW_TOKEN = re.compile(r"v[0-9]+\.", re.ASCII)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks."""

    account: Account | None = None
    """Who is signed in; None: nobody, or the holder of the administrator's key."""
    administrator: bool = False
    """Whether the administrator's key was shown, or the account has that role."""
    actor: Actor = _GUEST
    """For the audit log."""

    @property
    def domains(self) -> tuple[str, ...] | None:
        """Groups of units that who asks administers, by name; None: the whole cluster."""
        if self.administrator:
            return None
        return () if self.account is None else self.account.domains

    @property
    def person(self) -> Person | None:
        """As ``rights`` sees it; None for a guest."""
        if self.account is None:
            return KEY_HOLDER if self.administrator else None
        return Person.of(self.account)


def bearer(headers: Mapping[str, str]) -> str:
    """The bearer token (RFC 6750 section 2.1); empty without one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def cookie(headers: Mapping[str, str], name: str) -> str:
    """The first cookie of that name (RFC 6265 section 5.4); empty without one."""
    for pair in re.split("[;,]", headers.get("cookie", "")):
        key, _, value = pair.partition("=")
        if key.strip() == name:
            return value.strip().strip('"')
    return ""


def check_origin(headers: Mapping[str, str], public_host: str = "", *, needed: bool = True) -> None:
    """Raise ``ForbiddenError`` unless one of our own pages asks.

    Browsers say so by ``Origin``, and newer ones by ``Sec-Fetch-Site``, which holds behind proxies
    that ask us by another name than they are asked by. ``needed``: whether somebody who says
    neither is refused, as for what a cookie authorises.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site is not None and site.lower() == "same-origin":
        return
    if origin is not None:
        if not _is_ours(origin, headers.get("host", ""), public_host):
            raise ForbiddenError("pages of other hosts may not do this", subject=origin[:80])
    elif site is not None:
        raise ForbiddenError("pages of other hosts may not do this", subject=site[:80])
    elif needed:
        raise ForbiddenError("Origin or Sec-Fetch-Site is needed with a cookie", subject="Origin")


def _is_ours(origin: str, host: str, public_host: str) -> bool:
    """Whether the page is of the host and port asked for, or of the public host at the usual port
    of its scheme. The scheme itself is not compared: a proxy ends TLS without saying so."""
    try:
        page, asked = urlsplit(origin), urlsplit(f"//{host}")
        port, asked_port = page.port, asked.port
    except ValueError:
        return False
    usual = _USUAL_PORTS.get(page.scheme)
    if usual is None or not page.hostname:  # “null”: a page that hides where it comes from
        return False
    if page.hostname == asked.hostname and (port or usual) == (asked_port or usual):
        return True
    return page.hostname == public_host.strip("[]").lower() and (port or usual) == usual


async def find_identity(
    gate: Gate,
    catalogue: Catalogue,
    headers: Mapping[str, str],
    peer: str,
    *,
    public_host: str = "",
    safe: bool = False,
) -> Identity:
    """Who asks, by what the headers (lower-case names) show.

    ``safe``: the request changes nothing. Everything else that a cookie authorises, upgrades to
    WebSocket too, has to come from a page of ours: ``ForbiddenError`` otherwise. ``TooManyError``
    where this address has guessed at the administrator's key too often; ``ResourceError`` or
    ``BusyError`` where the database cannot say who wants to change something.
    """
    token = bearer(headers)
    if token and not _VIEW_TOKEN.match(token) and gate.is_administrator(token, peer):
        return Identity(None, True, Actor("api-key", peer))
    return await signed_in(
        catalogue, headers, peer, public_host=public_host, safe=safe, sure=not safe
    )


async def signed_in(
    catalogue: Catalogue,
    headers: Mapping[str, str],
    peer: str,
    *,
    public_host: str = "",
    safe: bool = False,
    sure: bool = False,
) -> Identity:
    """Who asks, by the cookie alone; as ``find_identity`` otherwise.

    Whom the database cannot tell of just now is a guest, who may do what guests may; ``sure``: the
    database's error is raised instead.
    """
    token = cookie(headers, SESSION_COOKIE)
    if not token:
        return Identity(actor=Actor("guest", peer))
    if not safe:
        check_origin(headers, public_host)
    try:
        session = await catalogue.sessions.find(token)
    except (ResourceError, BusyError):
        if sure:
            raise
        session = None
    if session is None:
        return Identity(actor=Actor("guest", peer))
    account = session.account
    return Identity(account, account.role is Role.ADMINISTRATOR, Actor(account.name, peer))


async def asker_of(
    catalogue: Catalogue,
    headers: Mapping[str, str],
    query: str,
    peer: str,
    protocol: str,
    channel: str,
    *,
    public_host: str = "",
    safe: bool = False,
) -> Asker:
    """Somebody who wants something of a channel by HTTP, with all that was shown.

    A bearer token is a view token or a key; ``?token=`` and ``?key=`` are the same for those who
    cannot send headers. Cookies count for our own pages only, unless the request is ``safe``: with
    nothing else shown, ``ForbiddenError``.
    """
    secret, tokens = shown(headers, query)
    try:
        who = await signed_in(catalogue, headers, peer, public_host=public_host, safe=safe)
        if not safe:
            check_origin(headers, public_host, needed=False)
        kept = cookie(headers, VIEW_COOKIE + channel)
    except ForbiddenError:
        if cookie(headers, SESSION_COOKIE) and not secret and not tokens:
            raise
        who, kept = Identity(), ""
    return Asker(
        peer,
        protocol,
        secret=secret,
        tokens=(*tokens, kept) if kept else tokens,
        person=who.person,
        user="" if who.account is None else who.account.name,
        query=query,
    )


def shown(headers: Mapping[str, str], query: str) -> tuple[str, tuple[str, ...]]:
    """The key and the view tokens of a request, cookies left out."""
    try:
        pairs = dict(reversed(parse_qsl(query, max_num_fields=_MAX_PARAMETERS)))
    except ValueError:
        pairs = {}
    key, tokens = pairs.get("key", ""), [pairs.get("token", "")]
    token = bearer(headers)
    if _VIEW_TOKEN.match(token):
        tokens.append(token)
    elif token:
        key = token
    return key, tuple(one for one in tokens if one)
