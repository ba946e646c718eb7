"""Who asks over HTTP: the administrator's key as a bearer token, or the cookie of a session."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.rights import Person
from heliograph.catalogue.values import Account, Actor, Role
from heliograph.live.keys import same_key
from heliograph.model.errors import ForbiddenError

#: The cookie of who is signed in; its value is a session's token.
SESSION_COOKIE: Final = "helio_session"
#: Who shows the administrator's key: no account has this id.
KEY_HOLDER: Final = Person(0, Role.ADMINISTRATOR)
#: Who shows nothing.
_GUEST: Final = Actor("guest")
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

    Browsers say so by ``Origin``, or by ``Sec-Fetch-Site`` where they leave that out. ``needed``:
    whether somebody who says neither is refused, as for what a cookie authorises.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None:
        if not _same_host(origin, headers.get("host", ""), public_host):
            raise ForbiddenError("pages of other hosts may not do this", subject=origin[:80])
    elif site is not None:
        if site.lower() != "same-origin":
            raise ForbiddenError("pages of other hosts may not do this", subject=site[:80])
    elif needed:
        raise ForbiddenError("Origin or Sec-Fetch-Site is needed with a cookie", subject="Origin")


def _same_host(origin: str, host: str, public_host: str) -> bool:
    try:
        place = urlsplit(origin)
        name = place.hostname
    except ValueError:
        return False
    if not place.netloc:  # “null”: a page that hides where it comes from
        return False
    return place.netloc.lower() == host.lower() or (
        public_host != "" and name == public_host.lower()
    )


async def find_identity(
    catalogue: Catalogue,
    administrator_key: str,
    headers: Mapping[str, str],
    peer: str,
    *,
    public_host: str = "",
    safe: bool = False,
    ticks: Callable[[], float] = time.monotonic,
) -> Identity:
    """Who asks, by what the headers (lower-case names) show.

    ``safe``: the request changes nothing. Everything else that a cookie authorises, upgrades to
    WebSocket too, has to come from a page of ours: ``ForbiddenError`` otherwise. ``BusyError``
    where this address has guessed at the administrator's key too often.
    """
    shown = bearer(headers)
    if shown and not _VIEW_TOKEN.match(shown):
        attempt = catalogue.throttle.begin(ticks(), address=peer)
        if same_key(shown, administrator_key):
            catalogue.throttle.succeeded(attempt, ticks())
            return Identity(None, True, Actor("api-key", peer))
    return await signed_in(catalogue, headers, peer, public_host=public_host, safe=safe)


async def signed_in(
    catalogue: Catalogue,
    headers: Mapping[str, str],
    peer: str,
    *,
    public_host: str = "",
    safe: bool = False,
) -> Identity:
    """Who asks, by the cookie alone; as ``find_identity`` otherwise."""
    token = cookie(headers, SESSION_COOKIE)
    if not token:
        return Identity(actor=Actor("guest", peer))
    if not safe:
        check_origin(headers, public_host)
    session = await catalogue.sessions.find(token)
    if session is None:
        return Identity(actor=Actor("guest", peer))
    account = session.account
    return Identity(account, account.role is Role.ADMINISTRATOR, Actor(account.name, peer))
